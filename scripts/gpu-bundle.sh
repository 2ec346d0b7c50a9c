#!/usr/bin/env bash
# Makes gpu-bundle/: all that a machine with a GPU and no Rust needs to prove and time this build. There: ./run OUTDIR
#
#   FASHION_MNIST=DIR   put the full data set's IDX files into it
set -euo pipefail
cd "$(dirname "$0")/.."
bundle=gpu-bundle most=60
say() { echo "gpu-bundle: $*"; }

say "building the binary and its tests"
cargo build --release --quiet
tests=$(cargo test --release --quiet --no-run --test ops --test devices --test kernels --message-format=json |
    python3 -c 'import json, sys
for line in sys.stdin:
    made = json.loads(line) if line.startswith("{") else {}
    if made.get("executable") and made["target"]["kind"] == ["test"]:
        print(made["target"]["name"], made["executable"])')
rm -rf "$bundle" && mkdir -p "$bundle/bin" "$bundle/data"
cp target/release/rusa "$bundle/bin/rusa"
while read -r name path; do cp "$path" "$bundle/bin/test-$name"; done <<< "$tests"
strip "$bundle"/bin/*
# Each binary carries all kernels: a dictionary larger than a binary stores them once.
say "packing $(du -sm "$bundle/bin" | cut -f1) MiB of binaries"
tar -C "$bundle" -cf - bin | xz --lzma2=preset=2,dict=256MiB > "$bundle/bin.tar.xz"
rm -r "$bundle/bin"
cp -r benches/peers "$bundle/peers" && rm -rf "$bundle/peers/__pycache__"
cp benches/gpu/run benches/gpu/summary.py "$bundle/"
cp data/fashion-mnist-10k/{t10k-images-idx3-ubyte.gz,LICENSE,README.md} "$bundle/data/"
if [ -n "${FASHION_MNIST:-}" ]; then
    found=$(find "$FASHION_MNIST" -maxdepth 1 -name '*-idx?-ubyte*')
    [ -n "$found" ] || { say "FASHION_MNIST=$FASHION_MNIST holds no IDX files"; exit 1; }
    cp $found "$bundle/data/"
fi
cp LICENSE LICENSE-MIT LICENSE-APACHE "$bundle/"
size=$(du -sm "$bundle" | cut -f1)
[ "$size" -le "$most" ] || { say "$size MiB: more than $most"; exit 1; }
say "$bundle: $size MiB; copy it to a machine with a GPU, then ./run OUTDIR"
