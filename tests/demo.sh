#!/bin/sh
# What ZooArk does, in a minute and without Java: a recorded ZooKeeper data directory is backed up twice with a day
# of changes between, browsed, compared and restored by snapshot id. `make demo` builds the program and runs this.
set -eu

root=$(CDPATH= cd -- "$(dirname -- "$0")/.." && pwd)
PATH=${CARGO_TARGET_DIR:-$root/target}/debug:$PATH
demo=$(mktemp -d "${TMPDIR:-/tmp}/zooark-demo.XXXXXX")
trap 'rm -rf "$demo"' EXIT INT TERM
cd "$demo"

# The repository is encrypted; a server would have the password in a file.
ZOOARK_REPOSITORY=$demo/repository
ZOOARK_PASSWORD_FILE=$demo/password
XDG_CACHE_HOME=$demo/cache
export ZOOARK_REPOSITORY ZOOARK_PASSWORD_FILE XDG_CACHE_HOME
echo "correct horse battery staple" >password
chmod 600 password

say() {
    printf '\n# %s\n' "$*"
}

run() {
    printf '$ zooark %s\n' "$*"
    zooark "$@"
}

say "The data directory of a ZooKeeper server that holds the metadata of a Kafka cluster:"
cp -R "$root/tests/data/recorded/before" zookeeper
ls zookeeper/version-2

say "Make a repository. It is encrypted."
run init

say "Back up the whole tree: one consistent state, at one zxid."
run backup datadir:zookeeper --cluster kafka

say "A day later a broker is gone, a topic came, settings were deleted, and a user's rights were changed."
cp -R "$root/tests/data/recorded/after/." zookeeper
say "The second backup reads what the server logged since, and stores what changed."
run backup datadir:zookeeper --cluster kafka

say "Both are whole: either can be restored, and deleting one leaves the other as it is."
run snapshots

say "Browse a snapshot like a file system."
run ls latest:/brokers/topics
run cat latest:/config/topics/orders
printf '\n'
run stat latest:/config/users/alice

say "What changed between them?"
run diff latest~1 latest

say "Which values has one znode had?"
run history /controller_epoch

say "Is everything in the repository as it was written?"
run check --read-data

say "Bring the first state back, by its id, into a directory that a ZooKeeper server starts from."
first=$(zooark snapshots --json | tr ',' '\n' | sed -n 's/.*"short_id": *"\([^"]*\)".*/\1/p' | head -n 1)
run restore "$first" datadir:restored
ls restored/version-2

say "The restored directory against the snapshot: ephemeral znodes end with their sessions, all else is equal."
run diff "$first" datadir:restored

say "Done. Everything was in $demo, which is removed now."
