# Needs nothing but Python 3.11 (`make PYTHON=/path/to/python3.11 …` if it has another name) and make.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS += --no-print-directory --no-builtin-rules
.NOTPARALLEL:
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= $(shell command -v python3.11 || echo python3)
CONFIG ?= configs/local.yaml

BIN   := .venv/bin
STAMP := .venv/.setup
PROTO := serving/transport/instance.proto
SHIM  := $(wildcard tools/torchvision_cpu/*.py)

.PHONY: help setup serve test test-fast lint format types lock wheel clean chart prometheus bench-loadtest-agreement bench-cpu-comparison results-simulation results-pruning

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-26s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP)/checked ## create .venv with the locked dependencies and saccade in it (about 2 minutes, once)

serve: setup ## start the whole system on this machine; Ctrl-C stops it (CONFIG=configs/local.yaml)
	@exec $(BIN)/saccade serve --config $(CONFIG)

test: lint types ## check style and types, then run all tests
	@echo "== tests"
	@exec $(BIN)/python -m pytest

test-fast: setup ## run the tests that take seconds
	@exec $(BIN)/python -m pytest -m "not slow"

lint: setup ## check style, formatting, and which package imports which
	@echo "== ruff"
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@echo "== import-linter"
	@$(BIN)/lint-imports --no-logo

format: setup ## rewrite the code in the project's style
	@$(BIN)/ruff check --fix-only
	@$(BIN)/ruff format

types: setup ## check types (the first time takes a minute: vLLM is read too)
	@echo "== mypy"
	@$(BIN)/mypy

results-simulation: setup ## simulate the paper's comparisons into docs/results/simulation.md (20 core-minutes; ARGS=--jobs=8)
	@$(BIN)/saccade simulate --report docs/results/simulation.md $(ARGS)

results-pruning: setup ## accuracy against visual tokens kept, into docs/results/pruning.md (10 core-minutes)
	@$(BIN)/saccade eval --checkpoint models/saccade-tiny --per-kind 60 --pruning all --keep 0.5,0.25,0.11,0.05 \
	    --keep-positions --relevance aligned \
	    --kinds colour,shape,count,existence,position,comparison,size,label --plot docs/results/pruning.png \
	    --markdown docs/results/pruning.md --json docs/results/pruning.json $(ARGS)

chart: setup ## write the chart's schema, README and golden renders anew, after a change of deploy/helm
	@$(BIN)/python -m tools.chart
	@$(BIN)/python -m tests.deploy.test_golden

prometheus: ## unpack Debian's prometheus into .cache, with which the tests of rules and dashboard are whole
	@test -x .cache/prometheus/usr/bin/promtool || { mkdir -p .cache/prometheus && cd .cache/prometheus \
	    && apt-get download prometheus && dpkg-deb --extract prometheus_*.deb . && rm prometheus_*.deb; }

lock: setup ## make cpu.lock, and what the images install, again after a change of dependencies (ARGS=--upgrade)
	@tools/lock/compile.sh $(ARGS)
	@tools/lock/images.sh

bench-loadtest-agreement: setup ## compare the load tester with vLLM's own (an hour; ARGS='--pairs 6 --requests 80' for 25 minutes)
	@exec $(BIN)/python -m benchmarks.agreement $(ARGS)

bench-cpu-comparison: setup ## compare Saccade with stock vLLM on this machine (an hour; ARGS='--pairs 4 --duration 20' for 25 minutes)
	@exec $(BIN)/python -m benchmarks.cpu_comparison $(ARGS)

wheel: setup ## build dist/saccade-*.whl
	@rm -rf build
	@$(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .
	@ls dist/*.whl

clean: ## remove what builds and tools leave behind, except .venv
	@rm -rf build dist saccade.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@rm -f $(PROTO:.proto=_pb2.py) $(PROTO:.proto=_pb2.pyi) $(PROTO:.proto=_pb2_grpc.py) $(STAMP)/saccade
	@find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

# The steps of `make setup`. Each leaves a stamp, so that a run that was interrupted goes on where it stopped.

$(STAMP)/venv:
	@$(PYTHON) -c 'import sys, venv, ensurepip; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null || { \
	    echo 'Saccade needs Python 3.11 with its venv module, and "$(PYTHON)" is not that.' >&2; \
	    echo 'Install it, or name it: make setup PYTHON=/path/to/python3.11' >&2; exit 1; }
	@echo "[1/4] virtual environment .venv"
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv
	@mkdir -p $(@D) && touch $@

$(STAMP)/lock: cpu.lock tools/setup/install_lock.py | $(STAMP)/venv
	@echo "[2/4] packages of cpu.lock"
	@$(BIN)/python tools/setup/install_lock.py cpu.lock
	@touch $@

$(STAMP)/saccade: pyproject.toml setup.py $(PROTO) saccade/__init__.py $(STAMP)/lock
	@echo "[3/4] saccade, from this folder"
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(STAMP)/checked: $(SHIM) tools/setup/check.py $(STAMP)/saccade
	@echo "[4/4] checking that PyTorch and vLLM load"
	@$(BIN)/python tools/torchvision_cpu/install.py
	@$(BIN)/python tools/setup/check.py
	@touch $@
	@echo "      done"
