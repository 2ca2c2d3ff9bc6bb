# make demo    stylize sample photos on this machine; needs nothing but Python 3.11 or newer
# make test    style, types, imports and all tests
# make fuzz    the API against made-up requests (EXAMPLES of each route)
# make bench   our engines beside plain ones, and a bulk job beside the bare loop of decode, network and encode
# make client  the synchronous client from the asynchronous one
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

EXAMPLES ?= 100

# Tests start hundreds of processes, and each would compile the whole product.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: demo test fuzz bench client lint style clean

demo: $(STAMP)
	$(BIN)/nst demo

test: lint
	$(BIN)/pytest -m "not slow" -n 4 --dist loadfile --no-loadscope-reorder

fuzz: $(STAMP)
	NST_FUZZ_EXAMPLES=$(EXAMPLES) $(BIN)/pytest tests/integration/test_fuzz.py

# PHOTOS: a folder of photos; the free ones of scikit-image without it.
bench: $(STAMP)
	$(BIN)/python -m tests.benchmarks.engines $(if $(PHOTOS),--photos $(PHOTOS))
	$(BIN)/python -m tests.benchmarks.pipeline $(PHOTOS)

client: $(STAMP)
	$(BIN)/python -m tests.sync_client

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/mypy

style: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Made again when the dependencies change; otherwise every target starts at once.
$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) .nst demo-output build dist .mypy_cache .pytest_cache .ruff_cache *.egg-info
