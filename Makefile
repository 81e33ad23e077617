# The commands of the project. Each installs what it needs on Debian 12 (as root,
# or it prints the apt line) and works in target/ alone.

.PHONY: help demo test test-all fuzz bench

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-9s %s\n", $$1, $$2 }' Makefile

demo: ## The whole loop on a real Mesos cluster, two minutes; KEEP=1 leaves it running
	@tests/run.sh demo

test: ## Format, lints, documentation, alerts, unit tests, one real cluster
	@tests/run.sh test

test-all: ## `make test` and what is too long for it; resumes where it stopped
	@tests/run.sh test-all

fuzz: ## What the exporter reads from Mesos, fuzzed; TARGET=one of them, FOR=seconds
	@tests/run.sh fuzz

bench: ## What a decision, a delivery, a command and a scrape take; asserts nothing
	@tests/run.sh bench
