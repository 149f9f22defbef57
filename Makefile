# Two commands on a fresh machine: `make demo` and `make test`. Python 3.11 is all they need.
PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
TEST_WORKERS ?= 2

.PHONY: setup demo test lint bench users clean

setup: $(STAMP)

# --constraint pins what the pinned packages pull in, so that every machine gets the same set.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $(STAMP)

demo: setup
	$(BIN)/myqasr demo

test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(TEST_WORKERS)

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# Every table of docs/results.md; needs MYQASR_SPEECH or ../shared/speech for real speakers.
bench: setup
	$(BIN)/python -m benchmarks.demo
	$(BIN)/python -m benchmarks.demo --all-users
	$(BIN)/python -m benchmarks.budgets
	$(BIN)/python -m benchmarks.sensitivity
	$(BIN)/python -m benchmarks.allocation
	$(BIN)/python -m benchmarks.personalisation
	$(BIN)/python -m benchmarks.measuring_cost
	$(BIN)/python -m benchmarks.solving
	$(BIN)/python -m benchmarks.models
	$(BIN)/python -m benchmarks.base_model
	$(BIN)/myqasr doctor --install tflite-runtime
	$(BIN)/python -m benchmarks.tflite
	$(BIN)/python -m benchmarks.tflite_base
	$(BIN)/python -m benchmarks.real_speakers
	$(BIN)/python -m benchmarks.allocation --speakers real
	$(BIN)/python -m benchmarks.personalisation --speakers real
	$(BIN)/python -m benchmarks.render

clean:
	rm -rf $(VENV) build out
