# `make` alone says what there is. Every target installs what it needs first (scripts/setup).

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup tools demo test check chaos bench man fmt lint clean

export CARGO_TERM_COLOR ?= auto
# Tests wait for servers and builds far more than they compute: more of them than there are cores.
export RUST_TEST_THREADS ?= 4

with_tools := source .tools/env;

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 16

setup: ## install what building and the demo need (nats-server, Nix, busybox)
	@scripts/setup

tools: ## install what tests need besides (openssl, systemd, tmux, zsh, fish, groff, Chromium, Prometheus, sshd, Python libraries)
	@scripts/setup --tests

demo: setup ## a pool on this machine: a revision that passes and one that fails
	@$(with_tools) scripts/demo

test: tools ## everything that must hold before a commit
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	cargo build --locked --workspace
	scripts/check-licences
	$(with_tools) scripts/check-config
	$(with_tools) scripts/check-deploy
	$(with_tools) scripts/check-readme
	$(with_tools) scripts/run-tests
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --workspace
	@scripts/check-deploy --summary

check: tools ## one test or module of the integration tests: make check T=harness
	@test -n "$(T)" || { echo 'which test? make check T=name' >&2; exit 2; }
	cargo build --locked --workspace
	@$(with_tools) list=$$(cargo test --locked -q --workspace --test it -- --list "$(T)"); \
	  grep -q ': test$$' <<<"$$list" || { echo 'no integration test matches "$(T)"' >&2; exit 2; }
	$(with_tools) cargo test --locked --workspace --test it -- "$(T)"

SEED ?= $(shell date +%s)
MINUTES ?= 5
chaos: tools ## 500 jobs while everything fails: make chaos SEED=1 MINUTES=5
	cargo build --locked --workspace
	$(with_tools) echo "seed $(SEED), $(MINUTES) minutes"; NBP_SEED=$(SEED) NBP_MINUTES=$(MINUTES) \
	  cargo test --locked --workspace --test it -- chaos --nocapture

man: ## man pages and completions of all programs, in target/man and target/completions
	cargo build --locked --bins
	@mkdir -p target/completions; for program in worker producer gate; do \
	  target/debug/$$program man target/man; \
	  for shell in bash zsh fish; do \
	    target/debug/$$program completions $$shell >target/completions/$$program.$$shell; \
	  done; \
	done

ROWS ?=
bench: setup ## what the pool costs, beside the floor of this machine: make bench ROWS="drain submit"
	@# Together, or one core waits while the other links.
	cargo build --locked --release --workspace --bins --bench pool
	$(with_tools) cargo bench --locked --workspace --bench pool -- $(ROWS)

fmt: ## format the code
	cargo fmt --all

lint: setup ## formatting, clippy, licences
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	scripts/check-licences

clean: ## remove what was built and fetched
	cargo clean
	rm -rf .tools
