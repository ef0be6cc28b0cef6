#!/bin/sh
# Copies the jars of each ZooKeeper version under test from Maven Central into a cache folder, and compiles the
# tests' workload client against each. What is already there is left alone, so a second run does nothing.
#
#   tests/live/fetch-zookeeper.sh [VERSION…]
set -eu

here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
cache=${ZOOARK_TEST_ZOOKEEPER:-${XDG_CACHE_HOME:-$HOME/.cache}/zooark/zookeeper}
[ $# -gt 0 ] || set -- 3.4.14 3.5.10 3.6.4 3.7.2 3.8.4 3.9.3 3.9.4

for tool in java javac mvn; do
    command -v "$tool" >/dev/null || { echo "fetch-zookeeper: $tool is missing: run make install-deps" >&2; exit 1; }
done

for version; do
    home=$cache/$version
    if [ ! -e "$home/complete" ]; then
        echo "fetch-zookeeper: ZooKeeper $version from Maven Central into $home"
        rm -rf "$home"
        mkdir -p "$home/lib"
        mvn -q -B -f "$here/pom.xml" -Dzookeeper.version="$version" \
            org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies \
            -DincludeScope=runtime -DoutputDirectory="$home/lib" -Dmdep.useRepositoryLayout=false
        : >"$home/complete"
    fi
    for source in "$here"/java/*.java; do
        class=$home/classes/$(basename "$source" .java).class
        if [ ! -e "$class" ] || [ "$source" -nt "$class" ]; then
            mkdir -p "$home/classes"
            javac -nowarn -Xlint:none -encoding UTF-8 -cp "$home/lib/*:$home/classes" -d "$home/classes" "$source"
        fi
    done
done
