#!/bin/sh
# Records before/ and after/ anew from a real server. Needs Java and Maven (make install-deps).
set -eu
here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
root=$here/../../..
"$root/tests/live/fetch-zookeeper.sh" 3.9.4
rm -rf "$here/before" "$here/after"
cargo run -q --manifest-path "$root/Cargo.toml" -p testing --bin zooark-record -- "$here"
