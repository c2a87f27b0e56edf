# In a virtual environment: python3 -m venv .venv && . .venv/bin/activate
PYTHON ?= python3

.PHONY: install check format test bench

install: ## the package, editable, with what tests and checks need
	$(PYTHON) -m pip install -e ".[dev]"

check: ## style and types
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy

format:
	$(PYTHON) -m ruff check --fix .
	$(PYTHON) -m ruff format .

test: ## all that can run; with ASR_DATA=FOLDER also recipes and real data
	$(PYTHON) -m pytest

bench: ## speed, on an idle machine
	set -e; for program in tools/bench_*.py; do $(PYTHON) $$program; done
