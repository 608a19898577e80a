# Everything a newcomer or a maintainer runs. `make film` and `make test` work on a bare clone.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
FILM := films/milo

.PHONY: help install film sheet test test-all check format docs lock clean

help:  ## Show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

install: $(STAMP)  ## Make .venv with the locked dependencies and this package

# Torch first and alone: a machine that has a build of its own (CPU only, or another CUDA) keeps it.
$(STAMP): pyproject.toml requirements.lock
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "$$(grep -E '^torch==' requirements.lock)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

film: $(STAMP)  ## Make a short film with the small model, in films/milo
	$(BIN)/storymem generate examples/storyland_film.yaml -o $(FILM)
	@echo "Look at $(FILM)/film.mp4 and $(FILM)/contact_sheet.png"

test: check  ## Lint, type-check and run the tests (a few minutes)
	$(BIN)/python -m pytest -n 2 -m "not slow"

test-all: check  ## The same with the slow tests: every fault at every write point, every benchmark
	$(BIN)/python -m pytest -n 2

check: $(STAMP)  ## Lint and type-check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

sheet: film  ## Show that film in the README: docs/images/milo.png
	$(BIN)/python tools/readme_sheet.py

format: $(STAMP)  ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(STAMP)  ## Write docs/commands.md from the command line itself
	$(BIN)/python docs/make_commands.py

lock: $(STAMP)  ## Pin the newest versions that pyproject.toml allows (torch stays where the constraint says)
	$(BIN)/python -m pip install --quiet pip-tools
	$(BIN)/pip-compile --quiet --upgrade --strip-extras --all-extras --no-header --no-emit-index-url \
	  --no-emit-find-links --no-emit-trusted-host --constraint constraints.txt --output-file requirements.lock pyproject.toml
	sed -i -E 's/^(torch==[0-9.]+)\+[a-z0-9]+/\1/' requirements.lock

clean:  ## Remove what was built (films stay)
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache
