#!/bin/sh
# A running ensemble, measured in one run: `benches/live.sh [NODES] > report`. Needs GNU time, and what server.sh says.
# Servers, clients and all are on this machine.
#
# A standalone 3.9.4 starts from generated nodes. Measured are scans with and without known ACLs, what a scan costs
# another client that writes 100 times a second, the growth of the server's heap, and with up to 200,000 nodes two
# restores into another, empty 3.9.4: one when it was just started, and one beside that, when it has written as much.
# With them, where they are found: kazoo (Python, `PYTHON`), at most for `PEER_SECONDS`; zkcopy (`ZKCOPY` is the command
# that starts it), which reads all of one server and, up to 200,000 nodes, writes it to an empty one, twice too. `RATES`
# are the rates at which the other client is looked at besides the usual one; 0 is no bound.
# Counters of sequential names, which the generated tree has in the millions, are left alone.
set -eu

nodes=${1:-100000}
with_restore=$([ "$nodes" -le 200000 ] && echo yes || echo no)
here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
. "$here/server.sh"
server= others=
end() {
    for process in $others $server; do kill "$process" 2>/dev/null || :; done
    wait 2>/dev/null || :
    rm -rf "$work"
}
trap end EXIT
trap 'exit 1' INT TERM

zooark-datagen --scale "$nodes" --out src >/dev/null
zooark --repo seed init --unencrypted >/dev/null
zooark --repo seed backup datadir:src >/dev/null
zooark --repo seed restore latest datadir:data >/dev/null
rm -rf src
zooark --repo repo init --new-key-file key >/dev/null
export ZOOARK_KEY_FILE="$work/key"

rate() { awk -v n="$2" -v ms="$3" -v what="$1" 'BEGIN { printf "  %-34s %9d in %8.2f s  %9.0f /s\n", what, n, ms / 1000, n * 1000 / (ms ? ms : 1) }'; }
field() { sed -n "s/.*\"$2\":\([0-9][0-9]*\).*/\1/p" "$1"; }
peak() { awk '{ printf "  peak memory of the client %.1f MiB\n", $1 / 1024 }' memory; }

# backup WHAT [OPTION...]: a backup of the source, with its rate and the client's memory.
backup() {
    what=$1
    shift
    /usr/bin/time -q -o memory -f '%M' zooark --json --no-progress --repo repo backup "zk://$source" \
        --zk-auth-file auth "$@" >out 2>words || { cat words >&2; exit 1; }
    tail -n 1 out >summary
    rate "$what" "$(field summary nodes)" "$(field summary duration_ms)"
    peak
}

# ready PORT: waits for a server to answer.
ready() {
    tries=0
    until zooark --quiet --no-progress --repo repo backup "zk://127.0.0.1:$1" --zk-auth-file auth --include /nothing \
        --dry-run >/dev/null 2>tried; do
        tries=$((tries + 1))
        [ "$tries" -lt 60 ] || { cat server.out tried >&2; exit 1; }
        sleep 1
    done
}

# empty_server FOLDER PORT JAVA_OPTION...: another one, without nodes.
empty_server() {
    mkdir "$1"
    cd "$1"
    folder=$work work=$work/$1
    shift
    start_server "$1" -Xmx2g "$2"
    work=$folder
    cd "$work"
    ready "$port"
}

# ACLs are kept and not enforced: zkcopy gives up at the first node that it may not read.
start_server "${PORT:-21911}" -Xmx3g -Xmn32m -Xlog:gc:file=gc.log -Djute.maxbuffer=8000000 -Dzookeeper.skipACL=yes
source=127.0.0.1:$port
ready "$port"
load() { cut -d' ' -f1-3 /proc/loadavg; }
echo "$(nproc) processors, load $(load) before anything is measured; scans without --max-rate's bound:"

backup "first scan, every ACL" --max-rate 0 --dry-run
if "${PYTHON:-python3}" -c 'import kazoo' 2>/dev/null; then
    set -- $("${PYTHON:-python3}" "$here/kazoo_scan.py" "$source" "${PEER_SECONDS:-60}")
    rate "kazoo, pipelined, every ACL" "$1" "$2"
fi

# took FROM TO LOG: the milliseconds between what zkcopy's log says.
stamp() { grep -m 1 -- "$1" "$2" | awk '{ split($2, t, "[:,]"); print ((t[1] * 60 + t[2]) * 60 + t[3]) * 1000 + t[4] }'; }
took() { echo $(($(stamp "$2" "$3") - $(stamp "$1" "$3"))); }
if [ -n "${ZKCOPY:-}" ]; then
    main=$server
    empty_server other "${TARGET_PORT:-21912}" -Djute.maxbuffer=8000000
    others="$others $server" target=127.0.0.1:$port server=$main
    # copy PATH LOG WANTED: until it says so.
    copy() {
        $ZKCOPY --source "$source/" --target "$target$1" --workers 10 --copyOnly >"$2" 2>&1 &
        copying=$!
        others="$others $copying"
        while kill -0 "$copying" 2>/dev/null && ! grep -q "$3" "$2"; do sleep 0.2; done
        kill "$copying" 2>/dev/null || :
    }
    if [ "$with_restore" = yes ]; then
        copy /first zkcopy.out 'Writing data completed'
        copy / again.out 'Writing data completed'
    else
        copy / zkcopy.out 'Completed'
    fi
    read_nodes=$(sed -n 's/.*total=\([0-9]*\), processed=.*/\1/p' zkcopy.out | tail -n 1)
    rate "zkcopy, 10 workers, no ACLs" "$read_nodes" "$(took 'Reading ' 'Completed' zkcopy.out)"
fi

backup "first backup, every ACL, stored" --max-rate 0
backup "later scan, ACLs known" --max-rate 0 --dry-run
backup "later scan, ACLs known, again" --max-rate 0 --dry-run
echo "at the usual rate:"
backup "first scan, every ACL" --full --dry-run
backup "later scan, ACLs known" --dry-run

echo "another client, 100 writes a second, load $(load):"
paced() { java -cp "$jars/*" "$here/Paced.java" "$source" 100 "${PACED_SECONDS:-20}" 2>/dev/null; }
# during WHAT [OPTION...]: the other client while scans follow one another.
during() {
    what=$1
    shift
    touch scanning
    (while [ -e scanning ]; do
        zooark --no-progress --quiet --repo repo backup "zk://$source" --zk-auth-file auth --dry-run "$@" >/dev/null 2>&1 || exit 1
    done) &
    scanner=$!
    printf '  %-34s ' "$what"
    paced
    rm scanning
    wait "$scanner" || { echo "a scan failed" >&2; exit 1; }
}
idle() { printf '  %-34s ' idle; paced; }
idle
during "later scans, usual rate"
idle
during "first scans, usual rate" --full
for bound in ${RATES:-0}; do
    idle
    during "later scans, --max-rate $bound" --max-rate "$bound"
    during "first scans, --max-rate $bound" --full --max-rate "$bound"
done
idle

# What lives after a collection: before, the most during a scan, and after it.
echo "heap of the server, MiB after collections:"
used() { jcmd "$server" GC.run >/dev/null; tail -n 1 gc.log | sed -n 's/.*->\([0-9]*\)M(.*/\1/p'; }
for what in later first; do
    before=$(used) lines=$(wc -l <gc.log)
    zooark --quiet --no-progress --repo repo backup "zk://$source" --zk-auth-file auth --dry-run --max-rate 0 \
        $([ "$what" = later ] || echo --full) >/dev/null 2>&1
    most=$(tail -n "+$((lines + 1))" gc.log | sed -n 's/.*->\([0-9]*\)M(.*/\1/p' | sort -n | tail -n 1)
    echo "  $what scan: $before before, ${most:-$before} at most during it, $(used) after it"
done

[ "$with_restore" = yes ] || exit 0
kill "$server"; wait "$server" 2>/dev/null || :
empty_server target "${RESTORE_PORT:-21913}" -Dzookeeper.forceSync="${FORCE_SYNC:-yes}"
# into WHAT [OPTION...]: a restore of everything.
into() {
    what=$1 code=0
    shift
    /usr/bin/time -q -o memory -f '%M' env -u ZOOARK_KEY_FILE zooark --json --no-progress --repo seed restore latest \
        "zk://127.0.0.1:$port" --zk-auth-file auth --yes --no-safety-snapshot --preserve-counters=false --max-rate 0 "$@" \
        >out 2>words || code=$?
    # The tree has a few ACLs of a scheme that this server does not know: they are reported, with exit code 3.
    [ "$code" -eq 0 ] || [ "$code" -eq 3 ] || { cat words >&2; exit "$code"; }
    tail -n 1 out >summary
    created=$(field summary create)
    echo "restore into $what (fsync ${FORCE_SYNC:-yes}), load $(load):"
    rate "plan" "$created" "$(field summary plan_ms)"
    rate "nodes created" "$created" "$(field summary write_ms)"
    rate "final ACLs" "$(($(field summary writes) - created))" "$(field summary acl_ms)"
    rate "read back" "$created" "$(field summary verify_ms)"
    rate "all of it" "$created" "$(field summary duration_ms)"
    peak
}
# copied LOG: what zkcopy took for the same.
copied() {
    [ -n "${ZKCOPY:-}" ] || return 0
    rate "zkcopy's copy, no ACLs" "$(sed -n 's/.*Wrote \([0-9]*\) nodes.*/\1/p' "$1")" \
        "$(took 'Writing data\.' 'Writing data completed' "$1")"
}
into "an empty 3.9.4 that was just started" --remap /=/first
copied zkcopy.out
# As an ensemble is that has run for a while: the server's code is compiled, and the same was written there before.
into "the same server once more, elsewhere"
copied again.out
