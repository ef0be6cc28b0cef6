# Sourced by the scripts that measure on a live ensemble: the programs, and a standalone ZooKeeper 3.9.4 on this machine.
# Needs Java and the jars that tests/live/fetch-zookeeper.sh fetches; builds zooark for release unless ZOOARK_BIN names a
# folder with `zooark` and `zooark-datagen`. Goes to a folder of its own, `$work`, which the caller takes away.

root=$(CDPATH= cd -- "$(dirname -- "$0")/.." && pwd)
if [ -z "${ZOOARK_BIN:-}" ]; then
    (cd "$root" && cargo build --release -q -p cli -p testing)
    ZOOARK_BIN=${CARGO_TARGET_DIR:-$root/target}/release
fi
PATH=$ZOOARK_BIN:$PATH
jars=${ZOOARK_TEST_ZOOKEEPER:-${XDG_CACHE_HOME:-$HOME/.cache}/zooark/zookeeper}/3.9.4/lib
work=$(mktemp -d "${TMPDIR:-/tmp}/zooark-bench.XXXXXX")
cd "$work"
export XDG_CACHE_HOME="$work/cache" XDG_STATE_HOME="$work/state"

# start_server PORT JAVA_OPTION...: on `$work/data`, with the user that `auth` names; its process is `$server`.
start_server() {
    port=$1
    shift
    mkdir -p data
    printf 'dataDir=%s\nclientPort=%s\nclientPortAddress=127.0.0.1\nmaxClientCnxns=0\n' "$work/data" "$port" >zoo.cfg
    echo "digest super:admin" >auth
    java "$@" -Dzookeeper.admin.enableServer=false -Dzookeeper.4lw.commands.whitelist='*' \
        -Dzookeeper.extendedTypesEnabled=true \
        -Dzookeeper.DigestAuthenticationProvider.superDigest=super:xQJmxLMiHGwaqBvst5y6rkB6HQs= \
        -cp "$jars/*" org.apache.zookeeper.server.quorum.QuorumPeerMain zoo.cfg >server.out 2>&1 &
    server=$!
}
