PYTHON ?= python3
HOST ?= 127.0.0.1
PORT ?= 8000
WORKERS ?= 1
export HOST PORT WORKERS

PY := .venv/bin/python
SOURCES := manage.py kilo_gateway organizations byok routing bench tests
# What a command needs to load the settings when it does not talk to the database.
NO_DATABASE := DATABASE_URL=postgresql://nobody@127.0.0.1/none DATA_DIR=.data/checks

.DEFAULT_GOAL := help
.PHONY: help demo run install test soak bench screenshots fmt

help: ## Show this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: install ## Set everything up, start the gateway with demo data, and say how to use it
	@EMBEDDED_POSTGRES=1 exec $(PY) manage.py demo

run: install ## Start the production server (HOST, PORT, WORKERS, DATABASE_URL, ... from the environment)
	@exec $(PY) -m kilo_gateway.serve

install: .venv/.runtime ## Make the environment in .venv, and start nothing

test: .venv/.dev ## Everything that has to hold: lint, types, import contracts, migrations, deployment checks, tests
	.venv/bin/ruff check $(SOURCES)
	.venv/bin/ruff format --check $(SOURCES)
	.venv/bin/lint-imports
	.venv/bin/djlint --lint --check templates
	$(NO_DATABASE) DEBUG=1 .venv/bin/mypy
	$(NO_DATABASE) BASE_URL=https://gateway.example.com $(PY) manage.py check --deploy --fail-level WARNING
	$(PY) -m pytest -n 2 --dist loadfile

soak: .venv/.dev ## The tests of reliability in their long form: 200,000 requests, 2,000 aborted streams
	SOAK=1 $(PY) -m pytest tests/reliability

bench: .venv/.dev ## Measure the gateway against its peers on this machine; writes bench/results/
	@$(PY) -m bench

screenshots: .venv/.dev ## Pictures of every page, wide and narrow, light and dark, in .data/screenshots/
	@$(PY) -m tests.browser.screenshots

fmt: .venv/.dev ## Format the code
	.venv/bin/ruff check --fix-only $(SOURCES)
	.venv/bin/ruff format $(SOURCES)
	.venv/bin/djlint --reformat --quiet templates || true

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv .venv

.venv/.runtime: requirements.lock | .venv/bin/python
	@echo "Installing what the gateway needs into .venv ..."
	@$(PY) -m pip install --quiet --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@touch $@

.venv/.dev: requirements-dev.lock | .venv/bin/python
	@echo "Installing what development and the tests need into .venv ..."
	@$(PY) -m pip install --quiet --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@touch .venv/.runtime $@
