"""Counts checks, and says which failed; the others are silent."""

import sys

failures = []
count = 0


def check(holds, what):
    """What has to hold, in words that make sense when it does not."""
    global count
    count += 1
    if not holds:
        failures.append(what)
        print(f"FAILED: {what}", file=sys.stderr)


def end(of):
    """The last line, and the exit code."""
    print(f"{'ok' if not failures else 'FAILED'}: {of}: {count} checks, {len(failures)} failed")
    sys.exit(1 if failures else 0)
