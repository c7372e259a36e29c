# The README's two commands. Each makes its own virtual environment and installs what it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
TABLES := README.md docs/results.md docs/concepts/robustness.md docs/how-to/scale.md docs/how-to/streams.md docs/tutorials/your-emotions.md

.PHONY: demo test coverage check clean

demo: $(STAMP)
	$(BIN)/liser demo

# One process a core, one thread each: more threads would only get in each other's way.
# COVERAGE=1 also measures coverage and fails below the floor in pyproject.toml.
test: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto $(if $(COVERAGE),--cov)

coverage:
	$(MAKE) test COVERAGE=1

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
