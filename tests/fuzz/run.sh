#!/bin/sh
# Runs every fuzz target for SECONDS (60); installs cargo-fuzz where it is missing.
set -eu

here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
seconds=${1:-60}

if ! command -v cargo-fuzz >/dev/null 2>&1; then
    echo "fuzz: cargo install cargo-fuzz"
    cargo install -q --locked cargo-fuzz
fi

# Coverage and the address sanitizer are unstable options of the compiler; this lets the pinned one have them.
RUSTC_BOOTSTRAP=1
export RUSTC_BOOTSTRAP
for target in $(cargo fuzz list --fuzz-dir "$here"); do
    echo "fuzz: $target for $seconds seconds"
    cargo fuzz run --fuzz-dir "$here" "$target" -- -max_total_time="$seconds" -rss_limit_mb=2048 -timeout=10 \
        -print_final_stats=1
done
