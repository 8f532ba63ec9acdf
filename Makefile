# The two commands: `make demo` and `make test`. Both do all the set-up on a bare machine with
# Python 3.11 or newer. uv is used when it is installed, pip otherwise; the lock files are hashed.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
UV     := $(shell command -v uv 2>/dev/null)

ifdef UV
INSTALL := $(UV) pip install --quiet --python $(BIN)/python
else
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check
endif

.PHONY: setup demo up test fuzz lint types bench arena screenshots lock clean

setup: $(VENV)/.installed-dev

demo: $(VENV)/.installed
	$(BIN)/upstream demo

up: $(VENV)/.installed
	$(BIN)/upstream up

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

# Examples that the suite does not have: other ones of each property, and as many requests of each route. The seed that a failure
# came with makes them again.
EXAMPLES ?= 100
SEED     ?= $(shell date +%s)
fuzz: $(VENV)/.installed-dev
	UPSTREAM_FUZZ_EXAMPLES=$(EXAMPLES) $(BIN)/python -m pytest -m hypothesis --hypothesis-seed=$(SEED) \
	    upstream_pipelines_tests

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed-dev
	$(BIN)/mypy

bench: $(VENV)/.installed-dev
	$(BIN)/python benchmarks/path.py
	$(BIN)/python benchmarks/look.py
	$(BIN)/python benchmarks/deliveries.py
	$(BIN)/python benchmarks/receipt.py
	$(BIN)/python benchmarks/api_load.py
	$(BIN)/python benchmarks/scale.py
	$(BIN)/python benchmarks/path.py --memory 1000000 10000000
	$(BIN)/python benchmarks/summary.py

# Two to three minutes; `make arena LONG=1` is the run that docs/arena.md reports, and writes it.
arena: $(VENV)/.installed-dev
	$(BIN)/python -m benchmarks.drift_arena $(if $(LONG),--long --publish)

screenshots: $(VENV)/.installed-dev
	$(BIN)/python docs/take_screenshots.py

# Resolves again for every supported Python; review the difference before committing it.
lock: $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --upgrade \
	    --custom-compile-command "make lock" pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --extra dev \
	    --constraint requirements.lock --custom-compile-command "make lock" pyproject.toml -o requirements-dev.lock
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --extra celery --extra kubernetes --extra telemetry \
	    --constraint requirements.lock --custom-compile-command "make lock" pyproject.toml -o requirements-deploy.lock

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)

# --no-deps: the lock files name everything; pip in hash mode refuses a dependency with an extra (gql[requests]).
$(VENV)/.installed: $(BIN)/python requirements.lock pyproject.toml
	$(INSTALL) --no-deps --require-hashes -r requirements.lock
	$(INSTALL) --no-deps --editable .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed requirements-dev.lock
	$(INSTALL) --no-deps --require-hashes -r requirements-dev.lock
	touch $@

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis build ./*.egg-info
