#!/bin/sh
# An ensemble that is followed, measured: `benches/watch.sh [NODES] > report`. What it needs is said in
# server.sh. Server and client share the machine.
#
# A standalone 3.9.4 starts from generated nodes. `backup --watch` scans them once; then 100 znodes are set, five times,
# and what the snapshot of each hundred took is printed: milliseconds, bytes and objects as the program reports them.
set -eu

nodes=${1:-100000}
. "$(dirname -- "$0")/server.sh"
server= watch=
end() {
    for process in $watch $server; do kill "$process" 2>/dev/null || :; done
    wait 2>/dev/null || :
    rm -rf "$work"
}
trap end EXIT
trap 'exit 1' INT TERM

zooark-datagen --scale "$nodes" --out src >/dev/null
zooark --repo seed init --unencrypted >/dev/null
zooark --repo seed backup datadir:src >/dev/null
zooark --repo seed restore latest datadir:data >/dev/null
rm -rf seed src
zooark --repo repo init --new-key-file key >/dev/null
export ZOOARK_KEY_FILE="$work/key"

start_server "${PORT:-21921}" -Xmx3g -Djute.maxbuffer=8000000

client() {
    { echo "connect a 127.0.0.1:$port"; cat; } | java -Xmx256m -cp "$jars/*:$jars/../classes" Workload >answers 2>&1
}
until echo 'create a /bench-watch x' | client && grep -q '^ok /bench-watch\|NodeExists' answers; do
    kill -0 "$server" || { cat server.out answers >&2; exit 1; }
    sleep 1
done
for n in $(seq 100); do echo "create a /bench-watch/$n before"; done | client

zooark --json --no-progress --repo repo backup "zk://127.0.0.1:$port" --zk-auth-file auth --watch --interval 3s \
    >out 2>words &
watch=$!
snapshots() { grep -c '"message_type":"snapshot"' out || :; }
number() { printf '%s\n' "$line" | sed -n "s/.*\"$1\":\([0-9][0-9]*\).*/\1/p"; }
await() {
    until [ "$(snapshots)" -ge "$1" ]; do
        kill -0 "$watch" || { cat words >&2; exit 1; }
        sleep 0.2
    done
    line=$(grep '"message_type":"snapshot"' out | sed -n "$1p")
}
await 1
echo "scan of $(number nodes) nodes: $(number duration_ms) ms, $(number uploaded_bytes) bytes"
done=1
for round in 1 2 3 4 5; do
    for n in $(seq 100); do echo "set a /bench-watch/$n round-$round-$n"; done | client
    # All hundred, in one snapshot or in two where an interval ended between them.
    changed=0
    while [ "$changed" -lt 100 ]; do
        done=$((done + 1))
        await "$done"
        changed=$((changed + $(number nodes_changed)))
        echo "snapshot of $(number nodes_changed) changes: $(number duration_ms) ms, $(number uploaded_bytes) bytes," \
            "$(number objects_written) objects"
    done
done
awk '/VmHWM/ { printf "peak memory %.1f MiB, all of it in the scan\n", $2 / 1024 }' "/proc/$watch/status"
