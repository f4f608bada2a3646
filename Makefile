# One command per job, the same for people and for CI.
PYTHON ?= python3
VENV := .venv
INSTALLED := $(VENV)/.installed
INSTALLED_DEV := $(VENV)/.installed-dev
export PIP_CONSTRAINT := $(CURDIR)/constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: run test check bench bench-sweep install clean

run: $(INSTALLED)
	$(VENV)/bin/ftr run task=qa

test: install
	$(VENV)/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

check: install
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports --no-cache

bench: install
	$(VENV)/bin/python benchmarks/throughput.py

bench-sweep: install
	$(VENV)/bin/python benchmarks/sweep.py

install: $(INSTALLED_DEV)

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --editable ".[offline]"
	touch $@

$(INSTALLED_DEV): $(INSTALLED)
	$(VENV)/bin/python -m pip install --quiet --editable ".[offline,dev]"
	touch $@

clean:
	rm -rf $(VENV) runs
