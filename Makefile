# make demo   pretrain on the embedded images, judge, draw the report: runs/demo/report.html
# make test   build and run every test; what CI runs
# make methods  pretrain with every method on the embedded images, judge, compare: runs/methods/compare.html (an hour)
# make cuda   fetch NVIDIA's CUDA compiler into .toolchain, if there is none (280 MB; no GPU needed)
# make lint   formatting, clippy, documentation
# make peers  the step of two networks beside PyTorch, on this machine
# make peers-methods  every method's step beside PyTorch with lightly's losses (a quarter of an hour)
# make gpu-bundle  a folder to run on a machine with a GPU: correctness, sanitizer, benches beside PyTorch
# make test-all  also what wants a GPU, on a driver that the PTX machine plays, and what needs PyTorch (installed into
#                .venv): a quarter of an hour more

CARGO ?= cargo
RUSA := target/release/rusa
PYTHON ?= python3
VENV := .venv/bin/python

# Where there is an nvcc, kernels that do not compile or that spill are errors. Every target asks alike: cargo builds
# anew whenever the answer changes.
WITH_CUDA = RUSA_REQUIRE_NVCC=$$(scripts/fetch-cuda.sh --found && echo 1)

.PHONY: all demo methods build cuda test lint test-all peers peers-methods gpu-bundle clean

all: build

build:
	@command -v $(CARGO) >/dev/null || { echo "error: no cargo: install Rust (rustup.rs), 1.90 or later"; exit 1; }
	$(WITH_CUDA) $(CARGO) build --release

demo: build
	$(RUSA) pretrain --data embedded --method simclr --epochs 12 --batch 128 --set optimizer.lr=0.24 \
	    --out runs/demo --overwrite

# SEEDS="0 1 2" for intervals, EPOCHS=…, DATA=PATH; started again, it goes on where it was.
methods: build
	RUSA=$(RUSA) scripts/methods.sh

cuda:
	@PYTHON=$(PYTHON) scripts/fetch-cuda.sh

# One profile for program and tests, so that dependencies are built once. `lint` builds too, so nvcc comes first.
test: | cuda
	@$(MAKE) --no-print-directory lint
	$(WITH_CUDA) $(CARGO) test --release

lint:
	$(CARGO) fmt --check
	$(WITH_CUDA) $(CARGO) clippy --release --all-targets -- -D warnings
	$(WITH_CUDA) RUSTDOCFLAGS="-D warnings" $(CARGO) doc --release --no-deps

$(VENV): benches/peers/requirements.txt
	$(PYTHON) -m venv .venv
	$(VENV) -m pip install --quiet -r benches/peers/requirements.txt
	touch $(VENV)

test-all: test $(VENV)
	@$(MAKE) --no-print-directory build
	$(WITH_CUDA) tests/driver/run.sh
	tests/peers/run.sh $(RUSA) $(VENV)

# The same work in PyTorch, on this machine, in one go.
peers: build $(VENV)
	benches/peers/run.sh $(RUSA) $(VENV)

peers-methods: build $(VENV)
	$(VENV) -m pip install --quiet --no-deps -r benches/peers/requirements-lightly.txt
	benches/peers/methods.sh $(RUSA) $(VENV)

# One folder that proves and times this build on a machine with a GPU and no Rust.
gpu-bundle: | cuda
	$(WITH_CUDA) scripts/gpu-bundle.sh

clean:
	$(CARGO) clean
	rm -rf runs/demo
