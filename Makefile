# Every target sets up what it needs by itself (.ci/set-up); done once, that takes a fraction of a second.

.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c

DATA ?= ./data
ARGS ?=
KIND ?= address
SECONDS ?= 60

cpp_files = git ls-files -z 'native/*.h' 'native/*.cpp' | xargs -0

# First, so that the summary of the tests themselves comes last. Whoever names tests is spared it.
sanitized = status=0; $(if $(ARGS),,for kind in address thread; do .ci/sanitized $$kind || status=$$?; done;)

.PHONY: help all native run start-gateway start-processor test test-all test-sanitized fuzz check format bench benchmark-all lock upgrade clean

help: ## Say what there is
	@awk 'BEGIN { FS = ":.*## "; print "make TARGET, where TARGET is one of" } \
		/^[a-z-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@printf '%s\n' '' 'KIND=address|thread is the sanitizer of test-sanitized; SECONDS=N is for each fuzzer of fuzz (now: $(SECONDS)).' \
		'DATA=DIR is where run, start-gateway and start-processor keep their state (now: $(DATA));' \
		'ARGS="…" goes to what a target runs: make run ARGS="--port 4001", make test ARGS="-k presence".'

all: test ## Set up, check, test: what to do before a commit

native: ## Build the C++ driver, as every target does where its sources changed
	@.ci/set-up run

run: ## Serve on http://127.0.0.1:4000 in development mode
	@.ci/set-up run
	@exec .venv/bin/polyglotd serve --dev --data "$(DATA)" $(ARGS)

start-gateway: ## Serve without the processor; start-processor goes beside it, on the same DATA
	@.ci/set-up run
	@exec .venv/bin/polyglotd serve --role gateway --data "$(DATA)" $(ARGS)

start-processor: ## Copy what gateways logged into the store
	@.ci/set-up run
	@exec .venv/bin/polyglotd serve --role processor --data "$(DATA)" $(ARGS)

test: check ## Run every kind of check in a short form, with real clients and a real browser
	@$(sanitized) .ci/test $(ARGS) || status=$$?; exit $$status

test-all: ## Run the tests with their long counts and write docs/test-report.md
	@.ci/set-up test
	@export POLYGLOT_TEST_FULL=1; $(sanitized) .ci/test --report docs/test-report.md $(ARGS) || status=$$?; exit $$status

test-sanitized: ## Run the tests that talk to a driver with one that a sanitizer watches
	@.ci/set-up test
	@.ci/sanitized $(KIND) $(ARGS)

fuzz: ## Throw changed input at the driver's parts, each for SECONDS
	@.ci/set-up test
	@.ci/fuzz $(SECONDS) $(ARGS)

check: ## Lint, formatting, types, import rules
	@.ci/set-up test
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@$(cpp_files) .venv/bin/clang-format --dry-run --Werror
	@.venv/bin/mypy
	@.venv/bin/lint-imports

format: ## Format the code, and mend what the linter can mend
	@.ci/set-up test
	@.venv/bin/ruff format .
	@$(cpp_files) .venv/bin/clang-format -i
	@.venv/bin/ruff check --fix .

bench: ## Measure the speed that is promised, as ratios
	@.ci/set-up test
	@.venv/bin/python -m bench $(ARGS)

benchmark-all: ## The same with long runs
	@.ci/set-up test
	@.venv/bin/python -m bench --all $(ARGS)

lock: ## Lock the dependencies again after a change in pyproject.toml
	@.ci/set-up run
	@.ci/lock

upgrade: ## Lock the newest versions of all dependencies
	@.ci/set-up run
	@.ci/lock --upgrade

clean: ## Remove what set-up, tests and tools made; DATA stays
	rm -rf .venv tests/js/node_modules .set-up.lock .set-up.log test-results build dist .hypothesis .import_linter_cache
	rm -rf .mypy_cache .pytest_cache .ruff_cache
