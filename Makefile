# One virtual environment, made once and again whenever the requirements change.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUNTIME := $(VENV)/.runtime-installed
DEVELOPMENT := $(VENV)/.development-installed

.PHONY: demo test lint types imports check notebook clean

demo: $(RUNTIME)  ## try it: draw faces, enrich them, print a table and write a contact sheet
	$(BIN)/emotion-ops demo demo-output

test: $(DEVELOPMENT)  ## the whole test suite
	$(BIN)/python -m pytest

lint: $(DEVELOPMENT)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(DEVELOPMENT)
	$(BIN)/mypy

imports: $(DEVELOPMENT)
	$(BIN)/lint-imports

check: lint types imports test  ## all that CI checks

notebook: $(DEVELOPMENT)  ## run the tutorial notebook again and keep its outputs
	$(BIN)/python scripts/run_notebook.py docs/tutorial.ipynb

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(RUNTIME): $(VENV)/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

$(DEVELOPMENT): $(VENV)/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $(RUNTIME) $@

clean:
	rm -rf $(VENV) demo-output .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
