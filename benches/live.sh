#!/bin/sh
# Restores of a live ensemble, measured: `benches/live.sh [NODES] > report`. Needs Java, the jars that
# tests/live/fetch-zookeeper.sh fetches, and GNU time; builds zooark for release unless ZOOARK_BIN names a folder with
# both programs. Server and client share the machine.
#
# Generated nodes are backed up from files and restored into an empty standalone 3.9.4: nodes a second for creating
# them, for their final ACLs and for reading all of it back, and the client's peak memory. Counters of sequential names,
# which the generated tree has in the millions, are left alone.
set -eu

nodes=${1:-100000}
root=$(CDPATH= cd -- "$(dirname -- "$0")/.." && pwd)
if [ -z "${ZOOARK_BIN:-}" ]; then
    (cd "$root" && cargo build --release -q -p cli -p testing)
    ZOOARK_BIN=${CARGO_TARGET_DIR:-$root/target}/release
fi
PATH=$ZOOARK_BIN:$PATH
jars=${ZOOARK_TEST_ZOOKEEPER:-${XDG_CACHE_HOME:-$HOME/.cache}/zooark/zookeeper}/3.9.4/lib
work=$(mktemp -d "${TMPDIR:-/tmp}/zooark-live.XXXXXX")
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null || :; rm -rf "$work"' EXIT INT TERM
cd "$work"
export XDG_CACHE_HOME="$work/cache" XDG_STATE_HOME="$work/state"

zooark-datagen --scale "$nodes" --out src >/dev/null
zooark --repo repo init --new-key-file key >/dev/null
export ZOOARK_KEY_FILE="$work/key"
zooark --repo repo backup datadir:src >/dev/null

port=${PORT:-21911}
mkdir data
printf 'dataDir=%s\nclientPort=%s\nclientPortAddress=127.0.0.1\nmaxClientCnxns=0\n' "$work/data" "$port" >zoo.cfg
echo "digest super:admin" >auth
java -Xmx2g -Dzookeeper.admin.enableServer=false -Dzookeeper.4lw.commands.whitelist='*' \
    -Dzookeeper.extendedTypesEnabled=true -Dzookeeper.forceSync="${FORCE_SYNC:-yes}" \
    -Dzookeeper.DigestAuthenticationProvider.superDigest=super:xQJmxLMiHGwaqBvst5y6rkB6HQs= \
    -cp "$jars/*" org.apache.zookeeper.server.quorum.QuorumPeerMain zoo.cfg >server.out 2>&1 &
server=$!
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
