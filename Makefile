# The two commands that matter: `make demo` shows the main job, `make test` checks everything.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: setup demo test lint types layers check clean

setup: .venv/ready
.venv/ready: pyproject.toml constraints.txt src/transfuse/fusing/engine/_kernels.c
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: .venv/ready
	$(BIN)/transfuse demo --out demo

test: .venv/ready lint types layers
	$(BIN)/python -m pytest -n 2 --dist loadfile

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/ready
	$(BIN)/mypy

layers: .venv/ready
	$(BIN)/lint-imports

clean:
	rm -rf .venv build dist demo
