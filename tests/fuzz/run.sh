#!/bin/sh
# Runs every fuzz target for SECONDS (60). Needs a nightly toolchain; installs cargo-fuzz where it is missing.
# Exit code 3: nothing was fuzzed, because there is no nightly toolchain.
set -eu

here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
seconds=${1:-60}

if ! rustup toolchain list 2>/dev/null | grep -q '^nightly'; then
    echo "fuzz: NOT RUN: there is no nightly toolchain (rustup toolchain install nightly)" >&2
    exit 3
fi
if ! command -v cargo-fuzz >/dev/null 2>&1; then
    echo "fuzz: cargo install cargo-fuzz"
    cargo install -q --locked cargo-fuzz
fi

# The workspace's toolchain file would win over a +nightly on a rustup without it being named so.
RUSTUP_TOOLCHAIN=nightly
export RUSTUP_TOOLCHAIN
for target in $(cargo fuzz list --fuzz-dir "$here"); do
    echo "fuzz: $target for $seconds seconds"
    cargo fuzz run --fuzz-dir "$here" "$target" -- -max_total_time="$seconds" -rss_limit_mb=2048 -timeout=10 \
        -print_final_stats=1
done
