# make demo · make real · make real-comparison · make setup-browser · make models · make test · make test-all · make test-faults · make check · make bench · make server · make ui · make lock · make golden
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
# Whom the Prefect server of `make server` listens to, and where.
HOST ?= 127.0.0.1
PORT ?= 4200
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export MLFLOW_DISABLE_TELEMETRY := true
export NO_MKDOCS_2_WARNING := true
export DVC_NO_ANALYTICS := true

PYTEST := python -m pytest --numprocesses auto --maxprocesses 8 --dist loadfile --no-loadscope-reorder

.PHONY: help setup setup-browser models server server-stop demo serve-demo demo-served test real real-comparison test-all test-faults test-vllm bench bench-vllm bench-gpu check docs format ui lock golden

help: ## what there is to make
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 12

setup: ## make .venv and install the pinned set, where requirements.lock changed
	@scripts/setup $(PYTHON)

setup-browser: ## install Debian's chromium, in which pages are tested, where that can be done
	@scripts/setup-browser

demo: setup ## distil a small student from a teacher that only returns text, and show what it gained
	@scripts/demo

models: setup ## download real tokenizers and SmolLM2-135M-Instruct into models/real, which tests of real models need
	@scripts/fetch-models

real: setup ## distil a real model, SmolLM2-135M, from itself behind worked examples; half an hour at most (an estimate)
	@scripts/real

real-comparison: setup ## every method on that model and task, swept, on three seeds: hours, in the background; goes on where it was
	@scripts/real-comparison

serve-demo: ## the demo's teacher behind a vLLM server on the CPU, until Ctrl-C
	@scripts/setup-vllm $(PYTHON)
	@scripts/serve-demo

demo-served: setup ## distil from that server, in another terminal
	@scripts/demo-served

test: setup ## the quick tests, for every push: each method, a kill and a resume, dvc repro, the sandbox, a page
	@$(PYTEST) -m "not slow"

test-all: setup ## every test: campaigns of faults, the tutorial, recipes, Prefect's service, every sandbox mode
	@$(PYTEST)

test-faults: setup ## what make test-all has in short, at its full length: ten thousand requests, 200 kills, the tutorial
	@OMNIOPD_TEST_REQUESTS=10000 OMNIOPD_TEST_KILLS=200 OMNIOPD_TEST_TUTORIAL=1 python -m pytest -rP tests/teachers/test_faults.py \
	  tests/flows/test_campaign.py tests/flows/test_prefect_kills.py tests/flows/test_disk_faults.py tests/flows/test_clock.py \
	  tests/flows/test_interruption.py tests/test_docs.py

test-vllm: ## teachers and rollouts on vLLM's build for the CPU, in an environment of their own
	@scripts/setup-vllm $(PYTHON)
	@OMNIOPD_TEST_VLLM=1 .venv-vllm/bin/python -m pytest tests/on_vllm

bench: setup ## speed, each figure beside a named alternative
	@python -m benchmarks

bench-vllm: ## rollouts on vLLM's build for the CPU beside those on transformers
	@scripts/setup-vllm $(PYTHON)
	@VLLM_LOGGING_LEVEL=ERROR .venv-vllm/bin/python -m benchmarks rollouts

bench-gpu: setup ## the loss and a whole step on a GPU
	@python -m benchmarks --gpu

check: setup ## lint, types, the direction of imports, and the docs with their links
	@ruff check .
	@ruff format --check .
	@pyright
	@lint-imports
	@mkdocs build --strict --quiet

docs: setup ## the docs as a site, at http://127.0.0.1:8001 until Ctrl-C
	@mkdocs serve --dev-addr 127.0.0.1:8001

format: setup ## put the code in the house's form
	@ruff check --fix .
	@ruff format .

server: setup ## a Prefect server and a worker in the background, with the flows deployed
	@python -m flows serve --host $(HOST) --port $(PORT)

server-stop: setup ## end those
	@python -m flows stop

ui: setup ## MLflow and Prefect in the browser, until Ctrl-C
	@scripts/ui

lock: setup ## update requirements.lock from pyproject.toml; pins that fit are kept, UPGRADE="NAME …" renews some
	@pip-compile --quiet --extra dev --no-emit-index-url --no-emit-find-links --no-emit-trusted-host \
	  --unsafe-package pip --strip-extras --no-header --annotation-style=line $(UPGRADE:%=--upgrade-package %) --output-file requirements.lock pyproject.toml
	@# A CPU build and a CUDA build both satisfy the version without its local label.
	@sed -i -E 's/^(torch==[0-9.]+)\+[a-z0-9]+/\1/' requirements.lock

golden: setup ## record the golden runs of tests/golden anew, after a change of numbers that was meant
	@PYTHONPATH=tests python tests/golden_runs.py
