# The README's two commands. Each makes its own virtual environment and installs what it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
TABLES := README.md docs/results.md docs/concepts/robustness.md

.PHONY: demo test check clean

demo: $(STAMP)
	$(BIN)/liser demo

# side by side, one thread each: threads of several processes would stand in each other's way
test: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto

check: $(STAMP)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python benchmarks/readme_table.py --check $(TABLES)
	$(BIN)/python benchmarks/chart.py --check
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

# torch comes first and pinned, so that nothing else asks for another build of it
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -c constraints.txt torch
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	touch $(STAMP)

clean:
	rm -rf $(VENV) liser-demo runs site
