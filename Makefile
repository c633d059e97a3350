# Everything runs in a virtual environment in the checkout. pip runs when that is made, and again when setup.cfg
# or pyproject.toml changes; in between, nothing here needs a network (but `make wheel`, which makes a new one).
#
#   make test PYTHON=python3.13     another Python; .venv is made anew if it was made with a different one
#   make test ARGS='-k table -x'    arguments for pytest, or for the demo
#   make test ARGS='-n0 -s'         in one process, which shows what tests print

PYTHON ?= python3
VENV ?= .venv
ARGS ?=

# One process for each core; one that has nothing left to do takes tests from another.
PARALLEL = -n auto --dist worksteal

BIN = $(VENV)/bin
PIP = $(BIN)/python -m pip --quiet --disable-pip-version-check --no-input

# pyright is JavaScript in a wheel; where there is no recent enough node, one comes as a wheel too.
NODE = $(shell node -e 'process.exit(Number(process.versions.node.split(".")[0] < 18))' 2>/dev/null || echo "'pyright[nodejs]'")

# Held at one version: what a newer one reads otherwise must not turn the gate red by itself.
MERMAID = mermaid@11.17.2

# A PYTHON from outside that is not the one which made the environment makes it again.
ifneq ($(origin PYTHON),file)
ifneq ($(shell $(PYTHON) -c 'import sys; print(sys.version)' 2>/dev/null | cksum),$(shell cat $(VENV)/.made 2>/dev/null))
.PHONY: $(VENV)/.made
endif
endif

unexport PYTHONPATH PYTHONHOME
export PYRIGHT_PYTHON_IGNORE_WARNINGS = 1

.PHONY: help demo soak test test-slow matrix verify explore attack long-runs fuzz diagrams mermaid coverage lint ruff mypy pyright typing imports
.PHONY: format wheel test-all clean
.NOTPARALLEL:
.SUFFIXES:
.DELETE_ON_ERROR:

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /  make \1	/p' $(MAKEFILE_LIST) | expand -t 18

demo: $(VENV)/.demo ## the unmodified connector through 20 switches, without and with bluegreen
	$(BIN)/python -m bluegreen demo $(ARGS)

soak: $(VENV)/.demo ## the covered connector through 315 switches in 10 minutes; SOAK_MINUTES=... for another time
	$(BIN)/python -m bluegreen soak $(ARGS)

# A test with the mark `slow` is in `test-slow`, every other one in `test`.
test: $(VENV)/.test ## the tests, in minutes; the tables are verified, and what the tests take of them is told
	$(BIN)/python -m pytest $(PARALLEL) -m 'not slow' --bluegreen-verify=quick $(ARGS)

test-slow: $(VENV)/.test ## the tests that take long, and the benchmarks
	$(BIN)/python -m pytest $(PARALLEL) -m slow $(ARGS)

matrix: $(VENV)/.test ## every shape of load on every way in through every kind of switch
	$(BIN)/python -m pytest $(PARALLEL) tests/integration/test_shapes.py --matrix $(ARGS)

verify: explore attack long-runs ## explore the machines to the end, and attack what runs and what checks it

# The verification of the machines that ship is no part of the wheel.
SELFCHECK = PYTHONPATH=tests $(BIN)/python -m selfcheck

explore: $(VENV)/.test
	$(SELFCHECK) explore

# Wrong tables, and the manager's threads in every order.
attack: $(VENV)/.test
	$(SELFCHECK) mutants
	$(SELFCHECK) interleavings

# Long runs at random through the manager and both channels; the gate makes fewer of them, with `make test-slow`.
long-runs: $(VENV)/.test
	HYPOTHESIS_PROFILE=ci $(BIN)/python -m pytest tests/model/test_stateful.py

fuzz: $(VENV)/.test ## 20,000 hostile replies over every way in, and 10,000 queries beside a user who is refused
	HYPOTHESIS_PROFILE=ci $(BIN)/python -m pytest $(PARALLEL) tests/integration/test_at_most_once.py tests/integration/test_two_users.py

diagrams: $(VENV)/.test ## draw diagrams/ anew, and fill the blocks of README; a test compares both
	$(SELFCHECK) diagrams
	$(BIN)/python -m bluegreen diagram embed README.md

mermaid: $(VENV)/.mermaid ## fetch Mermaid, so that tests parse what is drawn; they need Chromium as well

coverage: $(VENV)/.test ## branch coverage by the unit and property tests
	$(BIN)/python -m pytest --cov $(wildcard tests/unit tests/properties) $(ARGS)

lint: ruff mypy pyright typing imports ## all linters and type checkers

ruff: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

mypy: $(VENV)/.dev
	$(BIN)/mypy

pyright: $(VENV)/.dev
	$(BIN)/pyright --pythonpath $(BIN)/python

# What the checkers must find, and must not: `make test` skips this where they are not installed.
typing: $(VENV)/.dev
	$(BIN)/python -m pytest tests/typing

imports: $(VENV)/.dev
	$(BIN)/lint-imports --no-logo

format: $(VENV)/.dev ## let ruff format and mend what it can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

wheel: $(VENV)/.dev ## build sdist and wheel, test the wheel in a new environment elsewhere
	$(BIN)/python .ci/wheel.py

test-all: ## the tests on every supported Python that is found
	@bash .ci/test-all

clean: ## remove everything that was made here, the environments too
	rm -rf .venv .venv-* build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	rm -rf .hypothesis .coverage .coverage.* htmlcov
	find fsm adapters tests .ci -name __pycache__ -type d -prune -exec rm -rf {} +

# The environment. pip is renewed first: the one that venv brings may be too old for dependency groups.
$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit("bluegreen needs Python 3.10 or newer" if sys.version_info < (3, 10) else 0)'
	$(PYTHON) -m venv --clear $(VENV)
	$(PIP) install --upgrade 'pip>=25.1'
	@$(PYTHON) -c 'import sys; print(sys.version)' | cksum > $@

# Each stamp also sets those that ask for less, so that pip has no reason to run for them.
$(VENV)/.dev: $(VENV)/.made setup.cfg pyproject.toml
	$(PIP) install --editable '.[all]' --group dev $(NODE)
	@touch $(VENV)/.demo $(VENV)/.test $@

$(VENV)/.test: $(VENV)/.made setup.cfg pyproject.toml
	$(PIP) install --editable '.[all]' --group test
	@touch $(VENV)/.demo $@

# Without the connector the demo can only say so. It does, and the next `make demo` tries the extra again.
$(VENV)/.demo: $(VENV)/.made setup.cfg pyproject.toml
	@echo "$(PIP) install --editable '.[cli,e6data]'"
	@if $(PIP) install --editable '.[cli,e6data]'; then touch $@; \
	else echo "make: the extra e6data could not be installed; going on without it" >&2; \
	$(PIP) install --editable '.[cli]'; fi

# Of Mermaid's package one file is kept. It goes with the environment, where the tests look for it.
$(VENV)/.mermaid: $(VENV)/.made
	mkdir -p $(VENV)/mermaid
	cd $(VENV)/mermaid && npm pack --silent $(MERMAID)
	cd $(VENV)/mermaid && tar -xzf *.tgz --strip-components=2 package/dist/mermaid.min.js && rm *.tgz
	@touch $@
