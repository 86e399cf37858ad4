# make demo      train TinyGPT, put it beside distilgpt2 (makes .venv and installs first)
# make test      format, lint, types, import contract and tests: what CI runs first
# make test-all  every test, slow ones too
# make torture   the battery of docs/trust.md in full: half an hour at most, a line per test
# make soak      a server under 100,000 mixed requests (REQUESTS=N: others): does anything grow
# make golden    what a refactoring must not change, beside the commit before (BASE=COMMIT: another)
# make fix       let ruff mend format and lint
# make lock      write requirements-ci.txt anew from constraints.txt (minutes)
# make check-gguf CORPUS=FILE.txt   GGUF files run in llama.cpp, which is compiled first (minutes)
# make bench-train   the race of training against transformers and the usual settings (an hour)
# make bench-generate   the race of generation against other engines, which are built first
# make readme-table   table and picture of the README, with distilgpt2's quality (needs the hub)

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LLAMA := .venv-llama
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# A torch 2.13 that is already in .venv (a CPU or CUDA build of your choice) is kept as it is.
HAS_TORCH = $(shell $(BIN)/python -c "import importlib.metadata as m; print('yes' if m.version('torch').startswith('2.13.') else '')" 2>/dev/null)
# In CI the package is installed as users get it, so that a missing file fails there.
EDITABLE := $(if $(CI),,-e)

.PHONY: demo test test-all torture soak golden fix check setup setup-dev check-gguf bench-train bench-generate lock readme-table clean

demo: setup
	$(BIN)/tinygpt demo

test: check
	$(BIN)/python -m pytest -n 2 -m "not slow and not hub and not gpu and not battery"

test-all: setup-dev
	$(BIN)/python -m pytest -n 2 --durations=10

torture: setup-dev
	TINYGPT_TORTURE=1 $(BIN)/python -m pytest tests/battery -n 2 -q

soak: setup-dev
	TINYGPT_SOAK=$(or $(REQUESTS),100000) $(BIN)/python -m pytest tests/serve/test_load.py -k v7 -q

golden: setup-dev
	$(BIN)/python -m tests.golden $(or $(BASE),HEAD~1)

check: setup-dev
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports

fix: setup-dev
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

check-gguf: setup-dev $(LLAMA)/.setup
	$(BIN)/python -m benchmarks.llama_cpp_check $(or $(CORPUS),$(error make check-gguf CORPUS=FILE.txt)) $(LLAMA)/bin/python

bench-train: setup-dev .venv-race-train/.setup
	$(BIN)/python -m benchmarks.train_race

# transformers' Trainer needs accelerate, which nothing else here does.
.venv-race-train/.setup: | setup-dev
	$(PIP) --target $(@D) --no-deps accelerate==1.15.0 psutil==7.2.2
	touch $@

bench-generate: setup-dev
	$(BIN)/python -m benchmarks.generate_race

readme-table: setup
	$(BIN)/python -m benchmarks.readme_table

setup: $(VENV)/.setup
setup-dev: $(VENV)/.setup-dev

$(VENV)/bin/python:
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'tinygpt needs Python >= 3.11; make PYTHON=/path/to/python3.11')"
	$(PYTHON) -m venv $(VENV)

$(VENV)/.constraints: constraints.txt | $(VENV)/bin/python
	$(if $(HAS_TORCH),grep -v '^torch==' $<,cat $<) > $@

# Without editable install the sources are prerequisites: a changed file is installed anew.
SOURCES := pyproject.toml setup.py constraints.txt $(wildcard native/*) $(if $(EDITABLE),,$(shell find src -type f -not -name '*.pyc' -not -path '*.egg-info/*'))

$(VENV)/.setup: $(SOURCES) $(VENV)/.constraints
	$(PIP) -c $(VENV)/.constraints $(EDITABLE) ".[serve]"
	touch $@

$(VENV)/.setup-dev: $(SOURCES) $(VENV)/.constraints $(if $(CI),requirements-ci.txt)
	$(if $(CI),$(LOCKED_INSTALL),$(PIP) -c $(VENV)/.constraints $(EDITABLE) ".[dev]")
	touch $@ $(VENV)/.setup

# Only what requirements-ci.txt names, each file by its hash: nothing is resolved, built in
# isolation from what is not locked, or left out (pip check). torch by its version.
define LOCKED_INSTALL
	$(if $(HAS_TORCH),,$(PIP) --no-deps $$(grep '^torch==' constraints.txt))
	$(PIP) --no-deps --require-hashes -r requirements-ci.txt
	$(PIP) --no-deps --no-build-isolation .
	$(BIN)/python -m pip check --disable-pip-version-check
endef

lock:
	$(PYTHON) -m venv .venv-lock
	.venv-lock/bin/python -m pip install --quiet --disable-pip-version-check pip-tools==7.6.2
	head -2 requirements-ci.txt > .venv-lock/head
	grep -v '^torch==' constraints.txt > .venv-lock/in.txt
	.venv-lock/bin/pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras --no-header --no-annotate --no-emit-index-url --no-emit-find-links -o .venv-lock/out.txt .venv-lock/in.txt
	cat .venv-lock/head > requirements-ci.txt
	grep -v '^#' .venv-lock/out.txt | sed '/^$$/d' >> requirements-ci.txt

$(LLAMA)/.setup:
	$(PYTHON) -m venv $(LLAMA)
	CMAKE_ARGS="-DGGML_BLAS=OFF" nice -n 19 $(LLAMA)/bin/python -m pip install --quiet --disable-pip-version-check --no-binary llama-cpp-python llama-cpp-python==0.3.36
	touch $@

clean:
	rm -rf $(VENV) .golden $(LLAMA) .venv-race-* .race .venv-lock build dist src/*.egg-info src/tinygpt/*.so
