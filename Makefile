# make run    start a PACS here, with its data in ./var
# make test   run every test
# make check  ruff and mypy
# make bench  a short comparison of speed with other servers that are installed (bench/README.md)
#
# Everything is installed into .venv; the wheel is built and installed anew when sources change.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
SOURCES := setup.cfg pyproject.toml README.md LICENSE \
	$(shell find santepacs twisted templates -type f -not -name '*.pyc' -not -name 'dropin.cache')

.PHONY: run test check bench format sample conformance clean

run: $(VENV)/installed
	exec $(BIN)/twistd --nodaemon --pidfile= santepacs $(ARGS)

test: $(VENV)/tools
	$(BIN)/python -m pytest --numprocesses=auto $(ARGS)

check: $(VENV)/tools
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/installed
	$(BIN)/python -m bench short

format: $(VENV)/tools
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The sample configuration is made from the settings' declarations; a test keeps it so.
sample: $(VENV)/installed
	$(BIN)/python -c 'from santepacs.settings import sample; print(sample(), end="")' > etc/santepacs.toml

# The DICOM Conformance Statement is made from the code's tables; a test keeps it so.
conformance: $(VENV)/installed
	$(BIN)/python -m docs.conformance_source

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' || \
		{ echo "santepacs needs Python 3.11 to 3.14: make run PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
		{ echo "Python's venv module is missing: install it (Debian: apt install python3-venv)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# A stale build folder would put deleted modules into the wheel. Listing the plugins writes
# Twisted's plugin cache while we may.
$(VENV)/installed: $(SOURCES) | $(BIN)/python
	rm -rf build santepacs.egg-info
	$(PIP) install .
	rm -rf build santepacs.egg-info
	@$(BIN)/python -c 'from twisted.plugin import IPlugin, getPlugins; list(getPlugins(IPlugin))'
	@touch $@

$(VENV)/tools: $(VENV)/installed setup.cfg
	$(PIP) install '.[test,check]'
	rm -rf build santepacs.egg-info
	@touch $@

clean:
	rm -rf $(VENV) build santepacs.egg-info
