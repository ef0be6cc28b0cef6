#!/bin/sh
# Installs Schemathesis, which tries the daemon's REST interface against its own description, in one pinned version from PyPI into
# a cache folder. What is already there is left alone. Exit code 1 where it cannot be had, unless ZOOARK_ALLOW_MISSING_TOOLS is set.
#
#   tests/live/fetch-schemathesis.sh
#   tests/live/fetch-schemathesis.sh report    installs nothing; names it where it is missing, for the end of a test run
set -eu

# tests/live/service_described.rs names the same version.
version=4.32.5
home=${ZOOARK_TEST_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/zooark/tools}/schemathesis-$version
[ ! -e "$home/complete" ] || exit 0
if [ "${1:-}" = report ]; then
    echo "fetch-schemathesis: NOT TESTED, because not installed: schemathesis" >&2
    [ -n "${ZOOARK_ALLOW_MISSING_TOOLS:-}" ] || exit 1
    exit 0
fi

# One that can make an environment: Debian's has that in a package of its own.
for python in python3 /usr/bin/python3; do
    "$python" -c 'import ensurepip, venv' 2>/dev/null && break
    python=
done
echo "fetch-schemathesis: $version into $home"
rm -rf "$home"
if [ -n "$python" ] && mkdir -p "$home" && "$python" -m venv "$home" &&
    "$home/bin/python" -m pip install --quiet --disable-pip-version-check "schemathesis==$version"; then
    : >"$home/complete"
    exit 0
fi
echo "fetch-schemathesis: NOT INSTALLED: schemathesis$([ -n "$python" ] || echo ' (no Python with venv: run make install-deps)')" >&2
[ -n "${ZOOARK_ALLOW_MISSING_TOOLS:-}" ] || exit 1
