# Each target sets up what it needs: a virtual environment in .venv with the
# package (editable) and its tools. PYTHON names the interpreter to build it from.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# The rooms lie at the top level but are imported as bootledger.<room>; without
# the working directory on sys.path a bare `import store` fails, as it should.
export PYTHONSAFEPATH := 1

# Tests and demo start hundreds of children: let them find the modules compiled.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test crash crash-long check format pages clean

test: $(VENV)/installed
	$(BIN)/python -m pytest

# The proofs that need time: every crash and every pair of crashes, of which `make test` plays
# a sample; each fight for a minute, thousands of random histories; the disks that a loss of power
# may leave, with a table of them, and those of the samples into crash-report.json.
crash: $(VENV)/installed
	$(BIN)/python -m pytest -n 2 -m crash
	$(BIN)/python -m pytest -n 0 -m crash --chaos-s 600 tests/test_chaos.py
	$(BIN)/python -m pytest -n 2 --fight-s 60 --policy-examples 2000 \
		tests/test_fight.py tests/test_policy_model.py
	$(BIN)/bootledger simulate --prove --engine inproc --engine powerloss \
		--report crash-report.json

# For the night, with new seeds that are printed first: a million disks of ledgers and more, some of
# whole replications; SIGKILL, and three crashes in a run.
STORE_STATES ?= 1000000
CRASH_STATES ?= 20000
SEED ?= $(shell date +%s)
crash-long: crash
	$(BIN)/python -m pytest -n 2 -m crash --store-states $(STORE_STATES) --store-seed $(SEED) \
		tests/test_powerloss.py
	$(BIN)/bootledger simulate --engine powerloss --budget $(CRASH_STATES) --seed random \
		--report crash-report-powerloss.json
	$(BIN)/bootledger simulate --engine inproc --engine sigkill --crashes 3 --seed random \
		--report crash-report-random.json

demo: $(VENV)/installed
	$(BIN)/bootledger demo

check: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# What is generated into docs/; a test says when it is due.
pages: export PYTHONPATH := tests
pages: $(VENV)/installed
	$(BIN)/python tests/states_page.py
	$(BIN)/python tests/pictures.py
	$(BIN)/python tests/json_page.py

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(VENV)/installed: pyproject.toml
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@
