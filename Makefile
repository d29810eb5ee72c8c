# `make demo` and `make test` set up all they need; the others use the same environment.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Without an NVIDIA GPU the CPU build of torch is pinned, so that no CUDA packages are pulled.
CONSTRAINTS := $(shell nvidia-smi -L >/dev/null 2>&1 || echo -c constraints-cpu.txt)
MODULES := operators pipeline tests benchmarks

.PHONY: help demo test check bench mutants format clean
help:
	@echo "make demo    set up, run the demo scene, print accuracy, latency and counters"
	@echo "make test    set up, run the tests"
	@echo "make check   lint, types, import arrow, README examples"
	@echo "make bench   the figures of docs/benchmarks.md that need no recordings"
	@echo "make mutants would the aligner's tests notice a mistake in it? (half an hour)"
	@echo "make format  rewrite the code in the project's style"
	@echo "make clean   remove the environment and caches"

demo: $(VENV)/.user
	$(BIN)/sensorium run configs/demo.yaml

test: $(VENV)/.dev
	$(BIN)/pytest

check: $(VENV)/.dev
	$(BIN)/ruff check $(MODULES)
	$(BIN)/ruff format --check $(MODULES)
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -q tests/readme

bench: $(VENV)/.dev
	$(BIN)/python -m benchmarks.aligner
	$(BIN)/python -m benchmarks.faults
	$(BIN)/python -m benchmarks.hop
	$(BIN)/python -m benchmarks.cost --picture pattern
	$(BIN)/python -m benchmarks.startup
	$(BIN)/python -m benchmarks.recovery

mutants: $(VENV)/.dev
	$(BIN)/python -m benchmarks.mutants

format: $(VENV)/.dev
	$(BIN)/ruff check --fix $(MODULES)
	$(BIN)/ruff format $(MODULES)

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "sensorium needs Python 3.11 or newer, got $$($(PYTHON) -V): make PYTHON=python3.12 ..."; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || $(MAKE) --no-print-directory apt PACKAGES=python3-venv
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	touch $@

$(VENV)/.user: $(VENV)/.python pyproject.toml constraints-cpu.txt
	$(BIN)/pip install --quiet $(CONSTRAINTS) -e '.[api,face]'
	@# OpenCV's wheel carries everything but these two libraries of the desktop.
	@$(BIN)/python -c 'import cv2' 2>/dev/null || $(MAKE) --no-print-directory apt PACKAGES="libgl1 libglib2.0-0"
	touch $@

$(VENV)/.dev: $(VENV)/.user
	$(BIN)/pip install --quiet $(CONSTRAINTS) -e '.[api,face,dev]'
	touch $@

.PHONY: apt
apt:
	@if [ "$$(id -u)" = 0 ]; then apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $(PACKAGES) >/dev/null; \
	else echo "needed once: sudo apt-get install $(PACKAGES)"; exit 2; fi
