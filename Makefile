# Everything happens in .venv; outside the checkout: the rendered sample (~/.cache/bintally) and, for the
# browser tests, Debian's Chromium; for the MQTT tests, its Mosquitto.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCE ?=
RECIPE ?= $(if $(SOURCE),recipes/quick.toml,recipes/sample.toml)
SERVE ?= 1
# A workspace holds photos of one source.
WORKSPACE ?= runs/make$(if $(SOURCE),-$(shell printf %s "$(SOURCE)" | cksum | cut -d" " -f1))
PORT ?= 8080

.PHONY: help install install-dev run test lint soak bench results clean

help:  ## what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 14

install: $(VENV)/installed  ## bintally with everything that training needs, into .venv

run: install  ## the whole job on the rendered sample (or SOURCE=DIR), then the page on http://127.0.0.1:8080
	@$(BIN)/bintally pipeline run $(RECIPE) $(if $(SOURCE),--source "$(SOURCE)") --workspace $(WORKSPACE)
ifneq ($(SERVE),0)
	@$(BIN)/bintally serve $(WORKSPACE)/bundle --port $(PORT)
endif

test: install-dev  ## all tests, with a seeded sample of the long campaigns
	@$(BIN)/pytest -n 2 --dist loadfile -m "not soak"

soak: install-dev  ## the long crash, fuzz and load campaigns, whole
	@$(BIN)/pytest -m soak --timeout 3600

lint: install-dev  ## ruff, mypy (strict, code and tests), import directions
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

bench: install-dev  ## every benchmark, figures printed
	@for file in benchmarks/*.py; do echo "== $$file"; $(BIN)/python $$file || exit 1; done

results: install  ## every training behind docs/results.md, with SOURCE=DIR (about 5 hours on 2 cores), and its table
	@$(MAKE) --no-print-directory -f tools/results.mk results BIN=$(BIN) SOURCE="$(SOURCE)" VERIFICATION="$(VERIFICATION)"

clean:  ## what runs and tests leave behind (not .venv)
	rm -rf runs .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "bintally needs Python 3.11 or newer"'
	@$(PYTHON) -m venv $(VENV)
	@$@ -m pip install --quiet --disable-pip-version-check --upgrade pip  # --group needs pip 25.1

$(VENV)/installed: $(VENV)/bin/python pyproject.toml
	@echo "Installing into $(VENV): about 5.5 GB with torch, some minutes the first time."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[train,tune]'
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed pyproject.toml
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --group dev
	@touch $@

install-dev: $(VENV)/installed-dev
	@command -v chromium >/dev/null || { echo "Installing Debian's Chromium for the browser tests"; \
	  { [ "$$(id -u)" = 0 ] && apt-get update -qq && apt-get install -y -qq chromium >/dev/null; } \
	  || echo "chromium can't be installed here: the browser tests will say that they were skipped"; }
	@command -v mosquitto >/dev/null || [ -x /usr/sbin/mosquitto ] || { echo "Installing Debian's Mosquitto for the MQTT tests"; \
	  { [ "$$(id -u)" = 0 ] && apt-get update -qq && apt-get install -y -qq mosquitto >/dev/null; } \
	  || echo "mosquitto can't be installed here: the MQTT tests will say that they were skipped"; }
