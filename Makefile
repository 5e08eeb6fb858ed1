# Two commands on a fresh machine with Python >= 3.11, git and make: `make repro` and `make test`.
PYTHON ?= python3
VENV := .venv
READY := $(VENV)/.ready
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
# Compile bytecode once: without it every stage pays its imports twice.
unexport PYTHONDONTWRITEBYTECODE
unexport PYTHONPATH
unexport VIRTUAL_ENV

.PHONY: repro test test-slow test-remotes lint bench mlflow mlflow-server lock clean help

help: ## Show the commands
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

repro: $(READY) ## Run the chain (only what changed) and show the results
	@assay repro

# On all cores; a file of tests stays in one process, so that what its tests share is made once.
PYTEST := pytest --numprocesses logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder

test: $(READY) lint ## Lint, type-check and test
	$(PYTEST)

test-slow: $(READY) ## The long tests: whole chains on digits, more kills, real data where it is present
	$(PYTEST) -m slow

test-remotes: $(READY) ## Remotes on a folder, SSH and S3, against real servers (installs plugins that are not in the lock)
	uv pip install --quiet --constraint requirements.lock --group remotes
	pytest -m slow -rs tests/test_remotes.py

lint: $(READY)
	ruff check .
	ruff format --check .
	mypy

mlflow: $(READY) ## Open the tracked runs in a browser
	@case "$${MLFLOW_TRACKING_URI:-}" in http*) echo "open $$MLFLOW_TRACKING_URI" ;; \
		*) mlflow ui --backend-store-uri "$${MLFLOW_TRACKING_URI:-sqlite:///mlflow.db}" ;; esac

mlflow-server: $(READY) ## Serve a team's runs: MLFLOW_BACKEND_STORE_URI=postgresql+pg8000://… make mlflow-server
	@: "$${MLFLOW_BACKEND_STORE_URI:?postgresql+pg8000://USER:PASSWORD@HOST/DATABASE, see CONTRIBUTING.md}"
	@exec mlflow server --host "$${MLFLOW_HOST:-127.0.0.1}" --port "$${MLFLOW_PORT:-5000}" \
		--workers "$${MLFLOW_WORKERS:-4}" --artifacts-destination "$${MLFLOW_ARTIFACTS_DESTINATION:-mlartifacts}"

lock: $(READY) ## Resolve requirements.lock anew from pyproject.toml
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate \
		--no-header --upgrade --group dev pyproject.toml --output-file requirements.lock

clean: ## Remove the environment and the caches (data and tracked runs stay)
	rm -rf $(VENV) .assay .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(READY): requirements.lock bootstrap.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; name one with make PYTHON=…")'
	$(PYTHON) -m venv --clear $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r bootstrap.lock
	$(VENV)/bin/uv pip sync --quiet --require-hashes --compile-bytecode requirements.lock
	$(VENV)/bin/uv pip install --quiet --no-deps --no-build-isolation --offline --editable .
	@touch $(READY)
