#!/bin/sh
# Makes repository/ and expected/ anew, with the program as it is. See README.md before you do.
set -eu

here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
root=$here/../../..
(cd "$root" && cargo build -q -p cli -p testing)
PATH=${CARGO_TARGET_DIR:-$root/target}/debug:$PATH
ZOOARK_REPOSITORY=$here/repository
XDG_CACHE_HOME=$(mktemp -d)
trap 'rm -rf "$XDG_CACHE_HOME"' EXIT INT TERM
export ZOOARK_REPOSITORY XDG_CACHE_HOME

cd "$here"
rm -rf repository expected corners password key
mkdir expected
echo "version one" >password
zooark init --password-file password
zooark key add --password-file password --new-key-file key --label "kept with the repository"
export ZOOARK_KEY_FILE="$here/key"

# Locations are stored as they were named: name them alike on every machine.
cd ..
backup() {
    zooark backup --host kept "$@"
}
backup recorded/before --cluster kafka --time 2025-11-20T10:00Z
backup recorded/after --cluster kafka --time 2025-11-20T11:00Z
zooark tag latest --cluster kafka --add nightly
backup recorded/before --cluster kafka --time 2025-11-20T12:00Z && exit 1 || [ $? -eq 5 ]
zooark-corners v1/corners
backup v1/corners --cluster corners --time 2025-11-20T13:00Z
cd v1

number=0
for id in $(zooark snapshots --json | tr ',{' '\n\n' | sed -n 's/.*"short_id": *"\([^"]*\)".*/\1/p'); do
    number=$((number + 1))
    zooark dump "$id" >expected/$number.jsonl
done
zooark check --read-data
