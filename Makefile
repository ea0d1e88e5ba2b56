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

# one of them has the tests that need a cluster, which wait for SLURM most of the time
TEST_PROCESSES ?= 3

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
SOURCES := harness registry jobs results tests benchmarks

.PHONY: install dev sweep test check format clean slurm-up slurm-down

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
	$(BIN)/pytest --numprocesses=$(TEST_PROCESSES) --dist=loadgroup --no-loadscope-reorder

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
