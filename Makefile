# `make` lists the targets. In a new clone each target first installs the packages that it needs.
PYTHON ?= python3
PORT ?= 8501
BIN := .venv/bin
# Stamps of two layers in one environment: the app, and the extras and development tools on top.
APP := .venv/.app
DEV := .venv/.dev
# Nothing is resolved, built or compiled: requirements.lock names each file by its hash, and Python
# compiles the modules that it imports. This variable would make it compile them again every time.
INSTALL := $(BIN)/python -m pip install --no-deps --no-compile
LOCKED := --only-binary :all: --require-hashes
unexport PYTHONDONTWRITEBYTECODE
# One process per core runs tests, each with one thread for numerical work. Tests of the same group
# (`xdist_group`) run in the same process and share its browser, MLflow server or Ray cluster.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n logical --maxprocesses 8 --dist loadgroup

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(DEV)  ## install the app, all extras and the development tools into .venv (7.2 GB)

app: $(APP)  ## open the dashboard (PORT=8501)
	@$(BIN)/python -m dashboard --port $(PORT)

demo: $(APP)  ## train and compare four configurations on real pictures, in the terminal
	@CHROMABENCH_SLOTS=$${CHROMABENCH_SLOTS:-2} $(BIN)/python -m engine study --data openmoji --budget demo --wait

test: $(DEV)  ## run the tests that take seconds, among them a whole small study (4 minutes)
	@$(PYTEST) -m "not slow"

slow: $(DEV)  ## run the other tests: browser, containers, Ray, MLflow, guides, killed runs
	@$(PYTEST) -m slow

docs: $(DEV)  ## build the documentation site into build/site; a warning is an error
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "Built build/site/index.html. For the search: $(BIN)/python -m http.server -d build/site"

check: $(DEV)  ## check format, lint, types, contracts, documentation and all tests (12 minutes)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(MAKE) docs test slow

chaos: $(DEV)  ## kill, stop and overload runs for a quarter of an hour, and verify their results
	@$(BIN)/python -m tests.chaos

screenshots: $(DEV)  ## save screenshots of every page in docs/img (trains for 10 minutes the first time)
	@$(BIN)/python -m scripts.screenshots

bench: $(DEV)  ## measure speed: pages, metrics, packing, training, start, model server
	@$(BIN)/python -W ignore -m scripts.bench_dashboard
	@$(BIN)/python -W ignore -m engine bench metrics
	@$(BIN)/python -m engine bench data
	@$(BIN)/python -m engine bench train
	@$(BIN)/python -m scripts.bench_startup
	@$(BIN)/python -m scripts.bench_serving

migration: $(DEV)  ## write a revision of the database's tables (MESSAGE="add export requests")
	@$(BIN)/python -m scripts.new_migration "$(MESSAGE)"

lock:  ## renew requirements.lock: the newest versions in the ranges of pyproject.toml
	@test -x $(BIN)/uv || $(MAKE) $(DEV)
	@$(BIN)/python -m scripts.lock renew

audit: $(DEV)  ## look up known vulnerabilities of the packages in requirements.lock
	@$(BIN)/python -m scripts.audit

$(APP): pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; $(PYTHON) is older or missing. Try: make PYTHON=python3.12"; exit 1; }
	@echo "Installing the app into .venv: 6.2 GB (1.4 GB if .venv has a CPU build of torch: README.md)."
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m scripts.lock select torch app > .venv/app.txt
	$(INSTALL) $(LOCKED) -r .venv/app.txt
	$(INSTALL) --no-build-isolation --editable .
	@$(BIN)/python -m pip check || { echo "Renew requirements.lock: make lock"; exit 1; }
	@echo "Installed the app: $$(du -sh .venv | cut -f1) in .venv."
	@touch $(APP)

$(DEV): $(APP)
	@echo "Adding the extras and the development tools to .venv: 1.0 GB."
	@$(BIN)/python -m scripts.lock select dev > .venv/dev.txt
	$(INSTALL) $(LOCKED) -r .venv/dev.txt
	@$(BIN)/python -m pip check || { echo "Renew requirements.lock: make lock"; exit 1; }
	@echo "Installed everything: $$(du -sh .venv | cut -f1) in .venv."
	@touch $(DEV)

.PHONY: help setup app demo test slow docs check chaos screenshots bench migration lock audit
