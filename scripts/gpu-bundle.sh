#!/usr/bin/env bash
# Makes gpu-bundle/: all that a machine with a GPU and no Rust needs to prove and time this build. There: ./run OUTDIR
#
#   FASHION_MNIST=DIR   the folder of the full data set's IDX files to put into it; if not given, that of Debian's package
#                       dataset-fashion-mnist, and without it the 10,000 embedded images, 8,000 of them to train on
set -euo pipefail
cd "$(dirname "$0")/.."
bundle=gpu-bundle most=60
say() { echo "gpu-bundle: $*"; }

say "building the binary and its tests"
cargo build --release --quiet
tests=$(cargo test --release --quiet --no-run --test ops --test devices --test ladders --test every_method \
    --message-format=json |
    python3 -c 'import json, sys
for line in sys.stdin:
    made = json.loads(line) if line.startswith("{") else {}
    if made.get("executable") and made["target"]["kind"] == ["test"]:
        print(made["target"]["name"], made["executable"])')
rm -rf "$bundle"
mkdir -p "$bundle"/{bin,data,tests/peers,tests/golden}
cp target/release/rusa "$bundle/bin/rusa"
while read -r name path; do cp "$path" "$bundle/bin/test-$name"; done <<< "$tests"
strip "$bundle"/bin/*
# Each binary carries all kernels: a dictionary larger than a binary stores them once.
say "packing $(du -sm "$bundle/bin" | cut -f1) MiB of binaries"
tar -C "$bundle" -cf - bin | xz --lzma2=preset=2,dict=256MiB > "$bundle/bin.tar.xz"
rm -r gpu-bundle/bin
cp -r benches/peers "$bundle/peers"
rm -rf "$bundle/peers/__pycache__"
cp tests/peers/op_run.py "$bundle/tests/peers/"
cp -r tests/golden/ops "$bundle/tests/golden/"
cp benches/gpu/run benches/gpu/summary.py LICENSE LICENSE-MIT LICENSE-APACHE "$bundle/"
debian=/usr/share/datasets/fashion-mnist
[ -n "${FASHION_MNIST:-}" ] || [ ! -d $debian ] || FASHION_MNIST=$debian
if [ -n "${FASHION_MNIST:-}" ]; then
    for name in train-images-idx3 train-labels-idx1 t10k-images-idx3 t10k-labels-idx1; do
        found=$(find "$FASHION_MNIST" -maxdepth 1 -name "$name-ubyte*" | head -n 1)
        [ -n "$found" ] || { say "FASHION_MNIST=$FASHION_MNIST holds no $name-ubyte, gzipped or not"; exit 1; }
        cp "$found" "$bundle/data/"
        case $found in *.gz) ;; *) gzip "$bundle/data/$(basename "$found")" ;; esac
    done
    echo "the full data set's IDX files" > "$bundle/data/SOURCE"
else
    say "the small data set: for the full one apt-get install dataset-fashion-mnist, or name its folder by FASHION_MNIST"
    # Both sides then train and are judged on the same images.
    python3 - data/fashion-mnist-10k "$bundle/data" <<'PY'
import gzip, struct, sys
source, target = sys.argv[1:]
for kind, row in ("images-idx3", 28 * 28), ("labels-idx1", 1):
    with gzip.open(f"{source}/t10k-{kind}-ubyte.gz") as file:
        data = file.read()
    head = len(data) - 10_000 * row
    for split, first, last in ("train", 0, 8000), ("t10k", 8000, 10_000):
        with gzip.open(f"{target}/{split}-{kind}-ubyte.gz", "wb") as file:
            rows = data[head + first * row : head + last * row]
            file.write(data[:4] + struct.pack(">I", last - first) + data[8:head] + rows)
PY
    echo "the embedded 10,000 images of Fashion-MNIST's test set: 8,000 to train on, 2,000 to judge by" > "$bundle/data/SOURCE"
fi
cp data/fashion-mnist-10k/{LICENSE,README.md} "$bundle/data/"
git describe --always --dirty > "$bundle/COMMIT"
size=$(du -sm "$bundle" | cut -f1)
[ "$size" -le "$most" ] || { say "$size MiB: more than $most"; exit 1; }
say "$bundle: $size MiB; copy it to a machine with a GPU, then ./run OUTDIR"
