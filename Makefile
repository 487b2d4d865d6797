# make run    install what is missing, build, and run the demo on a private Tor network
# make test   install what is missing, and run every check and test
# make bench  measure (see docs/performance.md)
# make package  pack a release into target/package (see docs/releasing.md)

CARGO ?= cargo
# Only root can make network namespaces and change a firewall inside one.
AS_ROOT := $(if $(filter 0,$(shell id -u)),,sudo --preserve-env=PATH,HOME,CI,CARGO_HOME,RUSTUP_HOME)
# The tests wait for the networks that they make for most of their time, and take a third of two cores.
RUST_TEST_THREADS ?= $(shell expr $$(nproc) + 1)

.PHONY: help run test bench package setup setup-bench setup-test format lint docs generated

help:
	@sed -n 's/^# make/  make/p' Makefile

setup:
	@scripts/setup.sh run

setup-bench:
	@scripts/setup.sh bench

setup-test:
	@scripts/setup.sh test
	@scripts/python-tools.sh schemathesis deploy paseto
	@scripts/debian-root.sh

run: setup
	$(CARGO) build --release
	$(AS_ROOT) target/release/exitpool demo

test: setup-test format lint docs
	$(AS_ROOT) env CI=$(CI) RUST_TEST_THREADS=$(RUST_TEST_THREADS) $(CARGO) test --lib --bins --tests

bench: setup setup-bench
	@command -v openssl >/dev/null || { echo "bench: install openssl, which signs the large directory" >&2; exit 1; }
	$(AS_ROOT) $(CARGO) bench

package:
	scripts/package.sh

format:
	$(CARGO) fmt --all -- --check

lint:
	$(CARGO) clippy --all-targets -- -D warnings

docs:
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --no-deps --document-private-items

# Writes every generated file anew: schemas, references. The tests fail while one is stale.
generated:
	EXITPOOL_UPDATE=1 $(CARGO) test --lib --test it -- cli:: desired:: generated:: metrics:: offline::the_schema schema:: wire::
