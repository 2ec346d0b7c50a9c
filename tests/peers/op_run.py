#!/usr/bin/env python
"""`rusa op run` on every golden file, through the command line as a user has it.

usage: python tests/peers/op_run.py [--rusa target/release/rusa] [--device cpu] [--dtype f32] [NAME-PART …]
NAME-PART keeps only files with that in their name. Ends with 1 if an output is missing, not finite, of another shape,
or further off than the tolerance: a share of the tensor's scale (its largest value, if the file gives no other), 2e-5
in f32 (tests/golden.rs is stricter, op by op) and 3e-2 in bf16.
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
TOLERANCE = {"f32": 2e-5, "bf16": 3e-2}


def read(path):
    """Tensors to give, tensors wanted back, and the metadata."""
    with safe_open(path, "np") as file:
        metadata = file.metadata()
    tensors = load_file(path)
    given = json.loads(metadata["inputs"]) + [f"d_{name}" for name in json.loads(metadata["outputs"])]
    inputs = {k: v for k, v in tensors.items() if k in given}
    return inputs, {k: v for k, v in tensors.items() if k not in given}, metadata


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
        inputs, outputs = Path(folder, "inputs.safetensors"), Path(folder, "outputs.safetensors")
        for path in paths:
            given, wanted, metadata = read(path)
            save_file(given, inputs)
            outputs.unlink(missing_ok=True)
            command = [args.rusa, "op", "run", metadata["op"], "--params", metadata["params"], "--inputs", inputs]
            command += ["--outputs", outputs, "--device", args.device, "--dtype", args.dtype, "--backward"]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode != 0:
                problems = [f"exit code {done.returncode}: {done.stderr.strip()}"]
            else:
                got = load_file(outputs)
                scales = json.loads(metadata.get("scales", "{}"))
                checks = {k: compare(got.get(k), v, scales.get(k), TOLERANCE[args.dtype]) for k, v in wanted.items()}
                problems = [f"{k} {problem}" for k, problem in checks.items() if problem]
            failures += bool(problems)
            for problem in problems:
                print(f"{path.stem}: {problem}")
    print(f"{len(paths) - failures} of {len(paths)} golden files pass on {args.device} {args.dtype}")
    sys.exit(failures > 0)


if __name__ == "__main__":
    main()
