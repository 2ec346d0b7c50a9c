"""summary.md and summary.json of what `run` left in a folder: how the steps ended, and our figures beside PyTorch's of the same
run. What is not there was not measured.

usage: python summary.py OUTDIR WHICH-IMAGES
"""

import json
import sys
from pathlib import Path

out, source = Path(sys.argv[1]), sys.argv[2]
MODES = ["eager", "graph", "compile", "compile-graph"]


def load(name):
    try:
        return json.loads((out / name).read_text())
    except (OSError, json.JSONDecodeError):
        return {}


def show(value, form="{:.1f}"):
    return form.format(value) if isinstance(value, (int, float)) else "not measured"


def ratio(a, b):
    return a / b if a and b else None


def table(head, rows):
    return [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}", *(f"| {' | '.join(row)} |" for row in rows), ""]


def ours(name):
    """Passes by `op[/pass]/case`, as PyTorch's ids are. A pass of several nodes, one for each input, is their sum."""
    passes = {}
    for t in load(name).get("timings", []):
        parts = t["id"].split("/")
        dtype = next(i for i, p in enumerate(parts) if p in ("f32", "bf16"))
        row = passes.setdefault("/".join(parts[:dtype] + parts[-1:]), {"milliseconds": 0, "flops": 0, "bytes": 0, "technique": ""})
        for key in ("milliseconds", "flops", "bytes"):
            row[key] += t[key]
        row["technique"] = row["technique"] or "/".join(parts[dtype + 1 : -2])
    return passes


def op_rows():
    theirs = {t["id"]: t["milliseconds"] for t in load("ops-pytorch.json").get("timings", [])}
    rows = []
    for name, t in ours("ops-rusa.json").items():
        if name.split("/")[0] == "cast":
            continue
        gbs, gflops = t["bytes"] / t["milliseconds"] / 1e6, t["flops"] / t["milliseconds"] / 1e6
        rows.append({
            "id": name, "technique": t["technique"], "milliseconds": t["milliseconds"], "gflops_per_second": gflops,
            "gigabytes_per_second": gbs, "share_of_copy": ratio(gbs, copy), "share_of_matmul": ratio(gflops, product),
            "pytorch_milliseconds": theirs.get(name), "speedup": ratio(theirs.get(name), t["milliseconds"]),
        })
    return rows


def augment_rows():
    rows, theirs = [], load("augment-pytorch.json").get("timings", [])
    for name, t in ours("augment-rusa.json").items():
        if name.startswith("augment/"):
            case = name.split("/")[-1]
            # 256 images, two views each.
            rows.append({"case": case, "views_per_second": 512 / t["milliseconds"] * 1000, "pytorch": {
                p["id"].split("/")[1]: p["views_per_second"] for p in theirs if p["id"].endswith(f"/{case}")}})
    return rows


def step_rows():
    rows = []
    for path in sorted(out.glob("step-rusa-*.json"), key=lambda p: int(p.stem.split("-")[-1])):
        batch, step = path.stem.split("-")[-1], json.loads(path.read_text())
        modes = {m: load(f"step-pytorch-{m}-{batch}.json").get("images_per_second") for m in MODES}
        best = max((m for m in modes.values() if m), default=None)
        rows.append({"batch": int(batch), "images_per_second": step["images_per_second"], "share_of_roofline": step["share_of_roofline"],
                     "pytorch": modes, "speedup": ratio(step["images_per_second"], best)})
    return rows


mine, peer = load("copy.json"), load("ceilings-pytorch.json")
copy = peer.get("gigabytes_per_second") or mine.get("gigabytes_per_second")
product = peer.get("gflops_per_second") or mine.get("gflops_per_second")
stages = [dict(zip(("step", "ended", "seconds"), row.split("\t"))) for row in (out / "stages.tsv").read_text().splitlines()]
ops, augment, steps = op_rows(), augment_rows(), step_rows()
run, torch_run, judged = load("pretrain-rusa/summary.json"), load("pretrain-pytorch.json"), load("judge-pytorch.json")
keys = ("images_per_second", "seconds", "steps", "knn_top1", "linear_top1")
pretrain = {"images": source, "rusa": {k: run.get(k) for k in (*keys, "untrained", "raw_pixels")} if run else None,
            "pytorch": {k: {**torch_run, **judged}.get(k) for k in (*keys, "mode")} if torch_run else None}

percent = lambda v, form="{:.0f} %": show(100 * v if isinstance(v, (int, float)) else None, form)
blank = lambda v, form: form.format(v) if isinstance(v, (int, float)) else ""
blank_percent = lambda v: percent(v) if v else ""
dry = "gpu      cuda:0" not in (out / "machine.txt").read_text()
text = ["# rusa on a GPU", ""]
if dry:
    text += ["**A dry run without a GPU, on small sizes: it shows that the steps work; its figures mean nothing.**", ""]
text += ["```", (out / "machine.txt").read_text().strip(), "```", "", "## Steps", ""]
bad = [s for s in stages if s["ended"] != "passed"]
text += [f"{len(stages) - len(bad)} of {len(stages)} passed.", ""]
text += table(["step", "ended", "seconds"], [[s["step"], s["ended"], s["seconds"]] for s in stages])
if mine or peer:
    text += ["## Ceilings", "", *table(["", "copy GB/s (read + written)", "matrix product GFLOP/s"], [
        [name, show(c.get("gigabytes_per_second"), "{:.0f}"), f"{show(c.get('gflops_per_second'), '{:.0f}')} ({c.get('matmul', '-')})"]
        for name, c in (("rusa's kernels", mine), ("PyTorch", peer))])]
if ops:
    text += ["## Ops", "", "Medians by the GPU's own events after warm-up, each call with other data in the caches; bytes are those of every",
             "operand moved once. PyTorch: eager, channels_last, cuDNN autotuned. The last column is its time over ours.", ""]
    text += table(["op", "technique", "ms", "GFLOP/s", "of the product", "GB/s", "of the copy", "PyTorch ms", "ratio"], [
        [f"`{t['id']}`", t["technique"], f"{t['milliseconds']:.3f}", f"{t['gflops_per_second']:.0f}", blank_percent(t["share_of_matmul"]),
         f"{t['gigabytes_per_second']:.0f}", blank_percent(t["share_of_copy"]), blank(t["pytorch_milliseconds"], "{:.3f}"),
         blank(t["speedup"], "{:.2f}")] for t in ops])
if augment:
    text += ["## Views", "", "Views a second: v2 on each image, v2 with one draw for the whole batch (less than the same work), batched in plain PyTorch.", ""]
    text += table(["case", "rusa", "v2 each", "v2 one draw", "batched"], [
        [t["case"], f"{t['views_per_second']:.0f}", *(blank(t["pytorch"].get(k), "{:.0f}") for k in ("v2_each", "v2_one_draw", "batched"))]
        for t in augment])
if steps:
    text += ["## The two-view step of resnet18, 32x32", "", "Source images a second, on views that are given; the last column is ours over PyTorch's best.", ""]
    text += table(["batch", "rusa", "of the roofline", *MODES, "ratio"], [
        [str(t["batch"]), f"{t['images_per_second']:.0f}", percent(t["share_of_roofline"]), *(blank(t["pytorch"][m], "{:.0f}") for m in MODES),
         blank(t["speedup"], "{:.2f}")] for t in steps])
if run or torch_run:
    text += [f"## Pretraining by SimCLR on {source}", "", "Both judged by `rusa eval` on the same held-out images.", ""]
    rows = [("rusa", pretrain["rusa"]), (f"PyTorch ({torch_run.get('mode')})", pretrain["pytorch"]),
            ("untrained", run.get("untrained")), ("raw pixels", run.get("raw_pixels"))]
    text += table(["", "images/s", "seconds", "kNN", "linear"], [
        [name, blank(r.get("images_per_second"), "{:.0f}"), blank(r.get("seconds"), "{:.1f}"), percent(r.get("knn_top1"), "{:.2f} %"),
         percent(r.get("linear_top1"), "{:.2f} %")] for name, r in rows if r])

(out / "summary.md").write_text("\n".join(text))
(out / "summary.json").write_text(json.dumps({
    "dry_run": dry, "steps": stages, "ceilings": {"rusa": mine, "pytorch": peer}, "ops": ops, "augment": augment, "step": steps, "pretrain": pretrain,
}, indent=2) + "\n")
