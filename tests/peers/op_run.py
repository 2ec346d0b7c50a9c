#!/usr/bin/env python
"""`rusa op run` on every golden file, through the command line as a user has it.

usage: python tests/peers/op_run.py [--rusa target/release/rusa] [--device cpu] [--dtype f32] [NAME-PART …]
NAME-PART keeps only files with that in their name. In f32 the wanted values are the file's, by PyTorch; in bf16 they are
the CPU engine's in f32, on the file's inputs rounded to bf16: of the file's own some would say what rounding lost. Ends with 1
if an output is missing, not finite, of another shape, or further off than the tolerance: a share of the tensor's scale
(its largest value, if the file gives no other), 2e-5 in f32 (tests/golden.rs is stricter, op by op); in bf16 half an
ulp, 4.3e-3, and 1.5e-2 for nt_xent, which rounds its unit rows too.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

ROOT = Path(__file__).resolve().parent.parent.parent
TOLERANCE = {"f32": 2e-5, "bf16": 4.3e-3}


def read(path):
    """Tensors to give, tensors wanted back, and the metadata."""
    with safe_open(path, "np") as file:
        metadata = file.metadata()
    tensors = load_file(path)
    given = json.loads(metadata["inputs"]) + [f"d_{name}" for name in json.loads(metadata["outputs"])]
    inputs = {k: v for k, v in tensors.items() if k in given}
    return inputs, {k: v for k, v in tensors.items() if k not in given}, metadata


def rounded(x):
    """To bf16, ties to even, as f32."""
    if x.dtype != np.float32:
        return x
    bits = np.ascontiguousarray(x).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32).reshape(x.shape)


def run(args, device, dtype, metadata, given, folder):
    """What the op makes of the tensors, or what went wrong."""
    inputs, outputs = Path(folder, "inputs.safetensors"), Path(folder, "outputs.safetensors")
    save_file(given, inputs)
    outputs.unlink(missing_ok=True)
    command = [args.rusa, "op", "run", metadata["op"], "--params", metadata["params"], "--inputs", inputs]
    command += ["--outputs", outputs, "--device", device, "--dtype", dtype]
    # Without a gradient of an output the op has none to give.
    command += ["--backward"] if any(name.startswith("d_") for name in given) else []
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        return None, f"exit code {done.returncode} on {device}: {done.stderr.strip()}"
    return load_file(outputs), None


def compare(got, want, scale, tolerance):
    """What is wrong, or None."""
    if got is None:
        return "missing"
    if got.shape != want.shape:
        return f"has shape {list(got.shape)}, want {list(want.shape)}"
    if not np.isfinite(got).all():
        return f"is {got[~np.isfinite(got)][0]} at {np.argwhere(~np.isfinite(got))[0].tolist()}"
    error = np.abs(got.astype("f8") - want) / (scale or max(np.abs(want).max(), 1e-6))
    at = np.unravel_index(error.argmax(), error.shape)
    if not error[at] <= tolerance:
        return f"is {got[at]}, want {want[at]}, at {[int(i) for i in at]}: off by {error[at]:.1e}"
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rusa", default=ROOT / "target" / "release" / "rusa")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", choices=TOLERANCE, default="f32")
    parser.add_argument("names", nargs="*")
    args = parser.parse_args()
    paths = sorted((ROOT / "tests" / "golden" / "ops").glob("*.safetensors"))
    paths = [p for p in paths if not args.names or any(name in p.stem for name in args.names)]
    if not paths:
        sys.exit("no golden file has such a name")
    failures = 0
    with tempfile.TemporaryDirectory() as folder:
        for path in paths:
            given, wanted, metadata = read(path)
            problem = None
            if args.dtype == "bf16":
                given = {k: rounded(v) for k, v in given.items()}
                exact, problem = run(args, "cpu", "f32", metadata, given, folder)
                wanted = {k: v for k, v in (exact or {}).items() if k in wanted}
            if not problem:
                got, problem = run(args, args.device, args.dtype, metadata, given, folder)
            if problem:
                problems = [problem]
            else:
                scales = json.loads(metadata.get("scales", "{}"))
                loose = args.dtype == "bf16" and metadata["op"] == "nt_xent"
                tolerance = 1.5e-2 if loose else TOLERANCE[args.dtype]
                checks = {k: compare(got.get(k), v, scales.get(k), tolerance) for k, v in wanted.items()}
                problems = [f"{k} {problem}" for k, problem in checks.items() if problem]
            failures += bool(problems)
            for problem in problems:
                print(f"{path.stem}: {problem}")
    print(f"{len(paths) - failures} of {len(paths)} golden files pass on {args.device} {args.dtype}")
    sys.exit(failures > 0)


if __name__ == "__main__":
    main()
