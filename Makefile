# Everything here needs Python 3.11 or newer and make, nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: venv demo figures test coverage test-slow test-torchvision lint docs clean
.DEFAULT_GOAL := demo

venv: $(READY)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

demo: venv
	$(BIN)/vox2pix demo

test: lint docs
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal

coverage: venv
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal --cov --cov-report=term

test-slow: venv
	$(BIN)/python -m pytest -m slow

# torchvision beside the CPU build of torch needs an environment of its own.
test-torchvision: venv
	$(PYTHON) -m venv .venv-torchvision
	printf '%s\n' $$(echo $(CURDIR)/$(VENV)/lib/python3*/site-packages) $(CURDIR)/src \
		> $$(echo .venv-torchvision/lib/python3*/site-packages)/house.pth
	.venv-torchvision/bin/python -m pip install --quiet --no-deps torchvision==0.28.0
	.venv-torchvision/bin/python -m pytest tests/vision/test_torchvision_networks.py

lint: venv
	$(BIN)/ruff check src tests benchmarks tools examples
	$(BIN)/ruff format --check src tests benchmarks tools examples
	$(BIN)/mypy
	$(BIN)/lint-imports

figures: demo
	$(BIN)/python docs/figures.py

docs: venv
	$(BIN)/sphinx-build -W --keep-going -q -b html docs docs/_build/html

clean:
	rm -rf runs docs/_build .coverage .pytest_cache .mypy_cache .ruff_cache
