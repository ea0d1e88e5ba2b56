# make install   a virtual environment in .venv with everything
# make sweep     the quick sweep of budgets.yaml
# make test      the tests
# make check     lint, format, types, architecture
# make slurm-up  a small SLURM cluster on this Debian machine, for the tests; make slurm-down stops it
#
# PyTorch's wheels for Linux on the default index bring CUDA, several gigabytes. For the small CPU
# build give its index, as pytorch.org's "get started" page lists it:
#   make install TORCH_INDEX_URL=<the CPU wheel index>
PYTHON ?= python3
TORCH_INDEX_URL ?=

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
SOURCES := harness registry jobs results tests benchmarks

# of a pipe's commands, any may fail
SHELL := bash
.SHELLFLAGS := -o pipefail -c

TESTS := test-cluster test-registry test-others

.PHONY: install dev sweep test $(TESTS) check format clean slurm-up slurm-down

install: $(VENV)/.installed
dev: $(VENV)/.dev

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) install --quiet 'pip>=25.1'
	$(PIP) install -c constraints.txt $(if $(TORCH_INDEX_URL),--index-url $(TORCH_INDEX_URL)) torch
	$(PIP) install -c constraints.txt -e .
	touch $@

$(VENV)/.dev: $(VENV)/.installed
	$(PIP) install -c constraints.txt --group dev hatchling
	touch $@

sweep: $(VENV)/.installed
	$(BIN)/harness sweep budgets.yaml

test: $(VENV)/.dev
	@$(MAKE) --no-print-directory --jobs=3 --keep-going $(TESTS) || \
	  { grep --no-filename --extended-regexp '^(FAILED|ERROR)' $(TESTS:%=$(VENV)/%.log); exit 1; }

# those wait for SLURM most of the time, but its clock runs on: the others take what they leave
test-cluster: $(VENV)/.dev
	$(BIN)/pytest -m cluster 2>&1 | tee $(VENV)/$@.log

test-registry: $(VENV)/.dev
	nice -n 10 $(BIN)/pytest -m "not cluster" tests/registry 2>&1 | tee $(VENV)/$@.log

test-others: $(VENV)/.dev
	nice -n 10 $(BIN)/pytest -m "not cluster" --ignore=tests/registry 2>&1 | tee $(VENV)/$@.log

slurm-up:
	tests/cluster/slurm_cluster.sh up

slurm-down:
	tests/cluster/slurm_cluster.sh down

check: $(VENV)/.dev
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/mypy
	$(BIN)/mypy benchmarks/*.py
	$(BIN)/lint-imports

format: $(VENV)/.dev
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
