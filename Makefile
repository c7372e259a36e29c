# The README's two commands. Each makes its own virtual environment and installs what it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
TABLES := README.md docs/results.md docs/cost.md docs/concepts/robustness.md docs/tutorials/your-emotions.md $(addprefix docs/how-to/,ingest.md scale.md streams.md)

.PHONY: demo test coverage check clean

demo: $(STAMP)
	$(BIN)/liser demo

# Ray's tests come first and in one process: two Rays that start at once get in each other's way.
# Then one process a core, one thread each: more threads would only do the same.
# COVERAGE=1 also measures coverage and fails below the floor in pyproject.toml.
test: export OMP_NUM_THREADS = 1
test: $(STAMP)
	$(BIN)/python -m pytest -m ray $(if $(COVERAGE),--cov --cov-fail-under=0 --cov-report=)
	$(BIN)/python -m pytest -m "not ray" -n auto --max-worker-restart=0 $(if $(COVERAGE),--cov --cov-append)

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
