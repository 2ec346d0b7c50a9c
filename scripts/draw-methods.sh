#!/bin/sh
# Draws docs/methods/<method>.svg for every page there is; needs a built rusa, whose path can be given.
#     scripts/draw-methods.sh [target/release/rusa]
set -eu
cd "$(dirname "$0")/.."
rusa=${1:-target/release/rusa}
for page in docs/methods/*.md; do
    method=$(basename "$page" .md)
    [ "$method" = README ] && continue
    case $method in
        # One slice of whitening; one head: more would only repeat themselves.
        w-mse) more="--batch 128" ;;
        deepcluster-v2) more="--batch 256 --set loss.prototypes=[256]" ;;
        # The step of every epoch but the first.
        dino) more="--batch 256 --set loss.freeze=0" ;;
        *) more="--batch 256" ;;
    esac
    # shellcheck disable=SC2086 # options, to be split
    "$rusa" plan --method "$method" --encoder resnet18 --image 32 $more --peak-tflops 1 --peak-gbs 1 \
        --graph "docs/methods/$method.svg" >/dev/null
    echo "docs/methods/$method.svg"
done
