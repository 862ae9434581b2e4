# Two commands set everything up on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin

.PHONY: demo demo-text test lint bench clean

# The environment is rebuilt when the list of dependencies changes.
$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(RUN)/pip install --quiet --constraint constraints.txt --editable '.[all,dev]'
	touch $@

$(VENV)/.bench: $(VENV)/.ready
	$(RUN)/pip install --quiet --constraint constraints.txt --editable '.[bench]'
	touch $@

demo: $(VENV)/.ready
	$(RUN)/nearfar demo --out demo

demo-text: $(VENV)/.ready
	$(RUN)/nearfar demo text --out demo-text

test: $(VENV)/.ready
	$(RUN)/python -m pytest -n auto

lint: $(VENV)/.ready
	$(RUN)/ruff format --check .
	$(RUN)/ruff check .
	$(RUN)/mypy

bench: $(VENV)/.bench
	$(RUN)/python -m benchmarks

clean:
	rm -rf $(VENV) demo demo-text build dist
