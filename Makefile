# Two commands do all on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LOCK := .ci/requirements.lock
STAMP := $(VENV)/.installed
export PATH := $(CURDIR)/$(BIN):$(PATH)

.DEFAULT_GOAL := help
.PHONY: help setup peers kernel demo test lint verify verify-long bench sim generated lock clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(STAMP): $(LOCK) pyproject.toml
	@PYTHON="$(PYTHON)" .ci/make-venv $(VENV) $(LOCK)

setup: $(STAMP) ## .venv from the lock, system packages through apt
	@.ci/system-packages

demo: setup ## three home agents on this machine: failures, takeovers, a flood
	@$(BIN)/python -m harp.lab.demo

peers: setup
	@.ci/system-packages peers

test: peers ## the test suite (at most 10 minutes on 2 cores)
	@$(BIN)/pytest -n 2 --dist loadgroup

kernel: setup
	@.ci/system-packages verify

verify: kernel ## the long ones: sweeps, frames, proofs, mutants, place and route (at most 75 minutes)
	@HARP_VERIFY=1 HARP_MUTANTS=all HARP_SCENARIOS=20000 HARP_FRAMES=200000 HARP_LINE_FRAMES=10000 \
		$(BIN)/pytest -n 2 --dist loadgroup --timeout 3600
	@$(BIN)/harp-board report core

verify-long: kernel ## the same at full length, without a limit
	@HARP_VERIFY=1 HARP_MUTANTS=all HARP_SCENARIOS=200000 HARP_FRAMES=2000000 HARP_LINE_FRAMES=100000 \
		HARP_BUSY_S=600 \
		$(BIN)/pytest -n 2 --dist loadgroup --timeout 86400
	@$(BIN)/harp-board report core --seeds 5

lint: setup ## ruff and mypy
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

bench: setup ## benchmarks as JSON
	@$(BIN)/harp-lab bench --json

sim: setup ## cases of the gateware in simulation: CASE=, SEED=, WAVES=1; none: the random mix
	@$(BIN)/python -m harp_sim $(if $(CASE),--case $(CASE)) $(if $(SEED),--seed $(SEED)) \
		$(if $(WAVES),--waves)

generated: setup ## write again what comes from the tables: reference pages, dissector, diagrams
	@$(BIN)/python -m harp.reference
	@$(BIN)/python -m harp.engine.diagram
	@$(BIN)/python -m harp.daemon.config.reference

lock: $(STAMP) ## pin the newest versions that pyproject.toml allows
	@$(BIN)/python -m pip install --quiet uv
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
		--no-header --no-annotate --all-extras pyproject.toml --output-file $(LOCK)

clean: ## remove what was built, not .venv
	@rm -rf build
