#!/usr/bin/env bash
# What PyTorch has to say: op vectors through the command line, and an exported encoder in torchvision.
# usage: tests/peers/run.sh RUSA PYTHON
set -euo pipefail
rusa=$1 python=$2
cd "$(dirname "$0")/../.."
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

"$python" tests/peers/op_run.py --rusa "$rusa"

# 60 small colour pictures in 3 classes, of the size of a view.
"$python" - "$scratch/images" <<'PY'
import sys
from pathlib import Path
import numpy as np
from PIL import Image
rng = np.random.default_rng(0)
for label in "abc":
    folder = Path(sys.argv[1]) / label
    folder.mkdir(parents=True)
    for i in range(20):
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(folder / f"{i:02}.png")
PY
"$rusa" pretrain --data "$scratch/images" --encoder resnet18 --method simclr --epochs 1 --batch 16 --out "$scratch/run"
"$rusa" embed "$scratch/run" --data "$scratch/images" --out "$scratch/embeddings.safetensors"
"$python" tests/peers/torchvision_load.py "$scratch/run" \
    --embeddings "$scratch/embeddings.safetensors" --images "$scratch/images"
