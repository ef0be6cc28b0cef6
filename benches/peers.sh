#!/bin/sh
# The same data directory through zooark, restic, borg and zstd, in one run: `benches/peers.sh [ROUNDS] > report`.
# Needs restic, borgbackup, zstd and GNU time (Debian packages), uses rustic where it is installed, and builds zooark for
# release. Prints, per question, the median wall seconds and the peak memory of each program, and sizes in bytes. The
# programs take turns, so that a disturbance meets all of them.
set -eu

rounds=${1:-3}
root=$(CDPATH= cd -- "$(dirname -- "$0")/.." && pwd)
(cd "$root" && cargo build --release -q -p cli -p testing)
PATH=${CARGO_TARGET_DIR:-$root/target}/release:$PATH
work=$(mktemp -d "${TMPDIR:-/tmp}/zooark-peers.XXXXXX")
trap 'rm -rf "$work"' EXIT INT TERM
cd "$work"

export XDG_CACHE_HOME="$work/cache" RESTIC_PASSWORD=bench BORG_PASSPHRASE=bench
export BORG_BASE_DIR="$work/borg-home" RESTIC_PROGRESS_FPS=0

zooark-datagen --out "$work/src" >/dev/null
snapshot=$(ls src/version-2/snapshot.*)
echo "native file: $(stat -c %s "$snapshot") bytes, $(nproc) processors"

contenders=0
# contender NAME PREPARE COMMAND: one that takes part in the next race; PREPARE is not timed.
contender() {
    contenders=$((contenders + 1))
    printf '%s\n' "$1" >"name.$contenders"
    printf '%s\n' "$2" >"prepare.$contenders"
    printf '%s\n' "$3" >"command.$contenders"
    : >"times.$contenders"
}
if command -v rustic >/dev/null 2>&1; then
    export RUSTIC_PASSWORD=bench RUSTIC_NO_PROGRESS=true
    rustic_contender() { contender "$@"; }
else
    rustic_contender() { :; }
fi

# Each round, each of them in turn; then the medians.
race() {
    round=0
    while [ "$round" -lt "$rounds" ]; do
        turn=0
        while [ "$turn" -lt "$contenders" ]; do
            turn=$((turn + 1))
            sh "prepare.$turn" >/dev/null 2>&1
            # Nobody pays for what another left to be written.
            sync
            /usr/bin/time -a -o "times.$turn" -f '%e %M' sh "command.$turn" >/dev/null 2>&1
        done
        round=$((round + 1))
    done
    turn=0
    while [ "$turn" -lt "$contenders" ]; do
        turn=$((turn + 1))
        sort -n "times.$turn" | awk -v name="$(cat "name.$turn")" '{ t[NR] = $1; m = $2 > m ? $2 : m }
            END { printf "  %-28s %6.2f s  %6.1f MiB\n", name, t[int((NR + 1) / 2)], m / 1024 }'
    done
    contenders=0
}

zooark="zooark --repo repo --key-file key"
rustic="rustic -r rustic --log-level error"

echo "full backup, encrypted:"
contender zooark "rm -rf repo cache key; zooark --repo repo init --new-key-file key" "$zooark backup datadir:src"
contender "restic --compression max" "rm -rf restic; restic init -q -r restic" \
    "restic -q -r restic --compression max backup $snapshot"
contender "borg zstd,3" "rm -rf borg; borg init -e repokey-blake2 borg" "borg create -C zstd,3 borg::one $snapshot"
rustic_contender rustic "rm -rf rustic; $rustic init" "$rustic backup $snapshot"
contender "zstd -3 -T2" : "zstd -q -f -3 -T2 -o plain.zst $snapshot"
race
for made in repo restic borg rustic plain.zst; do
    [ ! -e "$made" ] || echo "  bytes: $made $(du -sb "$made" | cut -f1)"
done

echo "nothing changed, everything read again (zooark --full --dry-run; the others back up again):"
contender zooark : "$zooark backup datadir:src --full --dry-run"
contender restic : "restic -q -r restic backup --force $snapshot"
rustic_contender rustic : "$rustic backup --force $snapshot"
race

echo "restore, verified:"
contender zooark "rm -rf out" "$zooark restore latest datadir:out"
contender restic "rm -rf out" "restic -q -r restic restore latest --target out"
contender borg "rm -rf out; mkdir out" "cd out && borg extract ../borg::one"
rustic_contender rustic "rm -rf out" "$rustic restore latest out"
# zooark has the file on the disk when it ends; the others leave that to the system.
rustic_contender "rustic, then sync" "rm -rf out" "$rustic restore latest out && find out -type f -exec sync {} +"
contender "zstd -d" "rm -f plain" "zstd -q -d -f -o plain plain.zst"
contender "zstd -d, then sync" "rm -f plain" "zstd -q -d -f -o plain plain.zst && sync plain"
race

echo "one command on 1,034,234 znodes, warm cache, key file:"
contender "zooark ls latest" : "$zooark ls latest"
contender "zooark stat latest:/zookeeper" : "$zooark stat latest:/zookeeper"
race

echo "100 random changes, the log covers them, four times:"
rm -rf repo cache key out
mkfifo next
zooark-datagen --out moving --step --changes random:100,random:100,random:100,random:100 <next >states &
exec 9>next
until grep -q base states; do sleep 0.1; done
zooark --repo repo init --new-key-file key >/dev/null 2>&1
$zooark backup datadir:moving >/dev/null 2>&1
several=$rounds
rounds=4
contender zooark 'known=$(wc -l <states); echo >&9; until [ "$(wc -l <states)" -gt "$known" ]; do sleep 0.1; done' \
    "$zooark backup datadir:moving"
race
rounds=$several
exec 9>&-
wait
$zooark snapshots --json 2>/dev/null | sed -n 's/.*"added_bytes": \([0-9]*\).*/\1/p' |
    tail -n +2 | awk '{ n++; s += $1 } END { printf "  bytes of packs a backup: %d\n", s / n }'

# For the others both states as native files, in the same order.
first=$($zooark snapshots --json 2>/dev/null | sed -n 's/.*"short_id": "\([0-9a-f]*\)".*/\1/p' | head -1)
for state in "$first" latest; do
    $zooark restore "$state" "datadir:state-$state" --bump-epoch off --yes-really >/dev/null 2>&1
done
earlier=$(ls "state-$first"/version-2/snapshot.*)
later=$(ls state-latest/version-2/snapshot.*)

echo "the same by a full read:"
contender zooark : "$zooark backup datadir:moving --full --dry-run"
contender restic "rm -rf restic; restic init -q -r restic; restic -q -r restic backup --stdin <$earlier" \
    "restic -q -r restic backup --force --stdin <$later"
rustic_contender rustic "rm -rf rustic; $rustic init; $rustic backup --stdin-filename native - <$earlier" \
    "$rustic backup --force --stdin-filename native - <$later"
contender "zstd --patch-from" : "zstd -q -f -3 -T2 --long=29 --patch-from=$earlier -o patch.zst $later"
race
echo "  bytes: zstd --patch-from $(stat -c %s patch.zst)"

echo "restore, and restore after four increments:"
contender "the first" "rm -rf out" "$zooark restore $first datadir:out"
contender "the last" "rm -rf out" "$zooark restore latest datadir:out"
race
