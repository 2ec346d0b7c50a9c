#!/usr/bin/env bash
# Pretrain with every method, judge each, and put them side by side:
#   scripts/methods.sh [METHOD…]      all of them if none is named
# From the environment: RUSA, DATA (embedded), EPOCHS (10), SEEDS ("0"), OUT (runs/methods), and ARGS for every run.
# A run that is finished is kept, one that was broken off goes on: the script can be started again.
set -euo pipefail
rusa=${RUSA:-target/release/rusa}
data=${DATA:-embedded} epochs=${EPOCHS:-10} out=${OUT:-runs/methods}
read -ra seeds <<<"${SEEDS:-0}"
read -ra extra <<<"${ARGS:-}"
if [ $# -gt 0 ]; then
    methods=("$@")
else
    mapfile -t methods < <("$rusa" pretrain --method list | sed -n 's/^\([a-z0-9-]*\): .*/\1/p')
fi
runs=()
for seed in "${seeds[@]}"; do
    for method in "${methods[@]}"; do
        run=$out/$method-$seed
        runs+=("$run")
        [ -e "$run/summary.json" ] && continue
        echo "== $method, seed $seed" >&2
        "$rusa" pretrain --data "$data" --method "$method" --epochs "$epochs" --seed "$seed" --out "$run" --resume \
            "${extra[@]}"
    done
done
"$rusa" compare "${runs[@]}" --out "$out/compare.html" --json "$out/compare.json" | tee "$out/table.md"
