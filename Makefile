# Everything a newcomer needs: `make demo` and `make test`. Python 3.11 or later, git and make are enough.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: help demo test check lint types imports tests clients bench bench-quick format requirements clean
.DEFAULT_GOAL := help

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | sort | expand -t 16

demo: $(VENV)/.runtime ## Set up and run the demo on simulated platforms (20 s)
	$(BIN)/python -m watchdog demo --ledger sqlite:///./.demo-ledger.db

test: lint types imports tests ## Set up and run every check and test

lint: $(VENV)/.dev ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev ## mypy --strict
	$(BIN)/mypy

imports: $(VENV)/.dev ## import-linter: the rooms of the house
	$(BIN)/lint-imports --no-logo

tests: $(VENV)/.dev ## pytest with branch coverage; warnings are errors
	rm -f .coverage .coverage.*
	$(BIN)/python -m pytest --cov --cov-report=term:skip-covered

clients: $(VENV)/.dev ## Install the platforms' official clients that tests/clients talks with (Node too)
	$(BIN)/python tests/clients/conftest.py

bench: $(VENV)/.bench ## Measure everything (some 20 min); bench/out/full.json
	$(BIN)/python -m bench

bench-quick: $(VENV)/.bench ## Measure in small (some minutes); bench/out/quick.json
	$(BIN)/python -m bench --quick

format: $(VENV)/.dev ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

requirements: $(VENV)/.dev ## Pin the dependencies anew (hashes, no addresses)
	$(PIP) install uv
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-strip-extras --no-header --no-emit-index-url \
		pyproject.toml -o requirements/runtime.txt
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-strip-extras --no-header --no-emit-index-url \
		pyproject.toml --group dev -o requirements/dev.txt
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-strip-extras --no-header --no-emit-index-url \
		--constraint requirements/dev.txt pyproject.toml --group bench -o requirements/bench.txt
	for clients in requirements/clients-*.in; do \
		$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-strip-extras --no-header --no-emit-index-url \
			$$clients -o $${clients%.in}.txt || exit 1; \
	done

clean: ## Remove the virtual environment and everything built
	rm -rf $(VENV) .venv-clients .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage* htmlcov dist build .demo-ledger.db*

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "budget-watchdog needs Python 3.11 or later; say which one with PYTHON=...")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.runtime: requirements/runtime.txt | $(VENV)/bin/python
	$(PIP) install --require-hashes -r requirements/runtime.txt
	touch $@

$(VENV)/.dev: requirements/dev.txt pyproject.toml | $(VENV)/bin/python
	$(PIP) install --require-hashes -r requirements/dev.txt
	$(PIP) install --no-build-isolation --no-deps --editable .
	touch $@ $(VENV)/.runtime

# Pinned so that it fits beside what is there for development.
$(VENV)/.bench: requirements/bench.txt pyproject.toml | $(VENV)/bin/python
	$(PIP) install --require-hashes -r requirements/bench.txt
	touch $@
