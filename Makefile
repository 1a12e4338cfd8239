# `make` lists the targets. From a fresh clone each does everything it needs.
PYTHON ?= python3
PORT ?= 8501
BIN := .venv/bin
READY := .venv/.ready

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(READY)  ## make .venv with everything in it (about 7 GB, a minute or more)

app: $(READY)  ## open the dashboard (PORT=8501)
	@$(BIN)/python -m dashboard --port $(PORT)

demo: $(READY)  ## train and compare three configurations on real pictures, in the terminal
	@$(BIN)/python -m engine study --data openmoji --budget demo --wait

test: $(READY)  ## run the tests
	@$(BIN)/python -m pytest

check: $(READY)  ## format, lint, types, import contracts, tests: what CI runs
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest

chaos: $(READY)  ## kill, stop and crowd runs for a quarter of an hour, and compare with peace
	@$(BIN)/python -m tests.chaos

screenshots: $(READY)  ## photograph every page in both themes into docs/img (trains for 8 minutes once)
	@$(BIN)/python -m scripts.screenshots

bench: $(READY)  ## measure what is fast: page scripts, metrics, packing, training, start-up, serving
	@$(BIN)/python -W ignore -m scripts.bench_dashboard
	@$(BIN)/python -W ignore -m engine bench metrics
	@$(BIN)/python -m engine bench data
	@$(BIN)/python -m engine bench train
	@$(BIN)/python -m scripts.bench_startup
	@$(BIN)/python -m scripts.bench_serving

$(READY): pyproject.toml requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; $(PYTHON) is older or not there. Try: make PYTHON=python3.12"; exit 1; }
	@echo "Setting up .venv: about 7 GB of packages, most of it torch. A minute or more."
	@$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -r requirements.txt
	@touch $(READY)

.PHONY: help setup app demo test check chaos screenshots bench
