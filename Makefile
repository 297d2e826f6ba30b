# Everything that a clone needs. Each target makes the virtual environment if it is missing.
#   make demo      train DDPM and T2H on long-tailed digits, sample, judge, and make one page to look at
#   make docs      site/, the documentation as pages that open from the disk
#   make test      the test suite (`make test-all`: with the slow proofs)
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

.PHONY: demo docs notebooks test test-all lint clean
.DEFAULT_GOAL := demo

# torch comes first and pinned: where it is missing, the newest build would bring gigabytes of CUDA libraries.
$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet "torch$(shell sed -n 's/^torch\(==.*\)/\1/p' constraints.txt)"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable . --group dev
	touch $@

demo: $(READY)
	$(BIN)/t2h demo

docs: $(READY)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --group docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "Open site/index.html."

# Run the notebooks again and keep what they show.
notebooks: $(READY)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --group docs
	cd examples/notebooks && PYTHONWARNINGS=ignore $(abspath $(BIN))/jupyter execute --inplace *.ipynb

test: $(READY)
	$(BIN)/python -m pytest -n auto

test-all: $(READY)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --group browser
	$(BIN)/python -m pytest -n auto -m "slow or not slow" --timeout=3600

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) build dist site .pytest_cache .ruff_cache .mypy_cache runs/demo
	find . -name __pycache__ -type d -not -path "./$(VENV)/*" -prune -exec rm -rf {} +
