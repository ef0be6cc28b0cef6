#!/bin/sh
# Restores of a live ensemble, measured: `benches/live.sh [NODES] > report`. Needs GNU time, and what
# server.sh says. Server and client share the machine.
#
# Generated nodes are backed up from files and restored into an empty standalone 3.9.4: nodes a second for creating
# them, for their final ACLs and for reading all of it back, and the client's peak memory. Counters of sequential names,
# which the generated tree has in the millions, are left alone.
set -eu

nodes=${1:-100000}
. "$(dirname -- "$0")/server.sh"
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null || :; rm -rf "$work"' EXIT INT TERM

zooark-datagen --scale "$nodes" --out src >/dev/null
zooark --repo repo init --new-key-file key >/dev/null
export ZOOARK_KEY_FILE="$work/key"
zooark --repo repo backup datadir:src >/dev/null

start_server "${PORT:-21911}" -Xmx2g -Dzookeeper.forceSync="${FORCE_SYNC:-yes}"
tries=0
until zooark --repo repo restore latest "zk://127.0.0.1:$port" --zk-auth-file auth --preserve-counters=false --dry-run >/dev/null 2>tried; do
    tries=$((tries + 1))
    [ "$tries" -lt 20 ] || { cat server.out tried >&2; exit 1; }
done

code=0
/usr/bin/time -q -o memory -f '%M' zooark --json --no-progress --repo repo restore latest "zk://127.0.0.1:$port" \
    --zk-auth-file auth --yes --no-safety-snapshot --preserve-counters=false >out || code=$?
# The tree has a few ACLs of a scheme that this server does not know: they are reported, with exit code 3.
[ "$code" -eq 0 ] || [ "$code" -eq 3 ] || exit "$code"
tail -n 1 out >summary
field() { sed -n "s/.*\"$1\":\([0-9][0-9]*\).*/\1/p" summary; }
rate() { awk -v n="$2" -v ms="$3" -v what="$1" 'BEGIN { printf "  %-22s %9d in %8.2f s  %9.0f /s\n", what, n, ms / 1000, n * 1000 / (ms ? ms : 1) }'; }
created=$(field create)
echo "restore of $nodes nodes into an empty 3.9.4 (fsync ${FORCE_SYNC:-yes}, $(nproc) processors):"
rate "plan" "$created" "$(field plan_ms)"
rate "nodes created" "$created" "$(field write_ms)"
rate "final ACLs" "$(($(field writes) - created))" "$(field acl_ms)"
rate "read back" "$created" "$(field verify_ms)"
rate "all of it" "$created" "$(field duration_ms)"
awk '{ printf "  peak memory of the client %.1f MiB\n", $1 / 1024 }' memory
