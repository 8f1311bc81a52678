# make help lists the targets. Every target sets up what it needs; a second time that is instant.
PYTHON ?= python3
PORT ?= 7860
BIN := .venv/bin
PY := $(BIN)/python
# Node comes from a package of requirements-dev.txt.
NPM := PATH="$(CURDIR)/$(BIN):$$PATH" npm
HAS_GPU := $(shell command -v nvidia-smi >/dev/null 2>&1 && nvidia-smi -L 2>/dev/null | grep -q GPU && echo yes)
REQUIREMENTS := -r requirements.txt $(if $(HAS_GPU),-r requirements-cuda.txt)

# Tests in so many processes with a thread each: one drives the browser, the others do the rest.
TEST_PROCESSES ?= 2
PYTEST_BESIDE := OMP_NUM_THREADS=1 $(PY) -m pytest -n $(TEST_PROCESSES) --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help demo test test-fast test-slow test-sanitized test-gpu check format docs picture clean

help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 24

demo: .build/run .build/model  ## the page in the browser, on the default model
	$(PY) app.py --port $(PORT)

test: .build/dev .build/model .build/browser  ## tests, on the model and in a browser as well
	$(PYTEST_BESIDE) -m "not gpu and not slow"

test-fast: .build/dev  ## tests that need neither the model nor a browser
	$(PYTEST_BESIDE) -m "not gpu and not slow and not model and not browser"

test-slow: .build/dev .build/model .build/browser  ## long tests of exactness, tens of minutes
	$(PY) -m pytest -m slow

test-sanitized: .build/dev  ## tests of the compiled kernels under address and undefined-behaviour sanitizers
	$(PY) -m tests.sanitized

test-gpu: .build/dev .build/model  ## tests for a machine with an NVIDIA GPU
	$(PY) -m pytest -m gpu

check: .build/dev .build/js  ## lint, format and types, of Python and of JavaScript
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(NPM) run --silent check

format: .build/dev .build/js  ## format the code and mend what the linters can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(NPM) run --silent format

docs: .build/dev  ## write the parts of docs/ that come from the code
	$(PY) -m visualize.documentation
	$(PY) -m tests.module_map
	$(PY) -m tests.page_types

picture: .build/dev .build/model .build/browser  ## the pictures in README and docs, taken from the real page
	$(PY) -m tests.browser.make_docs_pictures docs

clean:  ## remove what make built; the models in the user's cache stay
	rm -rf .venv .build node_modules .pytest_cache .ruff_cache .hypothesis

.venv/created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; set PYTHON=python3.11 or newer."; exit 1; }
	$(PYTHON) -m venv .venv
	$(PY) -m pip install --quiet --disable-pip-version-check --upgrade "pip>=25.1"
	touch $@

.build/run: .venv/created requirements.txt requirements-cuda.txt
	@echo "Installing packages (a few minutes the first time)"
	$(PY) -m pip install --quiet --disable-pip-version-check $(REQUIREMENTS)
	@mkdir -p .build && touch $@

.build/dev: .build/run requirements-dev.txt
	$(PY) -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@mkdir -p .build && touch $@

.build/model: .build/run
	$(PY) -m core.models.prepare
	@touch $@

.build/js: .build/dev package.json package-lock.json
	$(NPM) ci --silent --no-audit --no-fund
	@touch $@

.build/browser: .build/dev
	sh tests/browser/install_chromium.sh $(PY)
	@touch $@
