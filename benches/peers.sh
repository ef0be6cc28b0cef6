#!/bin/sh
# The same data directory through zooark, restic, borg and zstd, in one run: `benches/peers.sh [ROUNDS] > report`.
# Needs restic, borgbackup, zstd and GNU time (Debian packages), uses rustic where it is installed, and builds zooark for release. Prints, per
# question, the median wall seconds and the peak memory of each program, and sizes in bytes.
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
export ZOOARK_KEY_FILE="$work/key"

zooark-datagen --out "$work/src" >/dev/null
snapshot=$(ls src/version-2/snapshot.*)
echo "native file: $(stat -c %s "$snapshot") bytes, $(nproc) processors"

# timed NAME COMMAND...: median of the rounds; `prepare` runs before each, unmeasured.
timed() {
    name=$1
    shift
    : >times
    round=0
    while [ "$round" -lt "$rounds" ]; do
        prepare
        /usr/bin/time -a -o times -f '%e %M' "$@" >/dev/null 2>&1
        round=$((round + 1))
    done
    sort -n times | awk -v name="$name" '{ t[NR] = $1; m = $2 > m ? $2 : m }
        END { printf "  %-28s %6.2f s  %6.1f MiB\n", name, t[int((NR + 1) / 2)], m / 1024 }'
}

echo "full backup, encrypted:"
prepare() { rm -rf repo cache key; zooark --repo repo init --new-key-file key >/dev/null 2>&1; }
unset ZOOARK_KEY_FILE
timed zooark zooark --repo repo --key-file key backup datadir:src
prepare() { rm -rf restic; restic init -q -r restic; }
timed "restic --compression max" restic -q -r restic --compression max backup "$snapshot"
prepare() { rm -rf borg; borg init -e repokey-blake2 borg; }
timed "borg zstd,3" borg create -C zstd,3 borg::one "$snapshot"
if command -v rustic >/dev/null 2>&1; then
    export RUSTIC_PASSWORD=bench RUSTIC_NO_PROGRESS=true
    prepare() { rm -rf rustic; rustic -r rustic init --log-level error >/dev/null; }
    timed rustic rustic -r rustic --log-level error backup "$snapshot"
fi
prepare() { :; }
timed "zstd -3 -T2" zstd -q -f -3 -T2 -o plain.zst "$snapshot"
echo "  bytes: zooark $(du -sb repo | cut -f1), restic $(du -sb restic | cut -f1), borg $(du -sb borg | cut -f1)," \
    "zstd $(stat -c %s plain.zst)"

[ ! -d rustic ] || echo "  bytes: rustic $(du -sb rustic | cut -f1)"

echo "nothing changed, everything read again (zooark --full --dry-run; the others back up again):"
timed zooark zooark --repo repo --key-file key backup datadir:src --full --dry-run
timed restic restic -q -r restic backup --force "$snapshot"
[ ! -d rustic ] || timed rustic rustic -r rustic --log-level error backup --force "$snapshot"

echo "restore, verified:"
prepare() { rm -rf out; }
timed zooark zooark --repo repo --key-file key restore latest datadir:out
timed restic restic -q -r restic restore latest --target out
[ ! -d rustic ] || timed rustic rustic -r rustic --log-level error restore latest out
prepare() { rm -rf out; mkdir out; }
timed borg sh -c 'cd out && borg extract ../borg::one'
prepare() { rm -f plain; }
timed "zstd -d" zstd -q -d -f -o plain plain.zst
# zooark has the file on the disk when it ends; the others leave that to the system.
timed "zstd -d, then sync" sh -c 'zstd -q -d -f -o plain plain.zst && sync plain'
if [ -d rustic ]; then
    prepare() { rm -rf out; }
    timed "rustic, then sync" sh -c 'rustic -r rustic --log-level error restore latest out && find out -type f -exec sync {} +'
fi

echo "one command on 1,034,234 znodes, warm cache, key file:"
prepare() { :; }
timed "zooark ls latest" zooark --repo repo --key-file key ls latest
timed "zooark stat latest:/zookeeper" zooark --repo repo --key-file key stat latest:/zookeeper

echo "100 random changes, the log covers them, four times:"
rm -rf moving repo cache key out
mkfifo next
zooark-datagen --out moving --step --changes random:100,random:100,random:100,random:100 <next >states &
exec 9>next
until grep -q base states; do sleep 0.1; done
zooark --repo repo init --new-key-file key >/dev/null 2>&1
zooark --repo repo --key-file key backup datadir:moving >/dev/null 2>&1
native=$(ls moving/version-2/snapshot.*)
zstd -q -f -3 -T2 -o before.zst "$native"
prepare() {
    known=$(wc -l <states)
    echo >&9
    until [ "$(wc -l <states)" -gt "$known" ]; do sleep 0.1; done
}
several=$rounds
rounds=4
timed zooark zooark --repo repo --key-file key backup datadir:moving
rounds=$several
exec 9>&-
wait
zooark --repo repo --key-file key snapshots --json 2>/dev/null | sed -n 's/.*"added_bytes": \([0-9]*\).*/\1/p' |
    tail -n +2 | awk '{ n++; s += $1 } END { printf "  bytes of packs a backup: %d\n", s / n }'

echo "the same by a full read:"
prepare() { :; }
timed zooark zooark --repo repo --key-file key backup datadir:moving --full --dry-run
# What a server would write of the last state, for the others to compare with the first.
zooark --repo repo --key-file key restore latest datadir:out --bump-epoch off --yes-really >/dev/null 2>&1
changed=$(ls out/version-2/snapshot.*)
restic init -q -r restic2 && restic -q -r restic2 backup --stdin --stdin-filename native <"$native"
timed "restic" sh -c "restic -q -r restic2 backup --force --stdin --stdin-filename native <$changed"
timed "zstd --patch-from" zstd -q -f -3 -T2 --long=29 --patch-from="$native" -o patch.zst "$changed"
echo "  bytes: zstd --patch-from $(stat -c %s patch.zst)"

echo "restore, and restore after four increments:"
first=$(zooark --repo repo --key-file key snapshots --json 2>/dev/null | sed -n 's/.*"short_id": "\([0-9a-f]*\)".*/\1/p' | head -1)
prepare() { rm -rf out; }
timed "the first" zooark --repo repo --key-file key restore "$first" datadir:out
timed "the last" zooark --repo repo --key-file key restore latest datadir:out
