# Two commands on a fresh machine: `make demo` and `make test`. Python 3.11 is all they need.
PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
TEST_WORKERS ?= $(shell nproc)

.PHONY: setup demo test android-test lint bench runner arm64 device-test users clean

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

# The C++ runner for this machine; `myqasr bench --runner executorch-cpp` builds it too.
runner: setup
	$(BIN)/python -m runtime_bench.native

# What `--runner arm64` needs: cross compiler and emulator (root, Debian), and the runtimes for ARM64.
arm64: setup
	tools/arm64_packages.sh
	$(BIN)/python -m runtime_bench.arm64_files

# Compiles the phone app, tests its core and links its resources, with Debian's tools; see android_demo/README.md.
android-test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m tools.android_test $(if $(BUILD_ONLY),--build-only)

# The chain to a phone against a real adbd, and ARM64 kernels in an emulator; needs root and Debian.
device-test: setup
	tools/arm64_packages.sh device
	OMP_NUM_THREADS=1 MYQASR_DEVICE_TEST=1 $(BIN)/python -m pytest tests/test_arm64.py tests/test_device.py

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
	$(BIN)/python -m benchmarks.rounding
	$(BIN)/python -m benchmarks.refining
	$(BIN)/python -m benchmarks.models
	$(BIN)/python -m benchmarks.base_model
	$(BIN)/python -m benchmarks.arm64
	$(BIN)/python -m benchmarks.runners
	$(BIN)/python -m benchmarks.coreml --users 2
	$(BIN)/python -m benchmarks.coreml_base
	$(BIN)/myqasr doctor --install tflite-runtime
	$(BIN)/python -m benchmarks.tflite
	$(BIN)/python -m benchmarks.tflite_base
	$(BIN)/python -m benchmarks.real_speakers
	$(BIN)/python -m benchmarks.allocation --speakers real
	$(BIN)/python -m benchmarks.personalisation --speakers real --most 12
	$(BIN)/python -m benchmarks.render

clean:
	rm -rf $(VENV) build out
