# Everything starts from a Python 3.10+ alone; .venv is made on first use and kept.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export TF_CPP_MIN_LOG_LEVEL ?= 3

.PHONY: demo test test-slow lint format bench clean
.DELETE_ON_ERROR:

$(VENV)/.installed: setup.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "tf_iresnet needs Python 3.10 or newer; choose one with: make PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	touch $@

$(VENV)/.bench: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	touch $@

demo: $(VENV)/.installed  ## train configs/digits.py and say where the report is
	$(BIN)/python scripts/train.py --config=configs/digits.py --workdir=runs/digits

test: $(VENV)/.installed  ## the whole fast suite
	$(BIN)/python -m pytest -n 2 --dist=worksteal

test-slow: $(VENV)/.installed  ## minutes-long trainings and their published figures
	$(BIN)/python -m pytest -m slow -n 2 --dist=worksteal

lint: $(VENV)/.installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(VENV)/.installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.bench  ## training step, first step and sampling beside normflows
	$(BIN)/python scripts/benchmark.py

clean:
	rm -rf $(VENV) runs
