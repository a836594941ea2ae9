# `make run` and `make test` need Python 3.11+ (with venv), Java 17+ and Maven, and nothing prepared.
PYTHON ?= python3
PYTEST_ARGS ?=
# Most of the tests wait for something: four at once keep two processors busy.
PROCESSES ?= 4
VENV := .venv
PY := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed
# What passed the linters is not looked at again until it changes.
LINTED := build/.linted
SOURCES := pyproject.toml $(shell find streams producers schemas tests docker -name '*.py' -o -name '*.avsc')
FOREGROUND := $(PY) docker/foreground.py

.DEFAULT_GOAL := help
.PHONY: help setup run test lint broker bench chaos lock models engine images smoke up down clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' Makefile

setup: $(INSTALLED) ## make the virtual environment (.venv) and install the project into it

$(INSTALLED): pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "error: $(PYTHON) is missing or older than 3.11; install Python 3.11 or newer, or name one: make PYTHON=python3.12 ..." >&2; \
	  exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
	  echo "error: $(PYTHON) has no venv module; install it (Debian, Ubuntu: apt install python3-venv)" >&2; exit 1; }
	@echo "Installing into $(VENV) ..."
	@test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --disable-pip-version-check --progress-bar on --require-hashes -r requirements.lock
	$(PY) -m pip install --disable-pip-version-check --no-deps -e .
	@touch $@

run: setup ## the demonstration: broker, worker, jobs; until Ctrl-C, or SECONDS=n
	@$(if $(SECONDS),env SECONDS=$(SECONDS)) $(FOREGROUND) $(PY) -m streams.demo

lint: $(LINTED)

$(LINTED): $(INSTALLED) $(SOURCES)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	$(PY) -m mypy docker/*.py
	$(PY) -m schemas.generate --check
	@mkdir -p $(@D) && touch $@

test: lint ## lint, type-check and run all tests; PYTEST_ARGS="--broker embedded -k lanes" and the like
	$(PY) -m pytest -n $(PROCESSES) --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

broker: setup ## an embedded Kafka on port 9092, until Ctrl-C
	@$(FOREGROUND) $(PY) docker/broker.py

bench: setup ## the benchmarks, against their goals
	$(PY) -m tests.benchmarks

chaos: setup ## workers and broker disturbed at random, by hand: make chaos SECONDS=1800 SEED=7 BROKERS=3
	$(PY) -m tests.chaos $(if $(SECONDS),--seconds $(SECONDS)) $(if $(SEED),--seed $(SEED)) \
	  $(if $(BROKERS),--brokers $(BROKERS)) $(if $(ONLY),--only $(ONLY)) $(if $(WITHOUT),--without $(WITHOUT)) \
	  $(if $(PATIENCE),--patience $(PATIENCE))

LOCK := -m uv pip compile pyproject.toml --universal --generate-hashes --python-version 3.11 \
  --no-emit-index-url --no-header --no-annotate --quiet
lock: setup ## lock the newest versions that pyproject.toml allows, in requirements.lock and docker/worker
	$(PY) $(LOCK) --upgrade --extra dev -o requirements.lock
	$(PY) $(LOCK) --extra worker -c requirements.lock -o docker/worker/requirements.lock

models: setup ## generate schemas/models anew from the .avsc files
	$(PY) -m schemas.generate

engine: ## a Docker engine where none answers (Debian, root); docker/engine.sh stop ends it
	docker/engine.sh start
	@docker/engine.sh env

images: setup ## build the images kafka-jobs/kafka and kafka-jobs/worker
	docker/images.sh

smoke: ## start both images together, wait until they are healthy, stop them in order
	docker/smoke.sh

up: images ## Kafka, schema registry and a worker as containers
	docker compose -f docker/compose.yaml up --detach --wait

down: ## stop what `make up` has started; the data stays
	docker compose -f docker/compose.yaml down

clean: ## remove the virtual environment, builds and the embedded broker's data
	docker/engine.sh stop
	rm -rf $(VENV) build dist .data *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
