#!/usr/bin/env bash
# Every test that wants a GPU, on the driver that the PTX machine plays (tests/driver/lib.rs): ops, rungs, whole steps,
# every method. Ten minutes on two cores. `RUSA_DRIVER_SEED` and the other variables of the driver are passed on.
set -euo pipefail
cd "$(dirname "$0")/../.."
cargo build --release --example driver
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
ln -s "$PWD/target/release/examples/libdriver.so" "$scratch/libcuda.so"
export LD_LIBRARY_PATH=$scratch${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH} RUSA_DRIVER_SEED=${RUSA_DRIVER_SEED:-2}
cargo test --release --test ops --test devices --test ladders --test every_method -- gpu --nocapture 2>&1 |
    tee "$scratch/log"
! grep '^SKIPPED' "$scratch/log" || { echo "the driver was not found"; exit 1; }
