#!/bin/sh
# What a large repository costs: 50,000 snapshots of one lineage, and of 200, in requests (held to their bounds by the
# tests that this runs) and seconds; a check and a prune of a million blobs, in memory.
#
# The store is in memory, so the seconds are those of the program alone.
set -eu
cd "$(dirname "$0")/.."
ZOOARK_TEST_LONG=1 cargo test --quiet -p repository --lib -- --nocapture --test-threads 1 \
    fifty_thousand_snapshots a_million_blobs | grep -E 'snapshots in|blobs:'
