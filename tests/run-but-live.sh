#!/bin/sh
# Runs a test program for cargo, but for the live tests, which tests/run.sh runs beside.
case ${1##*/} in
    live-*) echo "running beside these" ;;
    *) exec "$@" ;;
esac
