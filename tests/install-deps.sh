#!/bin/sh
# Installs with apt-get what is missing to build (`build`) or to test as well (`test`), and says what that is.
# Nothing missing: nothing done.
#
#   tests/install-deps.sh build|test
set -eu

what=${1:-test}
packages=

# need PACKAGE COMMAND...: the package, unless all of the commands are there.
need() {
    package=$1
    shift
    for tool; do
        command -v "$tool" >/dev/null 2>&1 || { packages="$packages $package"; return 0; }
    done
}

need build-essential cc c++ make
need pkg-config pkg-config
need git git
need ca-certificates update-ca-certificates
# RocksDB's bindings are generated with libclang, which comes as a library only; libclang-cpp is another one.
has_libclang() {
    for file in /usr/lib/llvm-*/lib/libclang[.-]* /usr/lib/*/libclang[.-]*; do
        case $file in
        *libclang-cpp*) ;;
        *.so | *.so.*) [ -e "$file" ] && return 0 ;;
        esac
    done
    return 1
}
has_libclang || packages="$packages libclang-dev"
if [ "$what" = test ]; then
    need default-jdk-headless java javac
    need maven mvn
    need util-linux setpriv
    need golang-go go
    need nodejs node
    need npm npm
    need restic restic
    # The page of the daemon is looked at in a browser.
    need python3 python3
    python3 -c 'import ensurepip, venv' 2>/dev/null || /usr/bin/python3 -c 'import ensurepip, venv' 2>/dev/null || packages="$packages python3-venv"
    need chromium chromium
    need chromium-driver chromedriver
    # For tests/deploy; Debian's python3, whatever other comes first.
    python3 -c 'import yaml, tomllib' 2>/dev/null || /usr/bin/python3 -c 'import yaml, tomllib' 2>/dev/null || packages="$packages python3-yaml"
fi

if [ -n "$packages" ]; then
    if ! command -v apt-get >/dev/null 2>&1; then
        echo "install-deps: missing, and there is no apt-get to install it with:$packages" >&2
        exit 1
    fi
    root=
    [ "$(id -u)" = 0 ] || root=sudo
    echo "install-deps: apt-get install$packages"
    $root env DEBIAN_FRONTEND=noninteractive apt-get -q update
    # shellcheck disable=SC2086 # a list of words
    $root env DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends $packages
fi

if ! command -v cargo >/dev/null 2>&1; then
    echo "install-deps: Rust is missing: install it from https://rustup.rs and run this again" >&2
    exit 1
fi
