# `make` alone lists the words.
PYTHON ?= python3
BIN = .venv/bin

help: ## list these words
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 16

.venv/run: requirements/run.lock
	$(PYTHON) scripts/install.py run

.venv/dev: requirements/dev.lock
	$(PYTHON) scripts/install.py dev

install: .venv/dev ## create .venv, install everything, obtain Asterisk and sipp without root

run: .venv/run ## try it: dial 300 loopback phones, watch, stop
	@$(BIN)/outdial demo

check: .venv/dev ## ruff, mypy strict, import-linter, dependency audit
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports && $(BIN)/python scripts/audit.py

test: check ## check, then all tests against real PostgreSQL and real Asterisk
	$(BIN)/pytest -n 2 --dist worksteal --ignore tests/telephony --ignore tests/acceptance
	$(BIN)/pytest tests/telephony tests/acceptance

bench: .venv/dev ## measure; prints a table of ratios
	$(BIN)/python -m bench

ROWS ?= 1000000
bench-import: .venv/dev ## measure imports of ROWS people
	$(BIN)/python -m bench.import_contacts $(ROWS)

CASES ?= 20000
fuzz: .venv/dev ## CASES generated requests over the API document, checked answer by answer
	$(BIN)/python tests/generated $(CASES)

docs: .venv/dev ## write the generated reference pages
	$(BIN)/python scripts/docs.py

.PHONY: help install run check test bench bench-import fuzz docs
