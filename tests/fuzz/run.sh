#!/bin/sh
# Runs every fuzz target for SECONDS (60), as many at a time as there are processors, two at most; installs cargo-fuzz where it
# is missing.
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
targets=$(cargo fuzz list --fuzz-dir "$here")
cargo fuzz build --fuzz-dir "$here"

logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
at_once=$(nproc 2>/dev/null || echo 1)
[ "$at_once" -lt 2 ] || at_once=2

run_one() {
    if cargo fuzz run --fuzz-dir "$here" "$1" -- -max_total_time="$seconds" -rss_limit_mb=2048 -timeout=10 \
        -print_final_stats=1 >"$logs/$1" 2>&1; then
        : >"$logs/$1.passed"
    fi
}

failed=
# shellcheck disable=SC2086 # a list of words
set -- $targets
while [ $# -gt 0 ]; do
    batch=
    while [ $# -gt 0 ] && [ "$(echo "$batch" | wc -w)" -lt "$at_once" ]; do
        batch="$batch $1"
        echo "fuzz: $1 for $seconds seconds"
        run_one "$1" &
        shift
    done
    wait
    for target in $batch; do
        tail -n 12 "$logs/$target"
        [ -e "$logs/$target.passed" ] || { failed="$failed $target"; cat "$logs/$target"; }
    done
done
[ -z "$failed" ] || { echo "fuzz: FAILED:$failed" >&2; exit 1; }
