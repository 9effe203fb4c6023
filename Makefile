# `make run` serves, `make test` checks everything, `make docs` makes the site, `make bench` measures (half an
# hour). PYTHON=python3.13 uses another Python.
PYTHON ?= python3
VENV := .venv$(if $(filter python3,$(PYTHON)),,-$(notdir $(PYTHON)))
BIN := $(VENV)/bin
FLOORS := $(subst .venv,.venv-floors,$(VENV))
FUZZ ?= 100000
N ?= 10
WAYS ?= alone,beside,one-core
WHAT ?= tests/live tests/faults
PROCESSES ?= 8
UNIT_PROCESSES ?= 2

# Hundreds of processes load the same modules: the first one compiles them for all.
unexport PYTHONDONTWRITEBYTECODE

.NOTPARALLEL:
.PHONY: run test test-again bench docs dist quick lint types unit system live faults faults-long cluster-long steering-long amqps-long renewals-long crowds-long views-long soak fuzz attack screenshot clean servers

run: $(VENV)/.run-ready
	@$(BIN)/python -m peatio_ws run

# `servers` comes first: it installs everything that is missing, or names it, before anything takes long. Then the jobs that
# compute run next to those that mostly wait, with priority: the unit tests are one process next to fifty, and ended last. On
# two cores this takes eight to thirteen minutes, by their speed.
test: servers $(VENV)/.test-ready
	@$(BIN)/python -m tests.programs.side_by_side "$(MAKE) -k quick UNIT_PROCESSES=0" "nice -n 5 $(MAKE) system"

quick: lint types unit

lint: $(VENV)/.test-ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.test-ready
	$(BIN)/mypy

# In separate processes, so that a test that patches or leaks cannot affect tests of another kind.
unit: $(VENV)/.test-ready
	$(BIN)/python -m pytest -n $(UNIT_PROCESSES) tests/unit

# These tests mostly wait. Each process has its own broker and Redis.
SYSTEM := $(BIN)/python -m pytest -n $(PROCESSES) --dist loadscope

# Collect once before, so that the processes do not all compile the same tests at the same time.
system: $(VENV)/.test-ready servers
	@$(BIN)/python -m pytest --collect-only -q tests/live tests/faults > /dev/null
	$(SYSTEM) tests/live tests/faults

live: $(VENV)/.test-ready servers
	$(SYSTEM) tests/live

faults: $(VENV)/.test-ready servers
	$(SYSTEM) tests/faults

# N times in each of three ways: alone, next to two processes that use a core each, and on one core at the lowest priority.
# Prints how often each test failed. `make test-again N=3 WHAT=tests/live/test_resume.py WAYS=beside` is a part of it.
test-again: $(VENV)/.test-ready servers
	@$(BIN)/python -m tests.programs.again --times $(N) --ways $(WAYS) $(WHAT)

# The unit tests and the main live tests with the lowest versions that pyproject.toml allows.
MAIN_LIVE := classic ranger resume transport publisher published_keys metrics
test-floors: servers $(FLOORS)/.ready
	$(FLOORS)/bin/python -m pytest -n 2 tests/unit
	$(FLOORS)/bin/python -m pytest -n 3 --dist loadfile $(MAIN_LIVE:%=tests/live/test_%.py)

$(FLOORS)/.ready: tests/programs/floors.py pyproject.toml clients/python/pyproject.toml requirements-dev.txt requirements.txt
	@sh tests/make-venv "$(PYTHON)" "$(FLOORS)"
	@$(FLOORS)/bin/python tests/programs/floors.py > $(FLOORS)/requirements.txt
	@echo "installing the lowest versions that pyproject.toml allows into $(FLOORS)"
	@$(FLOORS)/bin/python -m pip install --quiet --disable-pip-version-check -r $(FLOORS)/requirements.txt
	@touch $@

# Every failure with 200 members instead of 80 and three times as many events as among the fault tests, and five minutes of
# all of them at once. Ten minutes.
faults-long: $(VENV)/.test-ready servers
	PEATIO_WS_TEST_SECONDS=300 PEATIO_WS_TEST_MEMBERS=200 PEATIO_WS_TEST_RATE=300 $(BIN)/python -m pytest -s tests/faults/test_no_fill_is_lost.py

# Two nodes of RabbitMQ: a replica of the history stream is deleted, its node is killed, and comes back. Three nodes are killed,
# restarted and frozen. Redis with Sentinel: the primary is killed, frozen and replaced on request. Ten minutes; short forms
# are among the fault tests.
CLUSTERS := cluster cluster_of_three redis_failover
cluster-long: $(VENV)/.test-ready servers
	PEATIO_WS_TEST_MEMBERS=200 PEATIO_WS_TEST_RATE=300 $(BIN)/python -m pytest -s -m "long or not long" $(CLUSTERS:%=tests/faults/test_%.py)

# A member is disconnected while 1,000 clients behind nginx reconnect; Redis is frozen and stopped; gateways with 1,000 clients
# are reloaded and end. Run nothing else meanwhile.
steering-long: $(VENV)/.test-ready servers
	PEATIO_WS_TEST_CLIENTS=1000 $(BIN)/python -m pytest -s tests/faults/test_steering.py tests/faults/test_drain.py

# Two minutes of a quiet broker over TLS; the short form is among the live tests.
amqps-long: $(VENV)/.test-ready servers
	PEATIO_WS_TEST_SECONDS=120 $(BIN)/python -m pytest -s tests/live/test_amqps.py -k quiet

# History streams are made 20 times by new gateways and 20 times under running ones, next to a publisher that gives up
# at the first error. About a minute; the short form is among the live tests.
renewals-long: $(VENV)/.test-ready servers
	$(BIN)/python -m tests.programs.renewals

# The broker is restarted under 4 workers with 10,000 members each; its connections are closed under clients with 60,000
# names; clients change their names for 20 s. Five minutes and 4 GB.
crowds-long: $(VENV)/.test-ready servers
	$(BIN)/python -m tests.programs.crowds members
	$(BIN)/python -m tests.programs.crowds streams
	$(BIN)/python -m tests.programs.crowds churn

# 500 followers of all views of a book come and go while it changes 500 times a second, with holes and snapshots; then the tests
# of books at that rate. Three minutes; the short forms are among the live and fault tests.
views-long: $(VENV)/.test-ready servers
	$(BIN)/python -m pytest -s -m long tests/live/test_views.py
	PEATIO_WS_TEST_RATE=500 $(BIN)/python -m pytest -s -m "long or not long" tests/live/test_books.py tests/faults/test_books.py

# Ten minutes; its short form is among the fault tests.
soak: $(VENV)/.test-ready servers
	$(BIN)/python -m tests.programs.soak

# Messages that no client should send, at a real gateway; their short form is among the fault tests.
fuzz: $(VENV)/.test-ready servers
	$(BIN)/python -m tests.programs.fuzz --count $(FUZZ)

# How attacks of anonymous clients affect members: 30 attacks with 10, 100 and 1,000 connections. Ten minutes, in which nothing
# else should run; the short form is among the fault tests. `ROOT=../other make attack` attacks the gateway of another checkout;
# `ATTACK=--control` shows how much of a latency is the machine's.
attack: $(VENV)/.test-ready servers
	@$(BIN)/python -m tests.programs.attack --root "$(or $(ROOT),.)" $(ATTACK)

# The pictures of the console and of the operator's page in the documents.
screenshot: $(VENV)/.test-ready servers
	@$(BIN)/python -m tests.programs.screenshot

# In a separate virtual environment: the gateway must not load packages of the alternatives.
bench: .venv-bench/.ready bench/node_modules/.ready servers
	@sh bench/install-compiler
	@.venv-bench/bin/python -m bench $(BENCH)

.venv-bench/.ready: requirements.txt bench/requirements.txt
	@sh tests/make-venv "$(PYTHON)" .venv-bench
	@.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check -r bench/requirements.txt
	@touch $@

bench/node_modules/.ready: bench/package-lock.json | servers
	@cd bench && npm ci --silent
	@touch $@

# What a release consists of, into dist/: packages, the image's context, the list of its contents, the chart, checksums. Each is
# installed and used in an empty environment. About three minutes.
dist: .venv-dist/.ready servers
	@.venv-dist/bin/python -m tests.programs.dist

.venv-dist/.ready: deploy/dist-requirements.txt tests/programs/helm.py
	@sh tests/make-venv "$(PYTHON)" .venv-dist
	@.venv-dist/bin/python -m pip install --quiet --disable-pip-version-check -r deploy/dist-requirements.txt
	@.venv-dist/bin/python -m tests.programs.helm
	@touch $@

SPELLED = README.md CHANGELOG.md $(wildcard docs/*.md docs/*/*.md bench/*.md clients/*/*.md deploy/*/*/*.md examples/*/*.md)
# The site, into build/docs; a warning is an error, and so is a misspelt word or a cliché. In a separate virtual environment, as for
# the bench.
docs: .venv-docs/.ready docs/node_modules/.ready
	@node docs/check-asyncapi.mjs
	@.venv-docs/bin/codespell $(SPELLED)
	@.venv-docs/bin/proselint check --config docs/proselint.json --output-format compact $(SPELLED)
	@.venv-docs/bin/python -m sphinx -E -W --keep-going -q -b html docs build/docs
	@echo "build/docs/index.html"

.venv-docs/.ready: docs/requirements.txt
	@sh tests/make-venv "$(PYTHON)" .venv-docs
	@.venv-docs/bin/python -m pip install --quiet --disable-pip-version-check -r docs/requirements.txt
	@touch $@

# Without the scripts of packages: one of them reports installations to its makers.
docs/node_modules/.ready: docs/package-lock.json | servers
	@cd docs && npm ci --silent --ignore-scripts
	@touch $@

servers:
	@sh tests/install-servers "$(PYTHON)" "$(VENV)"

$(VENV)/bin/python:
	@sh tests/make-venv "$(PYTHON)" "$(VENV)"

$(VENV)/.run-ready: requirements.txt | $(VENV)/bin/python
	@echo "installing what requirements.txt names into $(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

# The wheels of all these packages. Tests that install packages as a user does take them from here: of the CPU time of such
# an installation, two thirds is to read the index. One test uses Debian's Python, for which redis needs async-timeout.
WHEELS := $(VENV)/wheels
$(WHEELS)/.ready: requirements-dev.txt requirements.txt $(wildcard examples/*/requirements.txt) | $(VENV)/bin/python
	@echo "downloading what requirements-dev.txt names into $(WHEELS)"
	@$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --wheel-dir $(WHEELS) -r requirements-dev.txt "setuptools>=77" async-timeout==5.0.1
	@touch $@

# Modules are compiled when they are first imported; most of them never are.
$(VENV)/.test-ready: $(WHEELS)/.ready tests/programs/helm.py | $(VENV)/bin/python
	@echo "installing what requirements-dev.txt names, and Helm, into $(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --no-index --find-links $(WHEELS) -r requirements-dev.txt
	@$(BIN)/python -m tests.programs.helm
	@touch $@ $(VENV)/.run-ready

clean:
	rm -rf .venv .venv-* bench/node_modules clients/js/node_modules docs/node_modules examples/node_modules
	rm -rf .run .cache build dist *.egg-info .mypy_cache .ruff_cache .hypothesis
