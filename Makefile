# `make` lists the targets. In a new clone each target first installs what it needs.
PYTHON ?= python3
PORT ?= 8501
BIN := .venv/bin
READY := .venv/.ready

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(READY)  ## install everything into .venv (about 7 GB, a minute or more)

app: $(READY)  ## open the dashboard (PORT=8501)
	@$(BIN)/python -m dashboard --port $(PORT)

demo: $(READY)  ## train and compare three configurations on real pictures, in the terminal
	@$(BIN)/python -m engine study --data openmoji --budget demo --wait

test: $(READY)  ## run the tests
	@$(BIN)/python -m pytest

docs: $(READY)  ## build the documentation site into build/site; a warning is an error
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "Built build/site/index.html. For the search: $(BIN)/python -m http.server -d build/site"

check: $(READY)  ## check format, lint, types, import contracts, documentation and tests, as CI does
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(MAKE) docs
	$(BIN)/python -m pytest

chaos: $(READY)  ## kill, stop and overload runs for a quarter of an hour, and verify their results
	@$(BIN)/python -m tests.chaos

screenshots: $(READY)  ## save screenshots of every page in docs/img (trains for 8 minutes the first time)
	@$(BIN)/python -m scripts.screenshots

bench: $(READY)  ## measure speed: pages, metrics, packing, training, start, model server
	@$(BIN)/python -W ignore -m scripts.bench_dashboard
	@$(BIN)/python -W ignore -m engine bench metrics
	@$(BIN)/python -m engine bench data
	@$(BIN)/python -m engine bench train
	@$(BIN)/python -m scripts.bench_startup
	@$(BIN)/python -m scripts.bench_serving

$(READY): pyproject.toml requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; $(PYTHON) is older or missing. Try: make PYTHON=python3.12"; exit 1; }
	@echo "Installing about 7 GB of packages into .venv, most of it torch. This takes a minute or more."
	@$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -r requirements.txt
	@touch $(READY)

.PHONY: help setup app demo test docs check chaos screenshots bench
