# One command per job, the same for people and for CI; `make help` lists them.
PYTHON ?= python3
VENV := .venv
INSTALLED := $(VENV)/.installed
INSTALLED_DEV := $(VENV)/.installed-dev
LOWEST := .venv-lowest
PYTEST := -m pytest --dist loadfile --no-loadscope-reorder
export PIP_CONSTRAINT := $(CURDIR)/constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1
PIP_FLAGS := $(if $(CI),--quiet) # a log of CI needs no lines of pip
export NO_MKDOCS_2_WARNING := 1

.PHONY: help run test test-all test-commands test-lowest check docs docs-serve bench bench-sweep install clean

help:
	@echo "make run          train question answering on the sample that ftr brings along"
	@echo "make test         the fast tests and one real run of each kind"
	@echo "make test-all     the tests that \`make test\` leaves out: clusters, kills, power cuts, whole packages"
	@echo "make test-commands  every command of the pages, the long ones too; the others are in \`make test-all\`"
	@echo "make test-lowest  the fast tests with the lowest versions that pyproject.toml allows, in .venv-lowest"
	@echo "make check        ruff, mypy and the rules for imports"
	@echo "make docs         the site of the documentation, in site/; \`make docs-serve\` shows it while you edit"
	@echo "make bench        speed of a training"
	@echo "make bench-sweep  speed of a sweep"
	@echo "make install      the environment .venv, for all of the above"
	@echo "make clean        remove both environments, runs and the site"

run: $(INSTALLED)
	FTR_SETTINGS=off $(VENV)/bin/ftr run task=qa  # with an `ftr.yaml` here it would not be the sample

test: install
	$(VENV)/bin/python $(PYTEST) -n 2 -m "not slow"

test-all: install
	$(VENV)/bin/python $(PYTEST) -n 3 -m slow  # three, because many of them wait for Ray

test-commands: install
	FTR_TEST_ALL_COMMANDS=1 $(VENV)/bin/python -m pytest -n 2 tests/test_commands.py

test-lowest: $(LOWEST)/.installed
	$(LOWEST)/bin/python $(PYTEST) -n 2 -m "not slow"

check: install
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports --no-cache

docs: install
	$(VENV)/bin/mkdocs build --strict

docs-serve: install
	$(VENV)/bin/mkdocs serve

bench: install
	$(VENV)/bin/python benchmarks/throughput.py

bench-sweep: install
	$(VENV)/bin/python benchmarks/sweep.py

install: $(INSTALLED_DEV)

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	@echo "Installing ftr with torch, transformers and ray: 2 to 5 minutes, 3 GB. pip prints each package."
	$(VENV)/bin/python -m pip install $(PIP_FLAGS) --editable ".[offline]"
	touch $@

$(INSTALLED_DEV): $(INSTALLED)
	@echo "Installing the tools of development: about a minute."
	$(VENV)/bin/python -m pip install $(PIP_FLAGS) --editable ".[offline,dev]"
	touch $@

$(LOWEST)/.installed: pyproject.toml constraints-lowest.txt
	$(PYTHON) -m venv $(LOWEST)
	PIP_CONSTRAINT=$(CURDIR)/constraints-lowest.txt $(LOWEST)/bin/python -m pip install --quiet --editable ".[offline,dev]"
	touch $@

clean:
	rm -rf $(VENV) $(LOWEST) runs site
