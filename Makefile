# make demo   pretrain on the embedded images, judge, draw the report: runs/demo/report.html
# make test   build and run every test; what CI runs
# make lint   formatting, clippy, documentation
# make test-all  also what needs PyTorch (installed into .venv) and a few minutes more

CARGO ?= cargo
RUSA := target/release/rusa
PYTHON ?= python3
VENV := .venv/bin/python

.PHONY: all demo build test lint test-all peers clean

all: build

build:
	@command -v $(CARGO) >/dev/null || { echo "error: no cargo: install Rust (rustup.rs), 1.90 or later"; exit 1; }
	$(CARGO) build --release

demo: build
	$(RUSA) pretrain --data embedded --method simclr --epochs 12 --batch 128 --set optimizer.lr=0.24 \
	    --out runs/demo --overwrite

# One profile for program and tests, so that dependencies are built once.
test: lint
	$(CARGO) test --release

lint:
	$(CARGO) fmt --check
	$(CARGO) clippy --release --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --release --no-deps

$(VENV): benches/peers/requirements.txt
	$(PYTHON) -m venv .venv
	$(VENV) -m pip install --quiet -r benches/peers/requirements.txt
	touch $(VENV)

test-all: test build $(VENV)
	tests/peers/run.sh $(RUSA) $(VENV)

# The same work in PyTorch, on this machine, in one go.
peers: build $(VENV)
	benches/peers/run.sh $(RUSA) $(VENV)

clean:
	$(CARGO) clean
	rm -rf runs/demo
