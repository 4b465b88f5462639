# `make` alone lists the words.
PYTHON ?= python3
BIN = .venv/bin

help: ## list these words
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 16

.venv/run: requirements/run.lock
	$(PYTHON) scripts/install.py run

.venv/dev: requirements/dev.lock
	$(PYTHON) scripts/install.py dev

install: .venv/dev ## create .venv, install everything, obtain Asterisk, sipp, spin and espeak-ng without root

run: .venv/run ## try it: dial 300 loopback phones, watch, stop
	@$(BIN)/outdial demo

check: .venv/dev ## ruff, mypy strict, import-linter, dependency audit
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports && $(BIN)/python scripts/audit.py

test: check ## check, then all tests against real PostgreSQL and real Asterisk
	$(BIN)/pytest -n 2 --dist worksteal --ignore tests/telephony --ignore tests/acceptance --ignore tests/nemesis
	$(BIN)/pytest -m "not long" tests/telephony tests/acceptance tests/nemesis

MINUTES ?= 15
nemesis: .venv/dev ## try to break the stop for MINUTES, SEED=… repeats a plan; exit code 1 when it breaks
	PYTHONPATH=src:tests $(BIN)/python -m nemesis --minutes $(MINUTES) $(if $(SEED),--seed $(SEED))

DAYS ?= 1000
simulate: .venv/dev ## play DAYS random days by the production rules, SEED=… repeats them; exit code 1 on a broken promise
	PYTHONPATH=src:tests $(BIN)/python -m simulation --days $(DAYS) $(if $(SEED),--seed $(SEED))

nemesis-broken: .venv/dev ## show that the same suite catches outdial with one guard taken out
	$(BIN)/pytest -s tests/nemesis/test_broken_builds.py

model: .venv/dev ## check the Promela model of the stop with Spin, whole, in wide bounds (8 GB at most)
	$(BIN)/python scripts/model.py

bench: .venv/dev ## measure; prints tables of ratios: dialing and stop, the gate, simulations, answering machines
	$(BIN)/python -m bench
	$(BIN)/python -m bench.explain $(PEOPLE)
	$(BIN)/python -m bench.simulate $(CONTACTS)
	$(BIN)/python -m bench.machines $(CALLS)

bench-stop: .venv/dev ## measure the stop alone: all well, a dialer killed or frozen, the engine frozen
	$(BIN)/python -m bench stop struck unreachable

bench-api: .venv/dev ## measure the API beside a bare endpoint with the same SQL
	$(BIN)/python -m bench.api

ROWS ?= 1000000
bench-import: .venv/dev ## measure imports of ROWS people
	$(BIN)/python -m bench.import_contacts $(ROWS)

CONTACTS ?= 1000000
ATTEMPTS ?= 500000
bench-exports: .venv/dev ## measure the memory that files of a run of CONTACTS and ATTEMPTS take
	$(BIN)/python -m bench.exports $(CONTACTS) $(ATTEMPTS)

bench-simulate: .venv/dev ## measure how a campaign of CONTACTS people is played through
	$(BIN)/python -m bench.simulate $(CONTACTS)

bench-webhooks: .venv/dev ## measure what an attempt costs with a webhook that is told of it, and without
	$(BIN)/python -m bench.webhooks

bench-watchdog: .venv/dev ## measure how many packets and INVITEs the watchdog takes
	$(BIN)/python -m bench.watchdog

CALLS ?= 120
bench-amd: .venv/dev ## measure how often people and answering machines are confused, over CALLS synthetic greetings
	$(BIN)/python -m bench.machines $(CALLS)

PEOPLE ?= 100000
bench-explain: .venv/dev ## measure decisions of the gate, explanations, and the waterfall of a run of PEOPLE
	$(BIN)/python -m bench.explain $(PEOPLE)

CASES ?= 20000
fuzz: .venv/dev ## CASES generated requests over the API document, checked answer by answer
	$(BIN)/python tests/generated $(CASES)

docs: .venv/dev ## write the generated reference pages
	$(BIN)/python scripts/docs.py

.PHONY: help install run check test nemesis simulate nemesis-broken model bench bench-stop bench-api \
	bench-import bench-exports bench-simulate bench-webhooks bench-watchdog bench-amd bench-explain fuzz docs
