# `make help` lists the targets. `make run` and `make test` do all set-up themselves.
SHELL := /bin/sh
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
.DEFAULT_GOAL := help

NPM := sh tools/npm.sh $(VENV)
CONSOLE := src/voxplane/server/static/index.html
.PHONY: help install run backend console console-test token rebootstrap call test test-deep checks bench lint types house generate generated build clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# A developer's environment also runs the service, and two installations side by side break each other.
ifneq ($(wildcard $(VENV)/.dev),)
$(VENV)/.run: $(VENV)/.dev ;
else
$(VENV)/.run: requirements/run.txt requirements/console.txt pyproject.toml tools/venv.sh
	@PYTHON=$(PYTHON) sh tools/venv.sh $(VENV) requirements/build.txt requirements/run.txt requirements/console.txt
	@touch $@
endif

ui/node_modules/.package-lock.json: ui/package-lock.json | $(VENV)/.run
	@echo "Setting up the console's tools in ui/node_modules (once, about 15 seconds)…" >&2
	@$(NPM) ci --loglevel=error
	@touch $@

$(CONSOLE): ui/node_modules/.package-lock.json $(shell find ui/src -type f) ui/index.html $(wildcard ui/*.ts ui/*.js)
	@echo "Building the console (about 15 seconds)…" >&2
	@$(NPM) run --silent build -- --logLevel warn

$(VENV)/.dev: requirements/dev.txt pyproject.toml tools/venv.sh
	@PYTHON=$(PYTHON) sh tools/venv.sh $(VENV) requirements/build.txt requirements/dev.txt
	@touch $@ $(VENV)/.run

install: $(VENV)/.dev ## Set up the development environment in .venv

run: $(VENV)/.run $(CONSOLE) ## Run the service on port 5005, with a database of its own in .voxplane
	@exec $(BIN)/voxplane serve

backend: run ## The same as run

console: $(CONSOLE) ## Build the console into the package

token: $(VENV)/.run ## Print a token of the default organization's administrator
	@$(BIN)/voxplane token create --administrator

rebootstrap: $(VENV)/.run ## Drop and recreate the database (ARGS=--yes-destroy-secrets if keys are stored)
	@$(BIN)/voxplane db reset --yes $(ARGS)

call: $(VENV)/.dev ## Make a whole call on this machine, without any account (answer.wav; ARGS=--vendor has your model answer)
	@echo "Loading the engines: on a busy machine this takes a minute…" >&2
	@$(BIN)/python -m examples.call $(ARGS)

test: $(VENV)/.dev $(CONSOLE) ## Check and test everything that CI does
	@sh tools/browser.sh >/dev/null
	@$(MAKE) --no-print-directory -j2 --output-sync=target checks
	@$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -m "not deep" -n 3 --dist loadfile --no-loadscope-reorder
	@$(BIN)/coverage combine -q
	@$(BIN)/coverage report

test-deep: $(VENV)/.dev ## Run the long drills as well
	$(BIN)/pytest -m deep

bench: $(VENV)/.dev $(CONSOLE) ## Measure against peers, side by side in one run
	@PYTHON=$(PYTHON) sh tools/venv.sh $(VENV) requirements/build.txt requirements/bench.txt
	$(BIN)/python benchmarks/control_plane.py
	$(BIN)/python benchmarks/workers.py
	$(BIN)/python benchmarks/audit.py
	$(BIN)/python -m benchmarks.verification
	$(BIN)/python benchmarks/migration.py
	$(BIN)/python benchmarks/console.py

checks: lint types house generated console-test

lint: $(VENV)/.dev ## Check style
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/codespell

types: $(VENV)/.dev ## Check types
	$(BIN)/pyright

house: $(VENV)/.dev ## Check that imports run down only
	$(BIN)/lint-imports

console-test: $(VENV)/.dev $(CONSOLE) ## Check and test the console by itself
	@$(NPM) run --silent lint
	@$(NPM) run --silent check
	@$(NPM) run --silent test

generate: $(VENV)/.dev ui/node_modules/.package-lock.json ## Write what is derived: docs/openapi.json, the reference, the console's types
	$(BIN)/python tools/generate.py
	@$(NPM) run --silent types

generated: $(VENV)/.dev ui/node_modules/.package-lock.json
	$(BIN)/python tools/generate.py --check
	@$(NPM) run --silent types -- --check

build: $(VENV)/.dev ## Build the package
	$(BIN)/hatchling build

clean: ## Remove the environment and what was built; .voxplane stays
	rm -rf $(VENV) ui/node_modules src/voxplane/server/static dist .coverage* .pytest_cache .ruff_cache .hypothesis
