#!/bin/sh
# Installs the object-store servers of the live tests, each in one pinned version, into a cache folder: versitygw and
# fake-gcs-server from Go modules, Azurite from npm. What is already there is left alone, so a second run does
# nothing. What cannot be had is named at the end, and the exit code is 1 unless ZOOARK_ALLOW_MISSING_STORES is set.
#
#   tests/live/fetch-stores.sh [versitygw|fake-gcs-server|azurite…]
#   tests/live/fetch-stores.sh report    installs nothing; names what is missing, for the end of a test run
set -eu

cache=${ZOOARK_TEST_STORES:-${XDG_CACHE_HOME:-$HOME/.cache}/zooark/stores}
# crates/testing/src/stores/mod.rs names the same versions.
versitygw=v1.8.0
fake_gcs_server=v1.52.3
azurite=3.35.0
# Builds both Go modules. A Go that cannot fetch a newer toolchain by itself (before 1.21) gets this one.
toolchain=go1.25.0
report=
[ "${1:-}" != report ] || { report=yes; shift; }
[ $# -gt 0 ] || set -- versitygw fake-gcs-server azurite

# The go command to build with: the one that is there, or an older one's download of a newer one.
go_command() {
    minor=$(go env GOVERSION | sed -n 's/^go1\.\([0-9]*\).*/\1/p')
    if [ "${minor:-0}" -ge 21 ]; then
        command -v go
        return
    fi
    module=golang.org/toolchain@v0.0.1-$toolchain.$(go env GOOS)-$(go env GOARCH)
    home=$cache/toolchain/$module
    if [ ! -x "$home/bin/go" ]; then
        echo "fetch-stores: $(go env GOVERSION) is too old: $toolchain into $home" >&2
        # Modules lose their executable bits, and an older Go does not know that a toolchain needs them.
        (cd / && GOFLAGS=-modcacherw GOMODCACHE="$cache/toolchain" go mod download "$module") >&2 || return 1
        chmod -R +x "$home/bin" "$home/pkg/tool" || return 1
    fi
    echo "$home/bin/go"
}

# from_go VERSION PACKAGE: builds a command of a module.
from_go() {
    go=$(go_command) || return 1
    # A GOROOT that is set is another Go's than the one that builds.
    env -u GOROOT GOBIN="$home" CGO_ENABLED=0 GOTOOLCHAIN=auto GOFLAGS=-trimpath "$go" install "$2@$1"
}

install_one() {
    case $1 in
        versitygw) from_go "$versitygw" github.com/versity/versitygw/cmd/versitygw ;;
        fake-gcs-server) from_go "$fake_gcs_server" github.com/fsouza/fake-gcs-server ;;
        azurite) npm install --prefix "$home" --no-audit --no-fund --omit=dev --loglevel=error "azurite@$azurite" ;;
    esac
}

missing=
for server; do
    case $server in
        versitygw) version=$versitygw tool=go ;;
        fake-gcs-server) version=$fake_gcs_server tool=go ;;
        azurite) version=$azurite tool=npm ;;
        *) echo "fetch-stores: unknown server $server" >&2; exit 2 ;;
    esac
    home=$cache/$server-$version
    [ ! -e "$home/complete" ] || continue
    if [ -n "$report" ]; then
        missing="$missing $server"
        continue
    fi
    if ! command -v "$tool" >/dev/null; then
        missing="$missing $server (no $tool: run make install-deps)"
        continue
    fi
    echo "fetch-stores: $server $version into $home"
    rm -rf "$home"
    mkdir -p "$home"
    if install_one "$server"; then
        : >"$home/complete"
    else
        missing="$missing $server"
    fi
done

if [ -n "$missing" ]; then
    [ -n "$report" ] && said="NOT TESTED, because not installed:" || said="NOT INSTALLED:"
    echo "fetch-stores: $said$missing" >&2
    [ -n "${ZOOARK_ALLOW_MISSING_STORES:-}" ] || exit 1
fi
