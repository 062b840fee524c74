# Everything starts from a Python 3.10+ alone; .venv is made on first use and kept, with the newest
# versions that setup.py admits or, by LOCK=requirements.lock, with those that are pinned there.
PYTHON ?= python3
LOCK ?=
VENV := .venv
BIN := $(VENV)/bin
OLDEST := .venv-oldest
WHEEL := .venv-wheel
PIP := -m pip --quiet --disable-pip-version-check
TESTS ?=
export UV_PYTHON_DOWNLOADS := never
export TF_CPP_MIN_LOG_LEVEL ?= 3

.PHONY: demo test test-slow test-oldest test-wheel lint format lock bench clean
.DELETE_ON_ERROR:

$(VENV)/.installed: setup.py $(LOCK)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "tf_iresnet needs Python 3.10 or newer; choose one with: make PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(if $(LOCK),$(BIN)/python $(PIP) install --require-hashes --requirement $(LOCK))
	$(BIN)/python $(PIP) install --editable '.[test]'
	touch $@

$(VENV)/.packaging: $(VENV)/.installed
	$(BIN)/python $(PIP) install --editable '.[packaging]'
	touch $@

$(OLDEST)/.installed: setup.py
	test -x $(OLDEST)/bin/python || $(PYTHON) -m venv $(OLDEST)
	$(OLDEST)/bin/python $(PIP) install 'uv>=0.9'
	$(OLDEST)/bin/uv pip install --quiet --python $(OLDEST)/bin/python \
		--resolution lowest-direct --editable '.[test]'
	touch $@

$(VENV)/.bench: $(VENV)/.installed
	$(BIN)/python $(PIP) install --editable '.[bench]'
	touch $@

demo: $(VENV)/.installed  ## train configs/digits.py and say where the report is
	$(BIN)/python scripts/train.py --config=configs/digits.py --workdir=runs/digits

test: $(VENV)/.installed  ## the whole fast suite
	$(BIN)/python -m pytest -n 2 --dist=worksteal $(TESTS)

test-slow: $(VENV)/.installed  ## minutes-long trainings and their published figures
	$(BIN)/python -m pytest -m slow -n 2 --dist=worksteal

test-oldest: $(OLDEST)/.installed  ## the same with the oldest versions that setup.py admits
	$(OLDEST)/bin/python -m pytest -n 2 --dist=worksteal $(TESTS)

test-wheel:  ## a wheel as a user installs it: by itself, then with what training needs
	rm -rf $(WHEEL) build
	$(PYTHON) -m venv $(WHEEL)
	$(WHEEL)/bin/python $(PIP) wheel --no-deps --wheel-dir $(WHEEL)/dist .
	$(WHEEL)/bin/python $(PIP) install $(WHEEL)/dist/*.whl
	$(WHEEL)/bin/python -m pip check
	$(WHEEL)/bin/python -I tests/support/installed.py
	$(WHEEL)/bin/python $(PIP) install "$$(ls $(WHEEL)/dist/*.whl)[examples]"
	$(WHEEL)/bin/python -m pip check
	$(WHEEL)/bin/python -I tests/support/installed.py --train
	$(WHEEL)/bin/python scripts/train.py --list

lock: $(VENV)/.packaging  ## pin the newest versions for Python 3.10 and later, on every platform
	$(BIN)/uv pip compile --quiet --universal --python-version 3.10 --generate-hashes --upgrade \
		--no-annotate --custom-compile-command 'make lock' --extra test setup.py \
		--output-file requirements.lock

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
	rm -rf $(VENV) $(OLDEST) $(WHEEL) runs
