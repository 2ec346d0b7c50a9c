#!/usr/bin/env bash
# The step of both small networks, ours and PyTorch's in turn, three times: raw JSON into bench-runs/<date>-cpu/.
# usage: benches/peers/run.sh RUSA PYTHON
set -euo pipefail
rusa=$1 python=$2
cd "$(dirname "$0")/../.."
out=bench-runs/$(date +%F)-cpu
mkdir -p "$out"
{
    date -u +%FT%TZ
    grep -m1 'model name' /proc/cpuinfo
    echo "cores: $(nproc)"
    grep -o -w -E 'avx2|avx512f|avx512_bf16' /proc/cpuinfo | sort -u | tr '\n' ' '
    echo
    echo "load before: $(cut -d' ' -f1-3 /proc/loadavg)"
    "$rusa" bench copy
} | tee "$out/machine.txt"
for round in 1 2 3; do
    "$rusa" bench step --encoder resnet10 --set encoder.width=16 --image 28 --channels 1 --batch 256 --seconds 10 \
        --set projector.hidden=512 --json "$out/resnet10-w16-28x28x1-b256-rusa-$round.json"
    "$python" benches/peers/step.py --encoder resnet10 --width 16 --image 28 --channels 1 --batch 256 \
        | tee "$out/resnet10-w16-28x28x1-b256-pytorch-$round.json"
    "$rusa" bench step --encoder resnet18 --image 32 --channels 3 --batch 32 --seconds 10 \
        --json "$out/resnet18-32x32x3-b32-rusa-$round.json"
    "$python" benches/peers/step.py --encoder resnet18 --image 32 --channels 3 --batch 32 \
        | tee "$out/resnet18-32x32x3-b32-pytorch-$round.json"
done
echo "load after: $(cut -d' ' -f1-3 /proc/loadavg)" >> "$out/machine.txt"
