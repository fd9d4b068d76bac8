# Every target sets up what it needs: an environment, a current pip, maturin, a release build.
# What has to be there, for the demo, the service, the tests, is said in README.md.

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
    $(shell find pytest_plugin -type f -not -name '*.so' -not -name '*.pyc')
STAGE := .ci/stage
MAKEFLAGS += --no-print-directory

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo service test check bench soak sanitize fmt lint rust loom pytest clean

help: ## say what each target does
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# --- environments and builds

# Said before a build that takes long, where there was none before: what is built into, and what it is.
# cargo then names each crate as it comes to it.
first = test -e $(1) || echo 'building $(2) and its dependencies: a few minutes, the first time alone'

$(ENV)/.python-$(V): ## (the stamp names the version: another PYTHON makes a new environment)
	@test -n "$(BASE)"
	rm -rf $(ENV)
	$(BASE) -m venv $(ENV)
	$(BIN)/python -m pip install --quiet --upgrade pip 'maturin>=1.9,<2'
	@touch $@

$(WHEELS)/.built: $(ENV)/.python-$(V) $(SOURCES)
	@$(call first,$(TARGET)/release,gilscope)
	@mkdir -p $(WHEELS)
	@rm -f $(WHEELS)/*.whl
	$(CARGO_ENV) $(BIN)/maturin build --release --interpreter $(BASE) --out $(WHEELS)
	@touch $@

# pip leaves an installed version alone, so the wheel is forced and its extras are added after.
$(ENV)/.demo $(ENV)/.test: $(ENV)/.%: $(WHEELS)/.built
	$(BIN)/pip install --quiet --force-reinstall --no-deps $(WHEELS)/*.whl
	$(BIN)/pip install --quiet "$$(echo $(WHEELS)/*.whl)[$*]"
	@touch $@

$(ENV)/.lint: $(ENV)/.test pyproject.toml
	$(BIN)/pip install --quiet "$$(echo $(WHEELS)/*.whl)[lint]"
	@touch $@

$(ENV)/.service: $(ENV)/.python-$(V) pyproject.toml
	$(BIN)/pip install --quiet --group service
	@touch $@

# --- what a user types

demo: $(ENV)/.demo ## index the standard library through the runtime; leaves rows, database and trace
	@rm -rf target/demo && mkdir -p target/demo
	$(BIN)/gilscope run examples/stdlib_index.py:index \
	    --input examples/stdlib_index.py:inputs --concurrency 64 \
	    --out target/demo/out.jsonl --trace target/demo/trace.json
	@$(BIN)/python examples/stdlib_index.py

# PORT: where it listens, on this machine only. A program links pyo3 in another way than a module does: a
# folder of its own, which the tests use as well.
PORT ?= 8000
service: $(ENV)/.service ## an HTTP server whose handlers are async Python functions; says what to try
	@$(call first,$(TARGET)/embed/debug/gilscope-service,the service)
	PYO3_PYTHON=$(BASE) CARGO_TARGET_DIR=$(TARGET)/embed cargo build --package gilscope-service
	PYTHONHOME=$$($(BASE) -c 'import sys; print(sys.base_prefix)') \
	    PYTHONPATH=$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))') \
	    LD_LIBRARY_PATH=$(LIBDIR) $(TARGET)/embed/debug/gilscope-service $(PORT)

test: $(ENV)/.test ## the tests on one Python (PYTHON=python3.12, PYTEST_ARGS='-k e1')
	@$(MAKE) browser || echo 'without it some of tests/view will fail' >&2
	@$(MAKE) pytest

# Chromium, for tests/view: what there is of it is taken.
.PHONY: browser
browser:
	@.ci/browser

pytest: $(ENV)/.test
	$(CARGO_ENV) $(BIN)/python -m pytest $(PYTEST_ARGS)

check: ## what CI runs: format, lints, types, all tests on every Python of PYTHONS
	@for v in $(PYTHONS); do .ci/find-python $$v >/dev/null || exit 1; done
	@$(STAGE) 'build and environment' $(MAKE) $(ENV)/.lint
	@$(STAGE) 'format, lints, types' $(MAKE) lint
	@$(STAGE) 'rust tests' $(MAKE) rust
	@$(STAGE) 'model checks' $(MAKE) loom
	@$(STAGE) 'a browser' $(MAKE) browser
	@for v in $(PYTHONS); do \
	    $(STAGE) "build for $$v" $(MAKE) pytest-env V=$$v || exit 1; \
	    $(STAGE) "tests on $$v" $(MAKE) pytest V=$$v || exit 1; \
	done

.PHONY: pytest-env
pytest-env: $(ENV)/.test

bench: $(ENV)/.test ## measure against the peers, and export, write target/bench.json and bench-export.json
	@missed=0; for part in bench export; do \
	    $(CARGO_ENV) $(BIN)/python benches/$$part.py || missed=1; \
	done; exit $$missed

soak: $(ENV)/.test ## everything long: 10,000,000 calls, 200 exits of each kind, and of the peer's
	$(CARGO_ENV) $(BIN)/python benches/soak.py --out docs/soak.md
	$(CARGO_ENV) GILSCOPE_SOAK=1 $(BIN)/python -m pytest $(PYTEST_ARGS)
	$(CARGO_ENV) $(BIN)/python tests/exit/peer_matrix.py -n 200 --write

sanitize: $(ENV)/.test ## rustc's sanitizers, as far as they go with a stable compiler (CONTRIBUTING.md)
	@$(STAGE) 'address: rust tests' $(MAKE) asan-rust
	@$(STAGE) 'address: a program with Python in it' $(MAKE) asan-embed
	@$(STAGE) 'address: the extension' $(MAKE) asan-extension
	@$(STAGE) 'thread: rust tests' $(MAKE) tsan-rust

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

# --- the parts of `make sanitize`

# RUSTC_BOOTSTRAP lets a stable compiler take `-Z`. The target is named so that build scripts and
# macros, which run in the compiler, are not instrumented. RUSTFLAGS replaces .cargo/config.toml's.
HOST = $(shell rustc -vV | sed -n 's/^host: //p')
ASAN := $(TARGET)/asan
ASAN_BUILD = RUSTC_BOOTSTRAP=1 PYO3_PYTHON=$(BASE) CARGO_TARGET_DIR=$(ASAN) \
    RUSTFLAGS='-Zsanitizer=address --cfg tokio_unstable' cargo
# Python's own allocator would hide its objects; what it leaves behind at exit is no leak of ours; and
# some tests ask for more memory than there is.
ASAN_RUN := PYTHONMALLOC=malloc GILSCOPE_EXITS=5 \
    ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1
# The extension has no sanitizer in it: the C compiler's comes first into the process. Left out is
# what measures memory, of which a sanitizer keeps much, what preloads a library itself, and what
# takes minutes without.
ASAN_LIBRARY = $(shell cc -print-file-name=libasan.so)
ASAN_CHOICE := not (million or leave_nothing_behind or wall_clock or tiny_switch_interval)
ASAN_TESTS ?= tests/driver tests/host tests/runtime -k '$(ASAN_CHOICE)'

.PHONY: asan-rust asan-embed asan-extension tsan-rust
asan-rust:
	LD_LIBRARY_PATH=$(LIBDIR) $(ASAN_BUILD) test --quiet --target $(HOST) --lib --tests \
	    --package gilscope-instrument --package gilscope-runtime

asan-embed: $(ENV)/.test
	$(ASAN_BUILD) build --quiet --target $(HOST) --package gilscope-embed
	$(ASAN_RUN) GILSCOPE_EMBED_DIR=$(ASAN)/$(HOST)/debug \
	    $(BIN)/python -m pytest -k embed tests/examples tests/exit

# A folder of its own for what a module is built with; it is found before the installed package.
asan-extension: ASAN := $(TARGET)/asan-extension
asan-extension: $(ENV)/.test
	PYO3_BUILD_EXTENSION_MODULE=1 $(ASAN_BUILD) build --quiet --target $(HOST) \
	    --package gilscope-runtime --package gilscope-test-ext
	rm -rf $(ASAN)/package && mkdir -p $(ASAN)/package
	cp -r pytest_plugin/gilscope $(ASAN)/package
	cp $(ASAN)/$(HOST)/debug/libgilscope_runtime.so $(ASAN)/package/gilscope/_native.so
	cp $(ASAN)/$(HOST)/debug/libgilscope_test_ext.so $(ASAN)/package/gilscope_test_ext.so
	$(CARGO_ENV) $(ASAN_RUN) GILSCOPE_TEST_EXT_DIR=$(ASAN)/package PYTHONPATH=$(ASAN)/package \
	    LD_PRELOAD=$(ASAN_LIBRARY) $(BIN)/python -m pytest $(ASAN_TESTS)

tsan-rust:
	RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR=$(TARGET)/tsan \
	    RUSTFLAGS='-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer --cfg tokio_unstable' \
	    TSAN_OPTIONS=die_after_fork=0:suppressions=$(CURDIR)/instrument/tests/tsan.supp \
	    cargo test --quiet --target $(HOST) --lib --tests --package gilscope-instrument

clean: ## remove environments and builds
	rm -rf .venv .venv-3.* target
