# One command per job, the same for people and for CI.
PYTHON ?= python3
VENV := .venv
STAMP := $(VENV)/.installed
export PIP_CONSTRAINT := $(CURDIR)/constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: run test check bench install clean

run: install
	$(VENV)/bin/ftr run task=qa

test: install
	$(VENV)/bin/python -m pytest

check: install
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports --no-cache

bench: install
	$(VENV)/bin/python benchmarks/throughput.py

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --editable ".[offline,dev]"
	touch $(STAMP)

clean:
	rm -rf $(VENV) runs
