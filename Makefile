# One virtual environment, made on first use and again whenever the requirements change.
PYTHON ?= python3
VENV ?= .venv
# What is installed: this folder, or a wheel, as CI does.
PACKAGE ?= .
EXTRAS := airflow,faces,openvino,s3
BIN := $(VENV)/bin
RUNTIME := $(VENV)/.runtime-installed
DEVELOPMENT := $(VENV)/.development-installed
# The folder that the tests start in. CI takes an empty one, where `import emotion_ops` finds only the wheel.
FROM ?= .
EDITABLE := $(if $(filter .,$(PACKAGE)),--editable)
PIP := $(BIN)/python -m pip install --quiet --constraint constraints.txt

.PHONY: demo test quick lint types imports check development notebook clean

demo: $(RUNTIME)  ## try it: enrich drawn faces, print a table and write a contact sheet
	$(BIN)/emotion-ops demo demo-output

test: $(DEVELOPMENT)  ## the whole test suite
	mkdir -p $(FROM)
	cd $(FROM) && $(abspath $(BIN))/pytest -c $(CURDIR)/pyproject.toml --rootdir $(CURDIR) $(CURDIR)/tests

quick: $(DEVELOPMENT)  ## the tests that need neither Airflow, Spark, an S3 server nor a browser, kill nothing, and are quick
	$(BIN)/python -m pytest -m "not (airflow or spark or s3 or kills or browser or slow)"

lint: $(DEVELOPMENT)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	git ls-files -z | xargs -0 $(BIN)/codespell

types: $(DEVELOPMENT)
	$(BIN)/mypy

imports: $(DEVELOPMENT)
	$(BIN)/lint-imports

check: lint types imports test  ## all that CI checks

development: $(DEVELOPMENT)  ## the environment of all of these, and of pre-commit

notebook: $(DEVELOPMENT)  ## run the tutorial notebook and store its outputs
	$(BIN)/python scripts/run_notebook.py docs/tutorial.ipynb

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(RUNTIME): $(VENV)/bin/python pyproject.toml constraints.txt
	$(PIP) $(EDITABLE) '$(PACKAGE)'
	touch $@

# Dependency groups need pip 25.1.
$(DEVELOPMENT): $(VENV)/bin/python pyproject.toml constraints.txt
	$(PIP) pip
	$(PIP) --group dev $(EDITABLE) '$(PACKAGE)[$(EXTRAS)]'
	touch $(RUNTIME) $@

clean:
	rm -rf $(VENV) .venv-* build dist demo-output .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
