# `make serve` and `make test` work on a bare Debian with Python 3.11 and make.

PYTHON ?= $(shell for python in python3.11 python3.12 python3.13 python3; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
BIN := .venv/bin
# Number of test files that run in parallel. Many tests only wait for other processes.
PROCESSES ?= 2
# LONG=1 also runs the tests that are marked `long`, as CI does.
LONG ?=
# Duration of the fault injection, in seconds.
TORTURE_SECONDS ?= 600
# umask 022 below: if root starts the server, it runs under another account, which must be able to read its programs.
SOURCES := pyproject.toml constraints.txt
# It also applies to the build of the package. The path is relative, because pip would split a path with spaces.
export PIP_CONSTRAINT := constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# The output of a failed pip is long and rarely names the cause, so it is written to a file.
# Until November 2026 the package was named saldo, which is another project on the package index. Both packages install
# the same console script, so the old package is removed before the new one is installed.
install = ! ls -d .venv/lib/python*/site-packages/saldo-*.dist-info >/dev/null 2>&1 || \
	$(BIN)/python -m pip uninstall -q -y saldo >.venv/pip.log 2>&1; \
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[$(EXTRAS)]' >.venv/pip.log 2>&1 || { \
	echo "saldo: pip can't install the packages; check the network connection and .venv/pip.log" >&2; exit 1; }

.PHONY: help serve test lint docs fuzz torture bench bench-full release clean

help: ## List the targets
	@grep -E '^[a-z-]+:.*## ' Makefile | sed 's/:.*## /\t/'

serve: .venv/.serve ## Set up Saldo and run the service on port 8000
	@[ "$$(id -u)" != 0 ] || export SALDO_AS_ROOT="$${SALDO_AS_ROOT:-true}"; exec $(BIN)/saldo serve

test: .venv/.test ## Set up Saldo and run the tests (LONG=1 adds the long ones, ARGS= is passed to pytest, PROCESSES=2 run in parallel)
	@$(BIN)/python -m pytest --numprocesses $(PROCESSES) --dist loadfile --no-loadscope-reorder $(if $(LONG),,-m "not long") $(ARGS)

lint: .venv/.test ## Check style, types and import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: .venv/.test ## Build the documentation site into build/website
	@$(BIN)/python -m website

fuzz: .venv/.test ## Fuzz the service and its parsers for SALDO_FUZZ_SECONDS (default 600; 0 runs until stopped)
	@$(BIN)/python -m tests.fuzz

torture: .venv/.test ## Inject faults for TORTURE_SECONDS (default 600), then check what the clients saw (ARGS='--seed …')
	@$(BIN)/python -m torture --seconds $(TORTURE_SECONDS) $(ARGS)

bench: .venv/.bench ## Run the short benchmarks, which take some minutes (ARGS='--only bulk'; see docs/benchmarks)
	@$(BIN)/python -m benchmarks $(ARGS)

bench-full: .venv/.bench ## Run all benchmarks, with up to 10,000,000 entries, which takes about an hour
	@$(BIN)/python -m benchmarks --full $(ARGS)

release: .venv/.test ## Build the files of a release into dist (SIGNING_KEY=: an SSH key that signs them; IMAGE=1 adds the image)
	@$(BIN)/python -m release $(if $(SIGNING_KEY),--signing-key "$(SIGNING_KEY)") $(if $(IMAGE),--image) $(ARGS)

clean: ## Remove the virtual environment and caches, but no data
	rm -rf .venv dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .schemathesis .import_linter_cache

.venv/.python:
	@test -n "$(PYTHON)" || { echo "saldo: Python 3.11 or newer was not found; set PYTHON=" >&2; exit 1; }
	@rm -rf .venv
	@umask 022; if $(PYTHON) -c 'import ensurepip' 2>/dev/null; then $(PYTHON) -m venv .venv; \
	elif $(PYTHON) -m pip --version >/dev/null 2>&1; then \
		$(PYTHON) -m venv --without-pip .venv && $(PYTHON) -m pip -q --python $(BIN)/python install pip; \
	else echo "saldo: this Python can't create virtual environments: apt-get install python3-venv" >&2; exit 1; fi
	@touch $@

.venv/.serve: EXTRAS := server
.venv/.serve: .venv/.python $(SOURCES)
	@echo "setting up (once) ..."
	@umask 022; $(install)
	@touch $@

.venv/.test: EXTRAS := test
.venv/.test: .venv/.python $(SOURCES)
	@echo "setting up for the tests (once) ..."
	@umask 022; $(install)
	@touch $@ .venv/.serve

.venv/.bench: EXTRAS := test,bench
.venv/.bench: .venv/.test
	@echo "setting up for the benchmarks (once) ..."
	@umask 022; $(install)
	@touch $@
