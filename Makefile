# Every target sets up what it needs: an environment, a current pip, maturin, a release build.
# Python 3.11 or later and cargo are all that has to be there.

PYTHON ?= python3
PYTHONS ?= 3.11 3.12 3.13
PYTEST_ARGS ?=

# `.venv` is for PYTHON; the other versions that `make check` needs have `.venv-3.X`.
ifneq ($(shell $(PYTHON) -c 'import sys; print(sys.version_info >= (3, 11))'),True)
    $(error $(PYTHON) is no Python 3.11 or later; name one: make PYTHON=python3.12 …)
endif
VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
V ?= $(VERSION)
ENV := $(if $(filter $(V),$(VERSION)),.venv,.venv-$(V))
BIN := $(CURDIR)/$(ENV)/bin
BASE := $(shell .ci/find-python $(V) $(if $(filter $(V),$(VERSION)),$(PYTHON)))

# A folder per Python, so that changing from one to another rebuilds nothing.
TARGET := $(CURDIR)/target/py$(V)
WHEELS := $(TARGET)/wheels
# For whatever runs cargo: the same Python and the same folder as the wheel's build.
CARGO_ENV := CARGO_TARGET_DIR=$(TARGET) PYO3_PYTHON=$(BASE)

# Where a test that embeds the interpreter finds it.
LIBDIR = $(shell $(BASE) -c 'import sysconfig; print(sysconfig.get_config_var("LIBDIR"))')

SOURCES := pyproject.toml README.md Cargo.toml Cargo.lock .cargo/config.toml \
    $(shell find instrument runtime -name '*.rs' -o -name '*.py' -o -name Cargo.toml) \
    $(shell find pytest_plugin -name '*.py' -o -name '*.pyi' -o -name py.typed)
STAGE := .ci/stage
MAKEFLAGS += --no-print-directory

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test check bench soak fmt lint rust loom pytest clean

help: ## say what each target does
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# --- environments and builds

$(ENV)/.python-$(V): ## (the stamp names the version: another PYTHON makes a new environment)
	@test -n "$(BASE)"
	rm -rf $(ENV)
	$(BASE) -m venv $(ENV)
	$(BIN)/python -m pip install --quiet --upgrade pip 'maturin>=1.9,<2'
	@touch $@

$(WHEELS)/.built: $(ENV)/.python-$(V) $(SOURCES)
	@mkdir -p $(WHEELS)
	@rm -f $(WHEELS)/*.whl
	$(CARGO_ENV) $(BIN)/maturin build --quiet --release --interpreter $(BASE) --out $(WHEELS)
	@touch $@

# pip leaves an installed version alone, so the wheel is forced and its extras are added after.
$(ENV)/.demo $(ENV)/.test: $(ENV)/.%: $(WHEELS)/.built
	@$(BIN)/pip install --quiet --force-reinstall --no-deps $(WHEELS)/*.whl
	@$(BIN)/pip install --quiet "$$(echo $(WHEELS)/*.whl)[$*]"
	@touch $@

$(ENV)/.lint: $(ENV)/.test pyproject.toml
	@$(BIN)/pip install --quiet "$$(echo $(WHEELS)/*.whl)[lint]"
	@touch $@

# --- what a user types

demo: $(ENV)/.demo ## index the standard library through the runtime; leaves rows, database and trace
	@rm -rf target/demo && mkdir -p target/demo
	$(BIN)/gilscope run examples/stdlib_index.py:index \
	    --input examples/stdlib_index.py:inputs --concurrency 64 \
	    --out target/demo/out.jsonl --trace target/demo/trace.json
	@$(BIN)/python examples/stdlib_index.py

test: $(ENV)/.test pytest ## the tests on one Python (PYTHON=python3.12, PYTEST_ARGS='-k e1')

pytest: $(ENV)/.test
	$(CARGO_ENV) $(BIN)/python -m pytest $(PYTEST_ARGS)

check: ## what CI runs: format, lints, types, all tests on every Python of PYTHONS
	@for v in $(PYTHONS); do .ci/find-python $$v >/dev/null || exit 1; done
	@$(STAGE) 'build and environment' $(MAKE) $(ENV)/.lint
	@$(STAGE) 'format, lints, types' $(MAKE) lint
	@$(STAGE) 'rust tests' $(MAKE) rust
	@$(STAGE) 'model checks' $(MAKE) loom
	@for v in $(PYTHONS); do \
	    $(STAGE) "build for $$v" $(MAKE) pytest-env V=$$v || exit 1; \
	    $(STAGE) "tests on $$v" $(MAKE) pytest V=$$v || exit 1; \
	done

.PHONY: pytest-env
pytest-env: $(ENV)/.test

bench: $(ENV)/.test ## measure against the peers, write target/bench.json
	$(CARGO_ENV) $(BIN)/python benches/bench.py

soak: $(ENV)/.test ## everything long: 10,000,000 calls, 200 exits of each kind, and of the peer's
	$(CARGO_ENV) $(BIN)/python benches/soak.py --out docs/soak.md
	$(CARGO_ENV) GILSCOPE_SOAK=1 $(BIN)/python -m pytest $(PYTEST_ARGS)
	$(CARGO_ENV) $(BIN)/python tests/exit/peer_matrix.py -n 200 --write

fmt: $(ENV)/.lint ## format Rust and Python
	cargo fmt --all
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# --- the parts of `make check`

lint: $(ENV)/.lint ## format check, clippy, rustdoc, ruff, mypy
	cargo fmt --all --check
	$(CARGO_ENV) cargo clippy --workspace --all-targets -- -D warnings
	$(CARGO_ENV) RUSTDOCFLAGS='-D warnings' cargo doc --quiet --no-deps \
	    --package gilscope-instrument --package gilscope-runtime
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

rust: $(ENV)/.python-$(V) ## the tests written in Rust
	$(CARGO_ENV) LD_LIBRARY_PATH=$(LIBDIR) \
	    cargo test --quiet --package gilscope-instrument --package gilscope-runtime

loom: ## model checks of queue, wake and ring
	CARGO_TARGET_DIR=target/loom RUSTFLAGS='--cfg loom' cargo test --release \
	    --package gilscope-instrument --package gilscope-queue-model --test 'loom_*'

clean: ## remove environments and builds
	rm -rf .venv .venv-3.* target
