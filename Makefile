# make demo    what ZooArk does, on a recorded ZooKeeper data directory
# make test    every test, real ZooKeeper and object-store servers among them; ends within 20 minutes of two cores once built
# Both install what is missing (apt-get), say so, and can be run again.

CARGO ?= cargo
FUZZ_SECONDS ?= 60
# Most tests wait for servers most of the time.
THREADS := $(shell n=$$(nproc); echo $$((n > 6 ? n : 6)))

.PHONY: demo test test-long fetch deploy-test lint fmt docs fuzz deny bench install-build-deps install-deps

# Built as the tests are, so that RocksDB is compiled once for both.
demo: install-build-deps
	$(CARGO) build -p cli
	tests/demo.sh

test: install-deps fetch
	RUST_TEST_THREADS=$(THREADS) CARGO="$(CARGO)" tests/run.sh
	tests/deploy/run.sh
	@tests/live/fetch-stores.sh report
	@tests/live/fetch-schemathesis.sh report

# Servers and tools that tests run against, into a cache folder.
fetch:
	tests/live/fetch-zookeeper.sh
	tests/live/fetch-stores.sh
	tests/live/fetch-schemathesis.sh

# Chart, alert rules, unit and the like in deploy/; needs no cluster.
deploy-test: install-deps
	tests/deploy/run.sh

# The same assertions at full sizes and with more seeds.
test-long: install-deps fetch
	ZOOARK_TEST_LONG=1 RUST_TEST_THREADS=$(THREADS) $(CARGO) test
	@tests/live/fetch-stores.sh report
	@tests/live/fetch-schemathesis.sh report

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --all-targets -- -D warnings

fmt:
	$(CARGO) fmt --all

docs:
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --no-deps

# Each target for FUZZ_SECONDS.
fuzz:
	tests/fuzz/run.sh $(FUZZ_SECONDS)

# Needs cargo-deny.
deny:
	$(CARGO) deny check

bench:
	$(CARGO) bench -p benches

install-build-deps:
	tests/install-deps.sh build

install-deps:
	tests/install-deps.sh test
