# Each target is one line that works without make too: `make -n TARGET` shows it.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python3.10; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
TRAINER := examples/toy_legs/.venv
unexport PYTHONDONTWRITEBYTECODE

help: ## print the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 18

setup: .venv/.stamp ## make sweepctl's locked environment in .venv

.venv/.stamp: requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "error: no Python 3.10 or later found: install one or say make PYTHON=/path/to/python3" >&2; exit 1; }
	@echo "setup: sweepctl's environment in .venv" >&2
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || { echo "error: $(PYTHON) has no venv module: apt-get install python3-venv" >&2; exit 1; }
	@$(BIN)/python -m uv --version >/dev/null 2>&1 || $(BIN)/python -m pip install -q --disable-pip-version-check uv==0.13.9
	@$(BIN)/python -m uv pip install -q -p $(BIN)/python --require-hashes -r requirements.lock
	@$(BIN)/python -m uv pip install -q -p $(BIN)/python --no-deps -e .
	@touch $@

trainer: setup ## make the locked environment of the real trainer (Isaac Lab 3.0.0, CPU)
	@$(BIN)/python examples/toy_legs/setup_trainer.py

demo: trainer ## train a real sweep on this machine: 6 runs of Isaac Lab, two agents
	@PATH="$(CURDIR)/$(TRAINER)/bin:$$PATH" $(BIN)/sweepctl local examples/toy_legs/sweep.yaml --agents 2

test: trainer ## everything: lint, types, real training, a real cluster, real helm
	@$(MAKE) --no-print-directory lint type
	@$(BIN)/python -m tests.testbed build || test "$$CI" != true
	@$(BIN)/pytest -n 6 --dist loadgroup --ignore tests/cluster/test_disruptions.py tests
	@$(MAKE) --no-print-directory test-disruptions
test-cluster: testbed-up ## what runs on the real test bed: submit, the live verbs, the chart, training
	@$(BIN)/pytest -n 4 --dist loadgroup --ignore tests/cluster/test_disruptions.py tests/cluster
test-disruptions: trainer ## every disruption of a cluster, on a test bed of its own (root, Linux)
	@$(BIN)/pytest -q tests/cluster/test_disruptions.py

test-clients: setup ## every feature with eight versions of W&B's client; prints the table of docs/clients.md
	@SWEEPCTL_CLIENTS=all $(BIN)/pytest -q -n 4 --timeout 0 tests/contract/test_clients.py tests/contract/test_artifacts.py tests/contract/test_shared_mode.py tests/contract/test_branches.py tests/contract/test_old_clients.py

test-wandb: setup ## W&B's own system tests against the embedded server; fetches W&B's repository and client
	@$(BIN)/python -m tools.wandb_tests

check: setup lint type unit ## the quick inner loop: lint, types, unit tests

lint: setup ## ruff, format included
	@$(BIN)/ruff check . && $(BIN)/ruff format --check -q .
type: setup ## mypy --strict
	@$(BIN)/mypy
unit: setup ## unit tests, no trainer, no network; without those that are slow
	@SWEEPCTL_KILLS=2 $(BIN)/pytest -q -n 3 --dist worksteal --hypothesis-profile quick -m "not slow" tests/unit

golden: setup ## rewrite the golden files from what is printed now
	@$(BIN)/python tests/unit/test_spec_problems.py && SWEEPCTL_GOLDEN=write $(BIN)/pytest -q tests/unit/test_manifest_golden.py
testbed-up: trainer ## a real Kubernetes on this machine (root, Linux), ready for the example sweep
	@$(BIN)/python -m tests.testbed up >/dev/null && $(BIN)/python -m tests.testbed offer
testbed-down: setup ## take it down and leave nothing
	@$(BIN)/python -m tests.testbed down
testbed-shell: setup ## a shell in which sweepctl, kubectl and helm talk to the test bed
	@$(BIN)/python -m tests.testbed shell

fmt: setup ## format and fix what can be fixed
	@$(BIN)/ruff check --fix -q . ; $(BIN)/ruff format -q .

bench-overrides: setup ## 100,000 values through the real parsers, the ancestor's formatting beside ours
	@$(BIN)/python benchmarks/overrides.py
bench-reading: setup ## CPU of status, best, list and logs over a data folder
	@$(BIN)/python benchmarks/reading.py
bench-agent: setup ## idle time between two runs: our agent and the stock wandb agent
	@$(BIN)/python benchmarks/agent.py
bench-search: setup ## bayes on 30 noisy problems: ours, random and W&B's engine; the time of an ask
	@$(BIN)/python benchmarks/search.py
bench-server: setup ## the embedded server under 2,000 and 4,000 agents, beside one in memory; slow disk; big pages (6 min)
	@$(BIN)/python -m benchmarks.server
bench-pages: setup ## a sweep's page of 20, 500 and 4,000 runs: server time, bytes, first picture and brushing in Chromium
	@$(BIN)/python benchmarks/pages.py
bench-leaving: trainer ## from SIGTERM to exit with the checkpoint at the server: 1, 10 and 100 MB, a plain trainer and Isaac Lab
	@$(BIN)/python -m benchmarks.leaving --isaaclab
bench-restart: setup ## from a server's start to its first answer, with 5,000 runs and with none
	@$(BIN)/python benchmarks/restart.py
bench-bytecode: trainer ## a short training with the bytecode cache of pods and without, cold and warm
	@$(BIN)/python benchmarks/bytecode.py
bench-reward-debt: trainer ## what an interruption costs in reward: 20 pairs of real trainings, an hour or two
	@$(TRAINER)/bin/python benchmarks/reward_debt.py
bench-companion: trainer ## iterations per second of a real training with the companion and without
	@$(BIN)/python benchmarks/companion.py
bench-cluster: testbed-up ## the cluster's verbs with 1,000 agents: kubectl and wandb.Api beside ours
	@$(BIN)/python benchmarks/cluster.py
bench-disruptions: trainer ## 100 mixed disruptions of 20 agents, and of 8 stock wandb agents beside them (root, Linux; half an hour)
	@$(BIN)/python benchmarks/disruptions.py

screenshots: setup ## every page as a real Chromium shows it, in build/screenshots; renews the pictures of the docs
	@$(BIN)/python -m tests.screenshots

chart: setup ## renew the settings in its README; write dist/isaac-sweep-VERSION.tgz, reproducibly
	@$(BIN)/python -m tools.chart --package dist
test-gpu: trainer ## the real trainer told to leave, killed and taken up again on an NVIDIA GPU, cuda:0
	@CI=true SWEEPCTL_TEST_DEVICE=cuda:0 $(BIN)/pytest -v -p no:xdist -k "not two_processes" tests/contract/test_companion_isaaclab.py tests/contract/test_companion_states.py
test-parity: setup ## chart and `sweepctl render` over 5,000 random settings
	@SWEEPCTL_PARITY_EXAMPLES=5000 $(BIN)/pytest -q --timeout 0 tests/chart/test_parity.py
test-fuzz: setup ## 10,000 random requests to the embedded server: none is answered with 5xx
	@SWEEPCTL_FUZZ_REQUESTS=10000 $(BIN)/pytest -q --timeout 0 tests/unit/test_server_fuzz.py
test-kills: setup ## SIGKILL to the server at 200 random moments under load, and to upgrades at 200 of theirs
	@SWEEPCTL_KILLS=200 $(BIN)/pytest -q -s --timeout 0 tests/contract/test_server_kills.py tests/unit/test_server_formats.py -k kill
lock: setup ## renew requirements.lock from pyproject.toml
	@$(BIN)/python -m uv pip compile -q pyproject.toml --group dev --universal --generate-hashes --no-header --python-version 3.10 -o requirements.lock --upgrade

version: setup ## set the version everywhere: make version VERSION=0.2.0
	@$(BIN)/python -m tools.version "$(VERSION)" && $(MAKE) --no-print-directory setup golden

clean: ## remove the environments and caches of this checkout
	@rm -rf .venv $(TRAINER) .mypy_cache .ruff_cache .pytest_cache .hypothesis

.PHONY: help setup trainer demo test test-cluster test-disruptions test-clients test-wandb check lint type unit golden testbed-up testbed-down testbed-shell fmt bench-overrides bench-reading bench-agent bench-search bench-server bench-pages bench-leaving bench-restart bench-bytecode bench-companion bench-reward-debt \
	bench-cluster bench-disruptions screenshots chart test-parity test-fuzz test-kills test-gpu lock version clean
