# Everything is set up on the way, once: make demo, make test. Needs make, git and Python 3.11 or later with venv
# (Debian 12: apt install make git python3-venv). R is used where it is.

PYTHON ?= python3
PYTEST_ARGS ?=
KILLS ?= 500
SEED ?=

BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt
READY := .venv/.ready
BIOPSY := examples/biopsy-python
GROUPS := .ci/requirements.py

.PHONY: help demo test check contract flow crash bench docs wheel constraints clean

help:
	@echo 'make demo    run the examples through shore and show what comes home'
	@echo 'make test    the whole test suite'
	@echo 'make check   format, lint, types, layers, documentation'
	@echo 'make contract  the suite that every cluster passes'
	@echo 'make flow    whole command lines against a real server'
	@echo 'make crash   kill the server at 500 moments under load (KILLS=, SEED=)'
	@echo 'make bench   measure beside peers, and write docs/benchmarks.md'
	@echo 'make docs    the documentation, into docs/_build/html'
	@echo 'make wheel   build the wheel and try it in a clean environment'

demo: $(READY)-run $(BIOPSY)/.venv/.ready
	@examples/demo.sh

test: $(READY)-run $(READY)-test $(BIOPSY)/.venv/.ready
	$(BIN)/pytest $(PYTEST_ARGS)

contract: $(READY)-run $(READY)-test
	$(BIN)/pytest tests/contract $(PYTEST_ARGS)

flow: $(READY)-run $(READY)-test $(BIOPSY)/.venv/.ready
	$(BIN)/pytest -m flow $(PYTEST_ARGS)

crash: $(READY)-run $(READY)-test
	$(BIN)/python tests/crash/exercise.py --kills $(KILLS) $(if $(SEED),--seed $(SEED))

bench: $(READY)-run $(READY)-bench
	$(BIN)/python bench/run.py --write docs/benchmarks.md

check: $(READY)-run $(READY)-test $(READY)-check $(READY)-docs
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/pyrefly check
	$(BIN)/lint-imports
	$(BIN)/sphinx-build --fail-on-warning --keep-going --quiet docs docs/_build/html

docs: $(READY)-run $(READY)-docs
	$(BIN)/sphinx-build docs docs/_build/html

wheel: $(READY)-run
	.ci/wheel

# What is pinned, taken anew from the latest versions that pyproject.toml allows. With the oldest Python supported,
# of which Debian 12 has the earliest patch: make constraints PYTHON=/usr/bin/python3
constraints:
	rm -rf build/constraints
	$(PYTHON) -m venv build/constraints
	$(PYTHON) $(GROUPS) build-system test check docs bench > build/requirements.txt
	build/constraints/bin/python -m pip install --quiet --editable . --requirement build/requirements.txt
	build/constraints/bin/python -m pip freeze --exclude-editable --exclude pip > constraints.txt

clean:
	rm -rf .venv .demo build dist docs/_build docs/reference/generated $(BIOPSY)/.venv examples/*/results examples/*/*.rds

# Each stamp stands for something installed; it is made again when what it was made from has changed.

$(READY)-venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo 'shorepower needs Python 3.11 or later; $(PYTHON) is older. Name another one: make PYTHON=python3.12'; exit 1; }
	@echo 'setting up .venv'
	@$(PYTHON) -m venv .venv
	@touch $@

$(READY)-run: pyproject.toml constraints.txt | $(READY)-venv
	@echo 'installing shorepower'
	@$(BIN)/python $(GROUPS) build-system > .venv/build-system.txt
	@$(PIP) --requirement .venv/build-system.txt
	@$(PIP) --no-build-isolation --editable .
	@touch $@

$(READY)-test $(READY)-check $(READY)-docs $(READY)-bench: $(READY)-%: pyproject.toml constraints.txt $(GROUPS) | $(READY)-venv
	@echo 'installing what make needs for: $*'
	@$(BIN)/python $(GROUPS) $* > .venv/$*.txt
	@$(PIP) --requirement .venv/$*.txt
	@touch $@

$(BIOPSY)/.venv/.ready: $(BIOPSY)/requirements.txt | $(READY)-venv
	@echo 'setting up $(BIOPSY)/.venv'
	@$(PYTHON) -m venv $(BIOPSY)/.venv
	@$(BIOPSY)/.venv/bin/python -m pip --disable-pip-version-check install --quiet --requirement $(BIOPSY)/requirements.txt
	@touch $@
