#!/usr/bin/env bash
# Every method's step, ours and PyTorch's with lightly's losses in turn, three times: raw JSON and a table into
# bench-runs/<date>-methods-cpu/.
# usage: benches/peers/methods.sh RUSA PYTHON [METHOD…]      all of them if none is named: about a quarter of an hour
# From the environment: SECONDS_EACH (5), ROUNDS (3), OUT, and PEER_ARGS for every PyTorch run, as in --compile.
set -euo pipefail
rusa=$1 python=$2
shift 2
cd "$(dirname "$0")/../.."
out=${OUT:-bench-runs/$(date +%F)-methods-cpu}
seconds=${SECONDS_EACH:-5} rounds=${ROUNDS:-3}
read -ra extra <<<"${PEER_ARGS:-}"
if [ $# -gt 0 ]; then
    methods=("$@")
else
    mapfile -t methods < <("$python" benches/peers/methods.py --method list)
fi
network=(--encoder resnet10 --image 28 --channels 1 --batch 128 --seconds "$seconds")
mkdir -p "$out"
{
    date -u +%FT%TZ
    grep -m1 'model name' /proc/cpuinfo
    echo "cores: $(nproc)"
    grep -o -w -E 'avx2|avx512f|avx512_bf16' /proc/cpuinfo | sort -u | tr '\n' ' '
    echo
    echo "load before: $(cut -d' ' -f1-3 /proc/loadavg)"
    "$rusa" bench copy --json "$out/ceilings.json"
} | tee "$out/machine.txt"
for method in "${methods[@]}"; do
    for ((round = 1; round <= rounds; round++)); do
        echo "== $method, round $round" >&2
        # The preset by name: methods.py reads the same one, whatever the images.
        "$rusa" bench step --preset fashion-mnist --method "$method" "${network[@]}" --set encoder.width=16 \
            --ceilings "$out/ceilings.json" --json "$out/$method-rusa-$round.json"
        "$python" benches/peers/methods.py --method "$method" "${network[@]}" --width 16 "${extra[@]}" \
            > "$out/$method-pytorch-$round.json"
    done
done
echo "load after: $(cut -d' ' -f1-3 /proc/loadavg)" >> "$out/machine.txt"
"$python" benches/peers/methods_table.py "$out" | tee "$out/table.md"
