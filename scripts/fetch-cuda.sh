#!/bin/sh
# Puts NVIDIA's CUDA compiler into .toolchain/cuda, unless there is one already. No GPU, no root, no toolkit needed.
#
#   scripts/fetch-cuda.sh            fetch if missing
#   scripts/fetch-cuda.sh --found    say nothing, fetch nothing: is there one that can work?
set -eu
cd "$(dirname "$0")/.."

# 13.0, because what 13.1 and later emit is refused by driver 580. 13.0 has no disassembler on its own; 13.2's reads it.
PINS="nvidia-cuda-nvcc==13.0.88 nvidia-nvvm==13.0.88 nvidia-cuda-crt==13.0.88 nvidia-cuda-runtime==13.0.96
nvidia-cuda-cccl==13.0.85 nvidia-cuda-cuobjdump==13.2.86 nvidia-cuda-nvdisasm==13.2.86"
HOME_OF_IT=.toolchain/cuda
NVCC_OF_IT=$HOME_OF_IT/nvidia/cu13/bin/nvcc

say() { echo "cuda: $*" >&2; }
fail() { say "$*"; exit 1; }

# Ours counts while it is the one that is pinned here.
fetched() { [ -x "$NVCC_OF_IT" ] && [ "$(cat "$HOME_OF_IT/pins" 2>/dev/null)" = "$PINS" ]; }

# The places build.rs looks in, in its order; like it, this passes by what is older than 12.0.
found() {
    if [ -n "${NVCC:-}" ]; then echo "$NVCC"; return; fi
    usable "${CUDA_HOME:+$CUDA_HOME/bin/nvcc}" && return
    usable "${CUDA_PATH:+$CUDA_PATH/bin/nvcc}" && return
    if fetched; then echo "$NVCC_OF_IT"; return; fi
    # A fetch of other pins comes before the rest for build.rs, so it must be renewed.
    [ -x "$NVCC_OF_IT" ] && return 1
    usable "$(command -v nvcc)" || usable /usr/local/cuda/bin/nvcc
}

usable() {
    [ -x "$1" ] && "$1" --version 2>/dev/null | grep -Eq 'release (1[2-9]|[2-9][0-9])\.' && echo "$1"
}

# nvcc preprocesses with the machine's own C++ compiler.
host_compiler() { [ -n "${NVCC_CCBIN:-}" ] || command -v g++ >/dev/null; }
need_host_compiler() { host_compiler || fail "nvcc finds no C++ compiler to preprocess with: apt-get install g++"; }

if [ "${1:-}" = --found ]; then
    found >/dev/null && host_compiler
    exit
fi
if nvcc=$(found); then
    need_host_compiler
    say "using $nvcc"
    exit 0
fi

command -v "${PYTHON:=python3}" >/dev/null || fail "no $PYTHON to fetch it with: install python3 with pip, or set NVCC to an nvcc of 13.0"
mkdir -p .toolchain
staging=$(mktemp -d .toolchain/fetch.XXXXXX)
pid=
# Ctrl-C does not reach what a script runs in the background.
trap '[ -z "$pid" ] || kill "$pid" 2>/dev/null || :; rm -rf "$staging"' EXIT
trap 'exit 130' INT TERM HUP
mkdir "$staging/tmp"

# A Debian python3 may come without pip; then a venv brings one, if it may.
pip="$PYTHON -m pip"
if ! $pip --version >/dev/null 2>&1; then
    "$PYTHON" -m venv "$staging/venv" >"$staging/log" 2>&1 ||
        fail "$PYTHON has no pip and makes no venv: apt-get install python3-pip (or python3-venv), then again"
    pip="$staging/venv/bin/python -m pip"
fi

say "fetching nvcc 13.0 (7 packages, about 280 MB unpacked) into $HOME_OF_IT"
# TMPDIR: pip unpacks beside the target, so that the size below counts and nothing is left in /tmp.
TMPDIR="$PWD/$staging/tmp" $pip install --target "$staging/cuda" --no-deps --only-binary :all: --no-compile \
    --disable-pip-version-check --no-input $PINS >"$staging/log" 2>&1 &
pid=$!
while kill -0 "$pid" 2>/dev/null; do
    [ -t 2 ] && printf '\rcuda: %s MB written ' "$(du -sm "$staging" | cut -f1)" >&2
    sleep 1
done
[ -t 2 ] && printf '\r\033[K' >&2
ended=0
wait "$pid" || ended=$?
pid=
if [ "$ended" -ne 0 ]; then
    grep -v '^ \|^Collecting' "$staging/log" | tail -n 12 >&2
    fail "pip could not fetch it (its words above). Is there a network, or a package index that pip is told of? Then again,
cuda: or set NVCC to an nvcc of 13.0; \`make build\` builds the CPU engine without any"
fi
"$staging/cuda/nvidia/cu13/bin/nvcc" --version >"$staging/log" 2>&1 ||
    { cat "$staging/log" >&2; fail "what came does not run on this machine ($(uname -sm))"; }
printf '%s' "$PINS" >"$staging/cuda/pins"

# Whole, so give it its name; one of another pin makes room. A fetch beside this one may have been faster: as good.
if fetched; then say "using $NVCC_OF_IT"; exit 0; fi
rm -rf "$HOME_OF_IT"
mv "$staging/cuda" "$HOME_OF_IT"
# cargo cannot watch a folder that is not there: build.rs watches this file instead.
touch scripts/fetch-cuda.sh
say "$("$NVCC_OF_IT" --version | sed -n 's/.*, V/nvcc /p') is there"
need_host_compiler
