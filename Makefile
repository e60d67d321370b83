# The menu. Every target does its own set-up; `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help run demo test lint fmt gen bench docs tools

export AIVONX_TOOLS ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/aivonx/tools
OLLAMA ?= $(or $(OLLAMA_HOST),127.0.0.1:11434)

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: ## Start the gateway here: for the local Ollama if one answers, else for two simulated nodes
	@cargo build --package aivonx --bin aivonx
	@if curl --silent --fail --max-time 2 --output /dev/null "$(OLLAMA)/api/version"; then \
	  echo "An Ollama answers at $(OLLAMA): the gateway serves it."; exec target/debug/aivonx run; \
	else \
	  echo "No Ollama answers at $(OLLAMA): the gateway serves two simulated nodes."; exec target/debug/aivonx run --demo; \
	fi

demo: tools ## Bring up the whole system here on real parts, show what it survives, and end it
	@cargo build --workspace --bins
	@target/debug/demo

test: tools ## Run all tests, on real parts
	@cargo test --workspace

lint: ## Check format, lints and docs
	@cargo fmt --all --check
	@cargo clippy --workspace --all-targets -- -D warnings
	@RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --quiet

fmt: ## Format the code
	@cargo fmt --all

gen: ## Write the generated files again
	@cargo run --quiet --package aivonx-crds --bin crdgen -- crds/generated

tools: ## Find or build the programs that the tests need
	@tests/tools/install

bench: ## Measure CPU per request and per chunk against nginx, in the same run
	@tests/tools/install redis-server nginx
	@cargo build --release --package aivonx-dataplane --package aivonx-bench
	@bench/run

docs: ## Build the API documentation of the crates
	@cargo doc --workspace --no-deps
	@echo "target/doc/aivonx_dataplane/index.html"
