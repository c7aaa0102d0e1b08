# These commands need only make and Python 3.11 or newer. Each target works on its own.

PYTHON ?= python3
BIN := .venv/bin

# Keep the compiled tests between runs.
unexport PYTHONDONTWRITEBYTECODE

# The output is also written to files, a failing command fails the pipeline, and there is no time limit.
long interleavings: export PYTEST_TIMEOUT = 0
long interleavings: SHELL := bash
long interleavings: .SHELLFLAGS := -o pipefail -c

.SILENT:
.DELETE_ON_ERROR:
.PHONY: test demo lint types docs lists check-all matrix repeat bench long interleavings

# Run the quick tests, on SQLite. CI measures their coverage.
test: .venv/test.stamp
	$(BIN)/pytest --numprocesses auto --dist worksteal -m "not browser and not clients and not fuzz and not kms and not node and not processes and not providers and not slow"

# Run the example project with a fake Google: make demo [PORT=8001] [APP_PORT=8003] [GOOGLE_PORT=8766]
demo: .venv/example.stamp
	$(BIN)/python example_project/manage.py demo $(PORT:%=--port %) $(APP_PORT:%=--app-port %) $(GOOGLE_PORT:%=--google-port %)

lint: .venv/lint.stamp
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports --no-logo
	$(BIN)/codespell

types: .venv/types.stamp
	$(BIN)/mypy

# Build the documentation into docs/_build/html. Needs Graphviz.
docs: .venv/docs.stamp
	$(BIN)/sphinx-build --fail-on-warning --keep-going --quiet --builder html docs docs/_build/html
	echo "Open docs/_build/html/index.html"

# List every text that users and operators read, and the message for each mistake, to review them.
lists: .venv/test.stamp
	mkdir -p docs/_build
	$(BIN)/python tools/list_sentences.py > docs/_build/sentences.md
	$(BIN)/python tools/list_mistakes.py > docs/_build/mistakes.md
	echo "Read docs/_build/sentences.md and docs/_build/mistakes.md"

check-all: lint types test

# Measure speed and memory, compared with other packages, into benchmarks/results.md. Needs PostgreSQL.
bench: .venv/bench.stamp
	$(BIN)/python -m benchmarks

# The long tests, a part of which CI runs: killed workers, lost connections, a week of refreshes, and
# concurrent operations on each database and isolation level. Needs PostgreSQL and MariaDB.
long: export LONG = whole
long: RUN := $(BIN)/pytest --capture=no --quiet --no-header -p no:randomly -m processes
long: RESULTS := tests/long/results.txt
long: .venv/long.stamp
	$(RUN) tests/long tests/views | tee $(RESULTS)
	TEST_DATABASE=postgresql $(RUN) tests/long | tee --append $(RESULTS)
	TEST_DATABASE=mysql $(RUN) tests/long/test_chaos.py | tee --append $(RESULTS)
	TEST_DATABASE=postgresql TEST_ISOLATION="repeatable read" $(RUN) tests/long/test_chaos.py | tee --append $(RESULTS)
	TEST_DATABASE=postgresql TEST_ISOLATION=serializable $(RUN) tests/long/test_chaos.py | tee --append $(RESULTS)
	$(BIN)/pytest --capture=no --quiet --no-header -p no:randomly tests/operations/test_bad_googles.py | tee --append $(RESULTS)
	$(BIN)/pytest --capture=no --quiet --no-header -p no:randomly tests/views/test_hostile_security_events.py | tee --append $(RESULTS)

# Two concurrent operations in every order of their steps with two switches, with and without a
# transaction of the caller. Needs PostgreSQL. To repeat one: make interleavings ONLY="same,link,unlink,3,5"
interleavings: export LONG = whole
interleavings: export TEST_DATABASE = postgresql
interleavings: RUN := $(BIN)/pytest --quiet --no-header -p no:randomly tests/interleavings
interleavings: .venv/test.stamp
ifdef ONLY
	ONLY="$(ONLY)" ATOMIC=$(ATOMIC) $(RUN) -k asked_for
else
	echo "Each alone:" | tee tests/long/interleavings.txt
	$(RUN) -k harm --numprocesses auto --dist worksteal | tee --append tests/long/interleavings.txt
	echo "Each in a transaction of the caller's:" | tee --append tests/long/interleavings.txt
	ATOMIC=yes $(RUN) -k harm --numprocesses auto --dist worksteal | tee --append tests/long/interleavings.txt
endif

# Everything that CI runs: each Python and Django, coverage, PostgreSQL, MariaDB, a browser, the wheel.
matrix: .venv/tox.stamp
	$(BIN)/tox run-parallel --parallel 2 --parallel-no-spinner

# Repeat tests to find those that fail sometimes: make repeat [N=20] [ENV=py313-django61-postgresql]
repeat: N ?= 20
repeat: ENV ?= py311-django52-processes,py313-django61-processes
repeat: .venv/tox.stamp
	for run in $$(seq $(N)); do echo "Run $$run of $(N)"; $(BIN)/tox run -e $(ENV) || exit; done

.venv/test.stamp .venv/example.stamp .venv/lint.stamp .venv/types.stamp .venv/tox.stamp .venv/bench.stamp .venv/docs.stamp .venv/long.stamp: \
.venv/%.stamp: pyproject.toml setup.cfg | $(BIN)/python
	echo "Installing what '$*' needs into .venv:"
	rm -f $@
	# Older versions of pip do not support dependency groups.
	$(BIN)/python -m pip install --quiet --quiet --upgrade pip
	# Of pip's output, print the names of packages, and everything after an error. The stamp marks success.
	{ $(BIN)/python -m pip install --editable '.[api,testing]' --group $* && touch $@; } 2>&1 | awk ' \
	/^Collecting / {sub(/[^A-Za-z0-9._-].*/, "", $$2); printf " %s", $$2} \
	/^Installing / {print "; unpacking"} \
	/^ *(ERROR|error)/ {failed = 1} \
	failed || /^WARNING: Retrying/ {print} \
	{fflush()}'
	test -f $@

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("This needs Python 3.11 or newer: make PYTHON=python3.13")'
	echo "Making a virtual environment in .venv"
	$(PYTHON) -m venv .venv
