#!/bin/sh
# Tests of what is in deploy/, without a cluster and without the network once the tools are there: the chart is linted and
# rendered with Helm, what comes out is checked, also against the types of Kubernetes' API (manifests/), and promtool runs
# the tests of the alert rules.
#
# The tools are installed into a cache folder, each in one pinned version; a second run installs nothing. What
# cannot be had is named, and the exit code is 1 unless ZOOARK_ALLOW_MISSING_TOOLS is set.
#
#   tests/deploy/run.sh            ZOOARK_UPDATE_RENDERED=1: writes tests/deploy/rendered/ anew
#   tests/deploy/run.sh tools      installs the tools and tests nothing
set -eu
cd "$(dirname "$0")/../.."

cache=${ZOOARK_TEST_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/zooark/tools}
helm=v3.19.0
prometheus=v0.305.0
# Builds both. A Go that cannot fetch a newer toolchain by itself (before 1.21) gets this one.
toolchain=go1.25.0

go_command() {
    command -v go >/dev/null 2>&1 || { echo "deploy-test: Go is missing (Debian: golang-go)" >&2; return 1; }
    minor=$(go env GOVERSION | sed -n 's/^go1\.\([0-9]*\).*/\1/p')
    if [ "${minor:-0}" -ge 21 ]; then
        command -v go
        return
    fi
    # Where the tests' stores keep it too.
    modules=${ZOOARK_TEST_STORES:-${XDG_CACHE_HOME:-$HOME/.cache}/zooark/stores}/toolchain
    module=golang.org/toolchain@v0.0.1-$toolchain.$(go env GOOS)-$(go env GOARCH)
    if [ ! -x "$modules/$module/bin/go" ]; then
        echo "deploy-test: $(go env GOVERSION) is too old: $toolchain into $modules" >&2
        (cd / && GOFLAGS=-modcacherw GOMODCACHE="$modules" go mod download "$module") >&2 || return 1
        chmod -R +x "$modules/$module/bin" "$modules/$module/pkg/tool" || return 1
    fi
    echo "$modules/$module/bin/go"
}

# At the lowest priority: it takes minutes, and other tests measure.
build() { env -u GOROOT CGO_ENABLED=0 GOTOOLCHAIN=auto GOFLAGS=-trimpath nice -n 19 "$@"; }

install_helm() {
    [ ! -x "$cache/helm-$helm" ] || return 0
    go=$(go_command) || return 1
    echo "deploy-test: building Helm $helm, once"
    scratch=$(mktemp -d "$cache/scratch.XXXXXX")
    GOBIN=$scratch build "$go" install "helm.sh/helm/v3/cmd/helm@$helm" || { rm -rf "$scratch"; return 1; }
    mv "$scratch/helm" "$cache/helm-$helm"
    rm -rf "$scratch"
}

# Built again when its source changes.
install_manifests() {
    manifests=$cache/manifests-$(cat tests/deploy/manifests/* | cksum | cut -d' ' -f1)
    [ ! -x "$manifests" ] || return 0
    go=$(go_command) || return 1
    echo "deploy-test: building the check against Kubernetes' types, once"
    (cd tests/deploy/manifests && build "$go" build -o "$manifests.new" .) || return 1
    mv "$manifests.new" "$manifests"
}

# One that is there, or Debian's, of which only this file is unpacked and nothing installed, or one built from its Go module.
# `go install` refuses that module for its replace directives; from within another module it is built without them.
install_promtool() {
    ! command -v promtool >/dev/null 2>&1 || { promtool=promtool; return 0; }
    promtool=$cache/promtool
    [ ! -x "$promtool" ] || return 0
    scratch=$(mktemp -d "$cache/scratch.XXXXXX")
    if command -v apt-get >/dev/null 2>&1 && command -v dpkg-deb >/dev/null 2>&1; then
        echo "deploy-test: taking promtool out of Debian's package"
        if (cd "$scratch" && apt-get -q download prometheus && dpkg-deb --fsys-tarfile prometheus_*.deb | tar xf - ./usr/bin/promtool) \
            >"$scratch/log" 2>&1 && "$scratch/usr/bin/promtool" --version >/dev/null; then
            mv "$scratch/usr/bin/promtool" "$promtool"
            rm -rf "$scratch"
            return 0
        fi
    fi
    go=$(go_command) || { rm -rf "$scratch"; return 1; }
    echo "deploy-test: building promtool $prometheus, once"
    (
        cd "$scratch"
        printf 'module promtool\n\ngo 1.24\n' >go.mod
        build "$go" get "github.com/prometheus/prometheus/cmd/promtool@$prometheus" >get.log 2>&1 || { cat get.log >&2; exit 1; }
        build "$go" build -o promtool github.com/prometheus/prometheus/cmd/promtool
    ) || { rm -rf "$scratch"; return 1; }
    mv "$scratch/promtool" "$promtool"
    rm -rf "$scratch"
}

# One with PyYAML and tomllib; another python3 may come before Debian's.
python=
for candidate in python3 /usr/bin/python3; do
    if "$candidate" -c 'import yaml, tomllib' >/dev/null 2>&1; then python=$candidate; break; fi
done
[ -n "$python" ] || { echo "deploy-test: python3 of 3.11 or later with PyYAML is missing (Debian: python3-yaml)" >&2; exit 1; }

mkdir -p "$cache"
if [ "${1:-}" = tools ]; then
    install_helm && install_promtool && install_manifests
    exit
fi
missing=
failed=

install_manifests || { missing="$missing manifests" manifests=; }
if install_helm; then
    "$python" tests/deploy/chart.py "$cache/helm-$helm" ${manifests:+"$manifests"} || failed="$failed chart"
else
    missing="$missing helm"
fi

if install_promtool; then
    "$promtool" check rules deploy/monitoring/alerts.yaml || failed="$failed rules"
    "$promtool" test rules deploy/monitoring/alerts.test.yaml || failed="$failed rule-tests"
else
    missing="$missing promtool"
fi

"$python" tests/deploy/files.py || failed="$failed files"

if command -v systemd-analyze >/dev/null 2>&1; then
    scratch=$(mktemp -d)
    # Only the program has to exist.
    sed 's#/usr/bin/zooark#/bin/true#' deploy/systemd/zooark.service >"$scratch/zooark.service"
    # Verifying needs a directory for its sockets; where it may not have one, the unit is not verified.
    if said=$(systemd-analyze verify "$scratch/zooark.service" 2>&1) && [ -z "$said" ]; then
        echo "ok: systemd takes the unit"
    else
        echo "$said" >&2
        failed="$failed systemd-verify"
    fi
    # 10 is no protection, 0 is all: it must not get worse.
    if systemd-analyze security --offline=true --threshold=20 "$scratch/zooark.service" >"$scratch/security" 2>&1; then
        echo "ok: $(grep Overall "$scratch/security" | sed 's/^[^O]*//')"
    else
        grep -E '^✗|Overall' "$scratch/security" >&2 || cat "$scratch/security" >&2
        failed="$failed systemd-security"
    fi
    rm -rf "$scratch"
else
    echo "deploy-test: not run, for systemd-analyze is not there: the unit's checks" >&2
fi

if docker buildx version >/dev/null 2>&1; then
    docker build --check . || failed="$failed dockerfile"
else
    echo "deploy-test: not run, for docker has no buildx here: docker build --check; the image is not built by any test" >&2
fi

if [ -n "$missing" ]; then
    echo "deploy-test: not run, for it could not be had:$missing" >&2
    [ -n "${ZOOARK_ALLOW_MISSING_TOOLS:-}" ] || failed="$failed missing-tools"
fi
if [ -n "$failed" ]; then
    echo "deploy-test: FAILED:$failed" >&2
    exit 1
fi
echo "deploy-test: all that was run passed"
