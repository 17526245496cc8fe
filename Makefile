# Everything a developer runs, one word each. `make` alone lists it; .ci/run is what decides a merge.
# A fresh clone needs Python >= 3.12 and make, nothing else.

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PY := $(BIN)/python

# Options for one run: `make test PYTEST_ARGS="-k schedule -x"`
PYTEST_ARGS ?=
PYTEST := $(PY) -m pytest

# Ranks take a core each, so two test files at a time fill the smallest machine: `make test WORKERS=8` on a larger one.
WORKERS ?= 2
PARALLEL := -n $(WORKERS) --dist loadfile --no-loadscope-reorder

# Tried in this order; the first that runs, is new enough and can make a virtual environment is taken.
PYENV := $(or $(PYENV_ROOT),$(HOME)/.pyenv)
PYTHONS := $(PYTHON) python3.12 python3.13 $(wildcard $(PYENV)/versions/3.1[2-9]*/bin/python) python3
PYTHON_OK := import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 12))

# The tests start this tree's own modules hundreds of times.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help venv releases quickstart test test-fast soak test-flags test-configurations test-releases test-gpu test-slurm lint types format bench clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' Makefile

venv: $(STAMP) ## .venv with everything, pinned by constraints.txt (5 GB with torch)

$(STAMP): pyproject.toml constraints.txt
	@if $(PY) -c '$(PYTHON_OK)' >/dev/null 2>&1; then exit 0; fi; \
	for python in $(PYTHONS); do \
	  if "$$python" -c '$(PYTHON_OK)' >/dev/null 2>&1; then \
	    echo "Making $(VENV) with $$python ($$("$$python" --version))"; \
	    exec "$$python" -m venv --clear $(VENV); \
	  elif [ "$$python" = "$(PYTHON)" ]; then \
	    echo "PYTHON=$(PYTHON) cannot be used: no Python 3.12 or newer with its venv module" >&2; \
	  fi; \
	done; \
	echo "No Python 3.12 or newer with its venv module was found. Tried: $(PYTHONS)" >&2; \
	echo "Get one, then run make again:" >&2; \
	echo "  Debian, Ubuntu   apt install python3.12 python3.12-venv" >&2; \
	echo "  Fedora, RHEL     dnf install python3.12" >&2; \
	echo "  macOS            brew install python@3.12" >&2; \
	echo "  without root     pyenv install 3.12, or uv python install 3.12" >&2; \
	echo "One in an unusual place is used with: make venv PYTHON=/its/full/path" >&2; \
	exit 1
	@echo "Installing into $(VENV): the first time this takes minutes and 5 GB of disk"
	$(PY) -m pip install --quiet --no-compile -c constraints.txt -e '.[megatron,data,eval,dev]'
	@# pip would compile on one core, and all of it; without it every process of a user whose Python writes no bytecode
	@# (PYTHONDONTWRITEBYTECODE, as in many containers) compiles torch and Megatron anew, more than half of its start.
	@$(PY) -W ignore -m compileall -q -j 0 -x '/tests?/|/transformers/models/' $(VENV)/lib
	@touch $@

releases: $(STAMP) ## the wheels of Megatron's other releases and of Bridge into .venv/releases, for the tests (60 MB)
	$(PY) -m tests.releases.installed_releases

quickstart: $(STAMP) ## four versions on this machine's CPU, from real text to the version table
	$(BIN)/lrps quickstart

test: $(STAMP) ## every test but soak and gpu
	$(PYTEST) $(PARALLEL) -m "not soak and not gpu" $(PYTEST_ARGS)

test-fast: $(STAMP) ## what trains nothing: under two minutes
	$(PYTEST) $(PARALLEL) -m "not training and not soak and not gpu" $(PYTEST_ARGS)

# FAULTS=50: how many results of the fault farm there are to be; the same command goes on where the last one ended.
FAULTS ?= 1000
# NODES=20: how many results of nodes of a Slurm cluster that die there are to be; without root or Slurm there are none.
NODES ?= 100
soak: $(STAMP) ## the tests too long for `make test`, then hours of faults in real runs; writes docs/reliability.md
	$(PYTEST) -m soak $(PYTEST_ARGS)
	OMP_NUM_THREADS=1 TORCH_COMPILE_DISABLE=1 $(PY) -m tests.faults.farm --faults $(FAULTS)
	OMP_NUM_THREADS=1 TORCH_COMPILE_DISABLE=1 $(PY) -m tests.faults.farm --begin 100000 --faults $$((100000 + $(NODES)))
	$(PY) -m tests.faults.page

test-flags: $(STAMP) ## main, fork and branch with every flag of Megatron; writes plan/proved_flags.tsv (an hour on two cores)
	$(PY) -m tests.flags.prove
	$(PY) -m megatron_lrps.plan.arguments_page > docs/arguments.md

# CHECKOUT=/path/to/Megatron-LM: its configurations are read, and nothing of it is imported
test-configurations: $(STAMP) ## Megatron-LM's own training configurations, shrunk; writes docs/results/configurations.json
	@[ -n "$(CHECKOUT)" ] || { echo "say where Megatron-LM is: make test-configurations CHECKOUT=/its/folder" >&2; exit 1; }
	$(PY) -m tests.flags.try_configurations "$(CHECKOUT)"

# CHECKOUTS="/path/to/Megatron-LM:/another": source checkouts, with their helpers compiled (make -C megatron/core/datasets)
CHECKOUTS ?=
test-releases: releases ## fork, resume, stock's oracle, layouts on each release of Megatron; writes docs/results/releases.json
	LRPS_CHECKOUTS="$(CHECKOUTS)" LRPS_RELEASES_RESULTS=docs/results/releases.json $(PYTEST) tests/releases/test_releases.py \
	  $(PYTEST_ARGS)
	$(PY) -m tests.releases.page

# A GPU machine's torch, Transformer Engine and apex were built together: its own Python runs these, not .venv's.
GPU_PY ?= python3
test-gpu: ## the tests that need a CUDA GPU, and the throughput against stock, by GPU_PY, the Python that has torch
	@$(GPU_PY) -c 'import torch; assert torch.cuda.is_available()' 2>/dev/null || { \
	  echo "$(GPU_PY) has no torch that sees a GPU; name one that has: make test-gpu GPU_PY=/its/python" >&2; exit 1; }
	@$(GPU_PY) -c 'import hypothesis, megatron.training, megatron_lrps, psutil, pytest, pytest_timeout, tensorboard' || { \
	  echo "$(GPU_PY) lacks what is named above. Fix: $(GPU_PY) -m pip install its name, and for Megatron and this" >&2; \
	  echo "package, so that torch stays: $(GPU_PY) -m pip install --no-deps megatron-core==0.19.2 -e ." >&2; exit 1; }
	$(GPU_PY) -m pytest -m gpu tests/gpu $(PYTEST_ARGS)
	$(GPU_PY) benchmarks/gpu_throughput.py

test-slurm: $(STAMP) ## the tests on a real Slurm, started here: root, apt install slurmctld slurmd slurm-client munge iproute2
	LRPS_TEST_SLURM=1 $(PYTEST) -m slurm tests/slurm $(PYTEST_ARGS)

lint: $(STAMP) ## ruff: format and rules, changes nothing
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(STAMP) ## mypy, strict
	$(PY) -m mypy

format: $(STAMP) ## ruff: rewrite what it can
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

bench: $(STAMP) ## benchmarks/*.py one after another; a failed one fails the target, after the rest ran
	@status=0; \
	for file in $(filter-out benchmarks/_%,$(wildcard benchmarks/*.py)); do \
	  echo "== $$file"; $(PY) "$$file" || { echo "$$file failed" >&2; status=1; }; \
	done; exit $$status

clean: ## caches and build outputs; keeps .venv and everything trained
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name $(VENV) -prune -o -name runs -prune -o -name __pycache__ -type d -exec rm -rf {} +
