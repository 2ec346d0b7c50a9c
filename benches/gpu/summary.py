"""summary.md of what `run` left in a folder: how the stages ended, and our figures beside PyTorch's. Figures that are not
there stay empty.

usage: python summary.py OUTDIR DATA
"""

import json
import sys
from pathlib import Path

out, data = Path(sys.argv[1]), sys.argv[2]


def load(name):
    path = out / name
    try:
        return json.loads(path.read_text())
    except (OSError, json.JSONDecodeError):
        return None


def number(value, form="{:.1f}"):
    return form.format(value) if isinstance(value, (int, float)) else "not measured"


def ratio(ours, theirs):
    return f"{ours / theirs:.2f}" if ours and theirs else ""


lines = ["# rusa on a GPU", "", "```", (out / "machine.txt").read_text().strip(), "```", ""]
lines += ["## Stages", "", "| stage | ended | seconds |", "| --- | --- | --- |"]
stages = [row.split("\t") for row in (out / "stages.tsv").read_text().splitlines()]
lines += [f"| {' | '.join(row)} |" for row in stages]

copy, peers = load("copy.json"), load("ops-pytorch.json")
theirs = {t["id"]: t for t in peers["timings"]} if peers else {}
rate = copy["gigabytes_per_second"] if copy else None
best = theirs.get("copy", {}).get("gigabytes_per_second")
lines += ["", "## Ceilings", "", f"Copy: {number(rate)} GB/s by our ReLU, {number(best)} GB/s by PyTorch's copy."]

ops = load("ops-rusa.json")
if ops:
    # Conv ids: conv2d[/pass]/dtype/technique/device/case; PyTorch's: conv2d[/pass]/case.
    lines += ["", "## Ops", "", "| op | ms | GFLOP/s | GB/s | share of the copy rate | PyTorch ms | PyTorch's time over ours |",
              "| --- | --- | --- | --- | --- | --- | --- |"]
    for t in ops["timings"]:
        parts = t["id"].split("/")
        name = "/".join([*[p for p in parts[: parts.index("bf16") if "bf16" in parts else parts.index("f32")]], parts[-1]])
        peer = theirs.get(name, {}).get("milliseconds")
        share = f"{100 * t['gigabytes_per_second'] / best:.0f} %" if best else ""
        lines.append(f"| `{t['id']}` | {t['milliseconds']:.3f} | {t['gflops_per_second']:.0f} | "
                     f"{t['gigabytes_per_second']:.0f} | {share} | {number(peer, '{:.3f}') if peer else ''} | "
                     f"{ratio(peer, t['milliseconds'])} |")

steps = sorted(out.glob("step-rusa-*.json"), key=lambda p: int(p.stem.split("-")[-1]))
if steps:
    lines += ["", "## The two-view step of resnet18, 32x32", "",
              "| batch | rusa images/s | eager | torch.compile | CUDA graph | ours over PyTorch's best |",
              "| --- | --- | --- | --- | --- | --- |"]
    for path in steps:
        batch = path.stem.split("-")[-1]
        ours = json.loads(path.read_text())["images_per_second"]
        modes = [(load(f"step-pytorch-{m}-{batch}.json") or {}).get("images_per_second") for m in ("eager", "compile", "graph")]
        fastest = max((m for m in modes if m), default=None)
        lines.append(f"| {batch} | {number(ours, '{:.0f}')} | {' | '.join(number(m, '{:.0f}') for m in modes)} | {ratio(ours, fastest)} |")

run, peer, judged = load("pretrain-rusa/summary.json"), load("pretrain-pytorch.json"), load("judge-pytorch.json")
if run:
    which = "the embedded 10,000 images" if data == "embedded" else f"the IDX files of {Path(data).name}"
    percent = lambda v: number(100 * v if isinstance(v, (int, float)) else None, "{:.2f} %")
    judged = judged or {}
    lines += ["", f"## Pretraining by SimCLR on {which}", ""]
    if data == "embedded":
        lines += ["PyTorch trained on all 10,000 of them, rusa on the 8,000 that are not held out.", ""]
    lines += ["| | images/s | seconds | kNN | linear |", "| --- | --- | --- | --- | --- |",
              f"| rusa | {number(run['images_per_second'], '{:.0f}')} | {number(run['seconds'])} | "
              f"{percent(run.get('knn_top1'))} | {percent(run.get('linear_top1'))} |"]
    if peer:
        lines.append(f"| PyTorch ({peer['mode']}) | {number(peer['images_per_second'], '{:.0f}')} | {number(peer['seconds'])} | "
                     f"{percent(judged.get('knn_top1'))} | {percent(judged.get('linear_top1'))} |")

(out / "summary.md").write_text("\n".join(lines) + "\n")
(out / "summary.json").write_text(json.dumps({
    "stages": [dict(zip(("stage", "ended", "seconds"), row)) for row in stages], "data": data, "copy_gbs": rate,
    "pretrain": run and {k: run.get(k) for k in ("images_per_second", "seconds", "knn_top1", "linear_top1")},
}, indent=2) + "\n")
