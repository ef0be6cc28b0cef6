#!/bin/sh
# Every test. Those against real servers wait for them a third of the time: they run beside all others, which give way
# to them. Both are ended before this fails.
set -u

cd "$(dirname -- "$0")/.."
cargo=${CARGO:-cargo}
"$cargo" test --no-run || exit

log=$(mktemp "${TMPDIR:-/tmp}/zooark-live.XXXXXX")
trap 'rm -f "$log"' EXIT
# What runs in the background does not hear Ctrl-C.
trap 'trap - TERM; kill 0; exit 130' INT TERM
"$cargo" test --test live >"$log" 2>&1 &
live=$!
echo "the live tests run beside the others; what they say follows"
# A runner, so that a new folder of tests is run without being named here.
nice -n 5 "$cargo" test --config "target.'cfg(all())'.runner='tests/run-but-live.sh'"
others=$?
tail -n +1 -f "$log" --pid "$live"
wait "$live"
beside=$?
[ "$others" -eq 0 ] || echo "tests failed before the live ones: see above" >&2
[ "$others" -eq 0 ] && [ "$beside" -eq 0 ]
