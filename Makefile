# The two commands of the README are `make demo` and `make test`; each sets up what it needs, once.
# A stamp file beside each environment says that it is complete, so a second call installs nothing.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
PY := .venv/bin/python
KINESIS_LOCAL := tests/integration/kinesis_local
READY := .venv/.ready
# ministack pins a botocore older than AT_TIMESTAMP on DynamoDB Streams needs, so it gets an environment of its own.
MINISTACK := ministack==1.5.33
MINISTACK_READY := .venv-ministack/.ready-$(subst ==,-,$(MINISTACK))
BENCH_READY := .venv/.ready-bench
DEPLOY_READY := .venv/.ready-deploy
NPM_READY := $(KINESIS_LOCAL)/node_modules/.ready
PIP := -m pip --disable-pip-version-check --no-input
# One line a package, and nothing of where it comes from.
PROGRESS := sed -un 's/^Collecting \([A-Za-z0-9_.-]*\).*/  \1/p; s/^Successfully installed.*/  done/p'

LEASEHOLD_MINISTACK ?= $(CURDIR)/.venv-ministack/bin/ministack
export LEASEHOLD_MINISTACK
SEEDS ?= 10000
ROUNDS ?= 200

.PHONY: help demo test simulate mutants soak scale chaos lint format bench timings kcl-peer kcl-matrix wheel config-table deploy-check clean python-present kinesis-local

help: ## Say what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(READY) $(MINISTACK_READY) ## Three workers on a real table and a rotating stream, one killed, one stopped (ARGS="--source kinesis")
	@.venv/bin/leasehold demo $(ARGS)

test: $(READY) $(MINISTACK_READY) kinesis-local ## Every test (ARGS="-k lease" for some); says at its end what it did not run
	@$(PY) -m pytest --numprocesses auto --maxprocesses 4 --dist loadgroup $(ARGS)

simulate: $(READY) ## Many seeds of the three simulated worlds in parallel (SEEDS=10000 JOBS=2 ARGS="--world fleet --start 5000")
	@$(PY) -m tests.simulation --seeds $(SEEDS) $(if $(JOBS),--jobs $(JOBS)) $(ARGS)

mutants: $(READY) ## Each safeguard switched off, over 100 seeds, and its faults with it in place (ARGS="--seeds 30 --json trust")
	@$(PY) -m tests.simulation.mutants $(ARGS)

chaos: $(READY) $(MINISTACK_READY) ## Real processes killed, frozen, stopped and cut off, 20 minutes (ROUNDS=200 SEED=1 ARGS="--source kinesis")
	@$(PY) -m tests.chaos --rounds $(ROUNDS) $(if $(SEED),--seed $(SEED)) $(ARGS)

scale: $(READY) ## The leases of 200 workers and 10,000 shards: time to balance, moves, cost (ARGS="--shards 1000 --workers 50 --json")
	@$(PY) -m tests.simulation.scale --read-units 30000 --steady-seconds 40 $(ARGS)

soak: $(READY) ## A virtual week of hangs, deaths and 42 rotations; a line a day, then JSON (ARGS="--days 1")
	@$(PY) -m tests.simulation.fleet.soak $(ARGS)

lint: $(READY) ## ruff and mypy --strict
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy --strict

format: $(READY) ## Let ruff lay out the code
	$(PY) -m ruff check --fix-only .
	$(PY) -m ruff format .

bench: $(BENCH_READY) $(MINISTACK_READY) ## This consumer beside boto3, aiobotocore, async-kinesis and Java: a table and a plot (ARGS="kinesis --rounds 15")
	@$(PY) -m tests.benchmarks $(ARGS)

timings: $(READY) $(MINISTACK_READY) ## How long takeovers, hand-offs, starts and ends of shards take, as JSON
	@$(PY) -m tests.benchmarks.timings $(ARGS)

kcl-peer: $(READY) ## Build the Java peer of the mixed-fleet tests, for each version of the KCL (Java 17 and Maven)
	@$(PY) -m tests.integration.kcl.java

kcl-matrix: $(READY) $(MINISTACK_READY) ## Java and Python on one table, every KCL and play, the KCL's own timers (ARGS="--edition kcl-3.5.1 --quick")
	@$(PY) -m tests.integration.kcl $(ARGS)

wheel: $(READY) ## Build the wheel, look into it, install it alone and ask for its version
	@rm -rf dist && $(PY) $(PIP) wheel --quiet --no-deps --wheel-dir dist .
	@$(PY) deploy/check_wheel.py dist/*.whl

config-table: $(READY) ## Write the tables of the configuration (README) and of the metrics (deploy/README) anew
	@$(PY) -m consumer.cli.config_table README.md
	@$(PY) -m consumer.cli.metrics_table deploy/README.md

deploy-check: $(DEPLOY_READY) ## Lint the Dockerfile and run its steps in a clean folder
	@echo "hadolint deploy/Dockerfile" && .venv/bin/hadolint deploy/Dockerfile
	@$(PY) deploy/run_steps.py

clean: ## Remove environments, builds and caches
	rm -rf .venv .venv-ministack dist build $(KINESIS_LOCAL)/node_modules tests/integration/kcl/target .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

python-present:
	@command -v $(PYTHON) >/dev/null || { echo "make: there is no $(PYTHON); on Debian: apt install python3 python3-venv" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "make: $(PYTHON) is $$($(PYTHON) --version 2>&1), Leasehold needs 3.11 or later; name another with PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "make: $(PYTHON) can't make virtual environments; on Debian: apt install python3-venv" >&2; exit 1; }

$(READY): pyproject.toml | python-present
	@echo "Setting up .venv (a minute, once) ..."
	@$(PY) -m pip --version >/dev/null 2>&1 || { rm -rf .venv; $(PYTHON) -m venv .venv; }
	@$(PY) $(PIP) install --quiet --upgrade 'pip>=25.1'
	@$(PY) $(PIP) install --group dev --editable '.[cli,testing]' | $(PROGRESS)
	@touch $@

$(BENCH_READY): $(READY)
	@$(PY) $(PIP) install --group bench | $(PROGRESS)
	@touch $@

$(DEPLOY_READY): $(READY)
	@$(PY) $(PIP) install --group deploy | $(PROGRESS)
	@touch $@

$(MINISTACK_READY): | python-present
	@echo "Setting up .venv-ministack ($(MINISTACK), once) ..."
	@rm -rf .venv-ministack && $(PYTHON) -m venv .venv-ministack
	@.venv-ministack/bin/python $(PIP) install '$(MINISTACK)' | $(PROGRESS)
	@touch $@

# A second opinion on resharding; without npm its tests are skipped and named at the end, which fails under CI=true.
kinesis-local:
	@if command -v npm >/dev/null && command -v node >/dev/null; then $(MAKE) -s $(NPM_READY); \
	else echo "npm or node is missing: the tests against kinesis-local will not run (on Debian: apt install npm)"; fi

$(NPM_READY): $(KINESIS_LOCAL)/package-lock.json
	@echo "Setting up kinesis-local (npm, once) ..."
	@npm ci --prefix $(KINESIS_LOCAL) --no-audit --no-fund --no-progress --loglevel=error
	@touch $@
