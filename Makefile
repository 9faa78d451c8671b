# Everything sets itself up: `make demo` shows the main job, `make test` runs every test, `make lint` checks the style.
# Docker Engine and Postgres are used or started by tools/services.py, which ends what it started.
.DEFAULT_GOAL := help
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:

PYTHON ?= python3
BUILD := .build
WHEEL_STAMP := $(BUILD)/wheel.stamp
SOURCES := $(shell find src python examples/nextjs -type f -not -name '*.so' -not -path '*/__pycache__/*' 2>/dev/null) \
	Cargo.toml Cargo.lock pyproject.toml README.md
SERVICES := $(PYTHON) tools/services.py --
# Pinned, so that a run next month is the run of today.
MATURIN := maturin==1.16.0
CARGO_DENY := 0.20.2
CARGO_FUZZ := 0.13.2
CARGO_MODULES := 0.27.0
CARGO_LLVM_COV := 0.9.1
COVERAGE := coverage==7.17.4
# Tools that are built from source stay in the user's cache, a folder for each version: the next checkout finds them.
TOOLS := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/kosuke-docker
DENY_BIN := $(TOOLS)/cargo-deny-$(CARGO_DENY)/bin/cargo-deny
MODULES_BIN := $(TOOLS)/cargo-modules-$(CARGO_MODULES)/bin/cargo-modules
FUZZ_BIN := $(TOOLS)/cargo-fuzz-$(CARGO_FUZZ)/bin/cargo-fuzz
LLVM_COV_BIN := $(TOOLS)/cargo-llvm-cov-$(CARGO_LLVM_COV)/bin/cargo-llvm-cov
# Tests wait more than they compute: twice as many workers as processors of the machine that CI has.
WORKERS ?= 4

help: ## This list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

demo: $(BUILD)/demo-env/stamp ## A real Next.js app as a live preview with its own database, from Python
	$(SERVICES) $(BUILD)/demo-env/bin/python examples/demo.py

test: $(BUILD)/test-env/stamp ## Every test, against the release wheel in a clean environment
	cargo test --locked --no-default-features # unit tests, tests/*.rs, doc tests
	$(SERVICES) $(BUILD)/test-env/bin/python -m pytest tests -n $(WORKERS)

coverage: $(BUILD)/coverage-env/stamp $(BUILD)/build-env/stamp $(LLVM_COV_BIN) ## How much of Rust and Python the tests run (TESTS=tests/unit)
	PATH="$(dir $(LLVM_COV_BIN)):$$PATH" $(SERVICES) $(PYTHON) tools/cover.py $(BUILD)/coverage-env/bin/python $(BUILD)/build-env/bin/maturin $(or $(TESTS),tests)

soak: $(BUILD)/test-env/stamp ## The tests with full counts
	$(SERVICES) env KOSUKE_SOAK=1 $(BUILD)/test-env/bin/python -m pytest tests --timeout 1800

# Each of these goes on after a failure, and then fails. What was really run stands in docs/compatibility.md.
ENGINES ?= docker:trixie docker:sid podman:sid
test-engines: $(BUILD)/test-env/stamp ## The docker suite on Engine 26 and 28 and on podman (ENGINES=docker:sid TESTS=tests/docker)
	failed=; for engine in $(ENGINES); do \
		$(PYTHON) tools/engines.py $${engine%:*} $${engine#*:} -- $(SERVICES) $(BUILD)/test-env/bin/python -m pytest \
			$(or $(TESTS),tests/docker) -n $(WORKERS) || failed="$$failed $$engine"; \
	done; test -z "$$failed" || { echo "failed on:$$failed" >&2; exit 1; }

PYTHONS ?= trixie:3.13 sid:3.14 sid:3.15
test-pythons: $(WHEEL_STAMP) ## The wheel, and the unit, ticket and hazard suites, on Python 3.13, 3.14 and 3.15
	failed=; for python in $(PYTHONS); do env=$(BUILD)/python$${python#*:}-env; \
		$(PYTHON) tools/pythons.py $${python%:*} $${python#*:} $$env $(BUILD)/dist/*.whl -r tests/requirements.txt \
			&& $(SERVICES) $$env/bin/python -m pytest $(or $(TESTS),tests/unit tests/ticket tests/hazards) -n $(WORKERS) \
			|| failed="$$failed $$python"; \
	done; test -z "$$failed" || { echo "failed on:$$failed" >&2; exit 1; }

SERVERS ?= trixie:17 sid:18
DATABASE_TESTS := $(wildcard tests/docker/test_database*.py tests/hazards/test_postgres*.py)
test-postgres: $(BUILD)/test-env/stamp ## The database suites on Postgres 17 and 18
	failed=; for server in $(SERVERS); do \
		$(PYTHON) tools/postgres.py $${server%:*} $${server#*:} -- $(SERVICES) $(BUILD)/test-env/bin/python -m pytest \
			$(or $(TESTS),$(DATABASE_TESTS)) -n $(WORKERS) || failed="$$failed $$server"; \
	done; test -z "$$failed" || { echo "failed on:$$failed" >&2; exit 1; }

# What newer engines do differently, in CI's time.
CORE := tests/docker/test_races.py::test_ports_that_other_programs_hold_are_skipped \
	tests/docker/test_races.py::test_parallel_starts_with_the_network_missing_end_with_one_network \
	tests/docker/test_start.py::test_a_preview_runs_with_what_it_was_given \
	tests/docker/test_start.py::test_a_missing_network_is_made_once \
	tests/docker/test_stop.py::test_a_stopped_preview_is_gone_and_its_name_is_free
test-engine-core: ## A core of the docker suite on the newest engine, for CI
	$(MAKE) test-engines ENGINES=docker:sid TESTS='$(CORE)'

# What it needs to compare with, pinned: benches/README.md says what it measures. A quick run changes no file of the project.
BENCH := $(BUILD)/bench-env/bin/python
BENCH_RESULTS := $(if $(QUICK),$(BUILD)/bench,benches)
bench: $(BUILD)/bench-env/stamp ## Speed beside docker-py, aiodocker and a floor in Rust (QUICK=1 ROUNDS=7 PEERS=aiodocker)
	cargo build --release --locked --no-default-features --example floor
	$(SERVICES) $(BENCH) benches/compare.py --floor target/release/examples/floor --wheel $(BUILD)/dist/*.whl --out $(BUILD)/bench/lines.json
	$(BENCH) benches/report.py $(BUILD)/bench/lines.json $(BENCH_RESULTS)

# The suite of an agent that moves here, unmodified, in an environment with nothing else: make ticket SUITE=path/test_x.py
ticket: $(BUILD)/ticket-env/stamp ## An agent's own test suite against the wheel (SUITE=file)
	rm -rf $(BUILD)/ticket && mkdir -p $(BUILD)/ticket/app/services $(BUILD)/ticket/app/models
	touch $(BUILD)/ticket/app/__init__.py $(BUILD)/ticket/app/services/__init__.py $(BUILD)/ticket/app/models/__init__.py
	echo 'from kosuke_docker import DockerService' > $(BUILD)/ticket/app/services/docker_service.py
	echo 'from kosuke_docker import ContainerInfo, PreviewStatus, StartPreviewRequest, StopPreviewRequest' \
		> $(BUILD)/ticket/app/models/preview.py
	cp $(SUITE) $(BUILD)/ticket/
	touch $(BUILD)/ticket/pytest.ini
	cd $(BUILD)/ticket && ../ticket-env/bin/python -m pytest -q

# libFuzzer needs the compiler's unstable flags, not another compiler.
fuzz: $(FUZZ_BIN) ## Random output in random pieces through the log reader (FUZZ_SECONDS=60)
	mkdir -p $(BUILD)/fuzz-corpus && cp tests/data/dev-servers/*.log $(BUILD)/fuzz-corpus/
	RUSTC_BOOTSTRAP=1 $(FUZZ_BIN) run --sanitizer none classifier $(BUILD)/fuzz-corpus -- \
		-max_len=8192 -max_total_time=$(or $(FUZZ_SECONDS),60)

lint: lint-rust lint-python lint-modules ## Format, clippy, rustdoc, ruff, mypy, pyright, stubtest, licences, one TLS provider, no circles

lint-rust: $(DENY_BIN)
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	cargo clippy --locked --all-targets --no-default-features -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --locked --no-deps
	RUSTDOCFLAGS='-D warnings' cargo doc --locked --no-deps --document-private-items
	$(DENY_BIN) --locked --offline check bans licenses sources
	# Two TLS providers in one process panic at the first connection: ring alone may be here.
	! cargo tree --locked -i aws-lc-rs 2>/dev/null | grep .
	! cargo tree --locked -i openssl-sys 2>/dev/null | grep .
	! cargo tree --locked -i native-tls 2>/dev/null | grep .

lint-modules: $(MODULES_BIN)
	$(MODULES_BIN) dependencies --lib --no-externs --no-sysroot | $(PYTHON) tools/acyclic.py

lint-python: $(BUILD)/lint-env/stamp
	$(BUILD)/lint-env/bin/ruff format --check .
	$(BUILD)/lint-env/bin/ruff check .
	$(BUILD)/lint-env/bin/mypy
	$(BUILD)/lint-env/bin/python -m mypy.stubtest kosuke_docker._core
	$(BUILD)/lint-env/bin/pyright --pythonpath $(BUILD)/lint-env/bin/python

dev: $(BUILD)/build-env/stamp ## A debug build into .venv, for quick rounds
	test -d .venv || $(PYTHON) tools/venv.py .venv
	.venv/bin/pip install -q -r tests/requirements.txt -r tests/requirements-lint.txt
	VIRTUAL_ENV=$(CURDIR)/.venv $(BUILD)/build-env/bin/maturin develop

# What lint, ticket and test need, and only takes computing: `make -j lint ready` makes it side by side.
ready: $(BUILD)/ticket-env/stamp $(BUILD)/test-env/stamp rust-tests

rust-tests:
	cargo test --locked --no-default-features --no-run

wheel: $(WHEEL_STAMP) ## The release wheel, into .build/dist

clean: ## Takes away what was built
	rm -rf $(BUILD) target fuzz/target .venv

$(WHEEL_STAMP): $(SOURCES) | $(BUILD)/build-env/stamp
	rm -rf $(BUILD)/dist
	$(BUILD)/build-env/bin/maturin build --release --locked --out $(BUILD)/dist
	touch $@

$(BUILD)/build-env/stamp:
	$(PYTHON) tools/venv.py $(BUILD)/build-env '$(MATURIN)'
	touch $@

$(BUILD)/demo-env/stamp: $(WHEEL_STAMP)
	$(PYTHON) tools/venv.py $(BUILD)/demo-env $(BUILD)/dist/*.whl docker==7.2.0
	touch $@

$(BUILD)/bench-env/stamp: $(WHEEL_STAMP) benches/requirements.txt
	$(PYTHON) tools/venv.py $(BUILD)/bench-env $(BUILD)/dist/*.whl -r benches/requirements.txt
	touch $@

$(BUILD)/test-env/stamp: $(WHEEL_STAMP) tests/requirements.txt
	$(PYTHON) tools/venv.py $(BUILD)/test-env $(BUILD)/dist/*.whl -r tests/requirements.txt
	touch $@

$(BUILD)/coverage-env/stamp: tests/requirements.txt
	$(PYTHON) tools/venv.py $(BUILD)/coverage-env '$(COVERAGE)' 'pydantic>=2.7' -r tests/requirements.txt
	touch $@

$(BUILD)/ticket-env/stamp: $(WHEEL_STAMP)
	$(PYTHON) tools/venv.py $(BUILD)/ticket-env $(BUILD)/dist/*.whl docker asyncpg pytest pytest-asyncio
	touch $@

$(BUILD)/lint-env/stamp: $(WHEEL_STAMP) tests/requirements.txt tests/requirements-lint.txt
	$(PYTHON) tools/venv.py $(BUILD)/lint-env $(BUILD)/dist/*.whl -r tests/requirements.txt -r tests/requirements-lint.txt
	touch $@

# The dev profile: it checks a lock file once, and builds in a third of the time.
$(DENY_BIN):
	CARGO_PROFILE_DEV_DEBUG=none cargo install cargo-deny --version $(CARGO_DENY) --locked --profile dev \
		--root $(TOOLS)/cargo-deny-$(CARGO_DENY) --target-dir $(BUILD)/deny-target
	rm -rf $(BUILD)/deny-target

$(LLVM_COV_BIN):
	cargo install cargo-llvm-cov --version $(CARGO_LLVM_COV) --locked --profile dev \
		--root $(TOOLS)/cargo-llvm-cov-$(CARGO_LLVM_COV) --target-dir $(BUILD)/llvm-cov-target
	rm -rf $(BUILD)/llvm-cov-target

# Optimised a little: it reads the whole crate, and would take five times as long.
$(MODULES_BIN):
	CARGO_PROFILE_DEV_OPT_LEVEL=1 CARGO_PROFILE_DEV_DEBUG=none cargo install cargo-modules --version $(CARGO_MODULES) --locked \
		--profile dev --root $(TOOLS)/cargo-modules-$(CARGO_MODULES) --target-dir $(BUILD)/modules-target
	rm -rf $(BUILD)/modules-target

$(FUZZ_BIN):
	cargo install cargo-fuzz --version $(CARGO_FUZZ) --locked --profile dev \
		--root $(TOOLS)/cargo-fuzz-$(CARGO_FUZZ) --target-dir $(BUILD)/fuzz-tool-target
	rm -rf $(BUILD)/fuzz-tool-target

.PHONY: help demo bench test test-engines test-engine-core test-pythons test-postgres coverage soak fuzz ticket lint lint-rust lint-modules lint-python ready rust-tests dev wheel clean
