# `make serve` and `make test` work on a bare Debian with Python 3.11 and make.

PYTHON ?= $(shell for python in python3.11 python3.12 python3.13 python3; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
BIN := .venv/bin
# Tests of different files run side by side; many of them wait for processes.
PROCESSES ?= 2
# LONG=1 runs the tests marked `long` as well, as CI does.
LONG ?=
# How long faults are done.
TORTURE_SECONDS ?= 600
# umask 022 below: started by root, the server runs as an account that must reach its binaries.
SOURCES := pyproject.toml constraints.txt
# For the build of the package too. Relative: pip would split a path with a space in it.
export PIP_CONSTRAINT := constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# pip says why in forty lines and doesn't name the reason; they are kept for who wants them.
# Up to November 2026 the package was called saldo, which is another project's name on the package index. Its console
# script is the new one's: it is removed before the new package is installed, not after.
install = ! ls -d .venv/lib/python*/site-packages/saldo-*.dist-info >/dev/null 2>&1 || \
	$(BIN)/python -m pip uninstall -q -y saldo >.venv/pip.log 2>&1; \
	$(BIN)/python -m pip install -q -c constraints.txt -e $(1) >.venv/pip.log 2>&1 || { \
	echo "saldo: pip can't install the packages: is there a network? It says why in .venv/pip.log" >&2; exit 1; }

.PHONY: help serve test lint docs fuzz torture bench bench-full release clean

help: ## Show what there is
	@grep -E '^[a-z-]+:.*## ' Makefile | sed 's/:.*## /\t/'

serve: .venv/.serve ## Set everything up and run the service on port 8000
	@[ "$$(id -u)" != 0 ] || export SALDO_AS_ROOT="$${SALDO_AS_ROOT:-true}"; exec $(BIN)/saldo serve

test: .venv/.test ## Set everything up and run the tests (LONG=1: the long ones as well; ARGS= goes to pytest; PROCESSES=2 at a time)
	@$(BIN)/python -m pytest --numprocesses $(PROCESSES) --dist loadfile --no-loadscope-reorder $(if $(LONG),,-m "not long") $(ARGS)

lint: .venv/.test ## Linters, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: .venv/.test ## Build the documentation site into build/website
	@$(BIN)/python -m website

fuzz: .venv/.test ## Fuzz the service and its parsers for SALDO_FUZZ_SECONDS (600; 0: until it is stopped)
	@$(BIN)/python -m tests.fuzz

torture: .venv/.test ## Kill, pause, cut and fill everything for TORTURE_SECONDS (600), then check what clients saw (ARGS='--seed …')
	@$(BIN)/python -m torture --seconds $(TORTURE_SECONDS) $(ARGS)

bench: .venv/.bench ## Measure the targets of speed, some minutes (ARGS='--only bulk'; see docs/benchmarks)
	@$(BIN)/python -m benchmarks $(ARGS)

bench-full: .venv/.bench ## The same with all sizes, up to 10,000,000 entries: about an hour
	@$(BIN)/python -m benchmarks --full $(ARGS)

release: .venv/.test ## Build the files of a release into dist (SIGNING_KEY=: an SSH key that signs them)
	@$(BIN)/python -m release $(if $(SIGNING_KEY),--signing-key "$(SIGNING_KEY)") $(ARGS)

clean: ## Remove what was set up (not the data)
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .schemathesis .import_linter_cache

.venv/.python:
	@test -n "$(PYTHON)" || { echo "saldo: no Python 3.11 or newer was found; set PYTHON=" >&2; exit 1; }
	@rm -rf .venv
	@umask 022; if $(PYTHON) -c 'import ensurepip' 2>/dev/null; then $(PYTHON) -m venv .venv; \
	elif $(PYTHON) -m pip --version >/dev/null 2>&1; then \
		$(PYTHON) -m venv --without-pip .venv && $(PYTHON) -m pip -q --python $(BIN)/python install pip; \
	else echo "saldo: this Python can't make virtual environments: apt-get install python3-venv" >&2; exit 1; fi
	@touch $@

.venv/.serve: .venv/.python $(SOURCES)
	@echo "setting up (once) ..."
	@umask 022; $(call install,'.[server]')
	@touch $@

.venv/.test: .venv/.python $(SOURCES)
	@echo "setting up for the tests (once) ..."
	@umask 022; $(call install,'.[test]')
	@touch $@ .venv/.serve

.venv/.bench: .venv/.test
	@echo "setting up for the benchmarks (once) ..."
	@umask 022; $(call install,'.[test,bench]')
	@touch $@
