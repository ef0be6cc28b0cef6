#!/usr/bin/env python3
"""Checks of the files in deploy/ that need no tool: alerts, dashboard, example configuration, Dockerfile.

Every metric that an alert or the dashboard asks for must be one that the daemon has, and be described. The names are read out of
crates/server once that is there, and until then out of docs/operations/monitoring.md.
"""

import json
import re
import sys
import tomllib
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(__file__).parent))
from checks import check, end

NAME = re.compile(r"\b(?:zooark|backup)_[a-z0-9_]+\b")


def expressions():
    """(where, PromQL) of every alert and panel."""
    for alert in alerts():
        yield f"alert {alert['alert']}", alert["expr"]
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", []):
            yield f"panel {panel['title']!r}", target["expr"]
    for variable in dashboard()["templating"]["list"]:
        if variable["type"] == "query":
            yield f"variable {variable['name']}", variable["query"]["query"]


def alerts():
    groups = yaml.safe_load(Path("deploy/monitoring/alerts.yaml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def dashboard():
    return json.loads(Path("deploy/monitoring/dashboard.json").read_text())


def documented():
    """Metric → its kind, from the table."""
    rows = re.findall(r"^\| `((?:zooark|backup)_[a-z0-9_]+)` \| (\w+) \| ([^|]+) \| ([^|]+) \|$", Path("docs/operations/monitoring.md").read_text(), re.M)
    check(len(rows) == len({row[0] for row in rows}), "monitoring.md: each metric has one row")
    return {name: kind for name, kind, _, _ in rows}


def in_code():
    """Names that crates/server registers, or None while it has none."""
    files = sorted(Path("crates/server/src").glob("metrics*")) if Path("crates/server/src").is_dir() else []
    sources = [f for f in files if f.is_file()] + [f for d in files if d.is_dir() for f in d.rglob("*.rs")]
    names = {name for file in sources for name in re.findall(r'"((?:zooark|backup)_[a-z0-9_]+)"', file.read_text())}
    return names or None


def metrics():
    kinds = documented()
    names = in_code()
    if names is None:
        print("metrics: crates/server has no list yet; held to docs/operations/monitoring.md")
        names = set(kinds)
    else:
        # A metric's parts may be named in the code too.
        bare = {re.sub(r"_(bucket|sum|count)$", "", n) if re.sub(r"_(bucket|sum|count)$", "", n) in kinds else n for n in names}
        check(bare == set(kinds), f"monitoring.md and crates/server name the same metrics; only one has {sorted(bare ^ set(kinds))}")
        names = bare
    used = set()
    for where, expression in expressions():
        found = NAME.findall(expression)
        check(found or "up{" in expression, f"{where} asks for a metric")
        check('job="zooark"' in expression, f"{where} asks for the job zooark")
        for name in found:
            bare = re.sub(r"_(bucket|sum|count)$", "", name)
            name = bare if kinds.get(bare) == "histogram" else name
            used.add(name)
            check(name in names, f"{where} asks for {name}, which the daemon does not have")
            counted = re.search(rf"\b(rate|increase)\({name}(_bucket)?\b", expression) is not None
            check(counted == (kinds.get(name) in ("counter", "histogram")), f"{where}: {name} is a {kinds.get(name)}, and is used as another kind")
    for name in sorted(set(kinds) - used - {"zooark_last_zxid"}):
        check(False, f"{name} is in no alert and on no panel")


def rules():
    doc = Path("docs/operations/monitoring.md").read_text()
    tests = yaml.safe_load(Path("deploy/monitoring/alerts.test.yaml").read_text())["tests"]
    cases = [case for test in tests for case in test["alert_rule_test"]]
    names = [rule["alert"] for rule in alerts()]
    check(len(names) == len(set(names)), "alerts have names of their own")
    for rule in alerts():
        name = rule["alert"]
        severity = rule["labels"].get("severity")
        check(severity in ("critical", "warning", "info"), f"{name} has a severity")
        for key in ("summary", "description", "action"):
            check(rule["annotations"].get(key, "").strip(), f"{name} has the annotation {key}")
        check(re.search(rf"^\| `{name}` \| {severity} \|", doc, re.M), f"{name} is in monitoring.md, with its severity")
        check(any(c["alertname"] == name and c.get("exp_alerts") for c in cases), f"{name} fires in a test")
        check(any(c["alertname"] == name and not c.get("exp_alerts") for c in cases), f"{name} is silent in a test")
    for name in re.findall(r"`(ZooArk\w+)`", doc):
        check(name in names, f"monitoring.md names {name}, which is no alert")


def panels():
    board = dashboard()
    ids = [panel["id"] for panel in board["panels"]]
    check(len(ids) == len(set(ids)), "panels have ids of their own")
    taken = set()
    for panel in board["panels"]:
        at = panel["gridPos"]
        check(at["x"] + at["w"] <= 24, f"panel {panel['title']!r} fits into the width")
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        check(not cells & taken, f"panel {panel['title']!r} covers no other")
        taken |= cells
        check(panel["type"] == "row" or panel.get("targets"), f"panel {panel['title']!r} asks for something")


def example():
    config = tomllib.loads(Path("deploy/zooark.toml").read_text())
    for table in ("server", "repository", "copy", "cluster", "restore_target", "auth", "notify", "leader", "log"):
        check(table in config, f"deploy/zooark.toml shows [{table}]")
    names = {copy["name"] for copy in config["copy"]}
    check(all(set(c.get("copies", [])) <= names for c in config["cluster"]), "deploy/zooark.toml: copies are named that are there")
    check(config["server"]["listen"].startswith("127.0.0.1:"), "deploy/zooark.toml listens on loopback")


def dockerfile():
    text = Path("Dockerfile").read_text()
    last = text[text.rindex("\nFROM "):]
    check(re.search(r"^USER 65532:65532$", last, re.M), "the image runs as 65532")
    check("HEALTHCHECK" not in text, "the image has no HEALTHCHECK: the daemon has /healthz")
    check(re.search(r'^ENTRYPOINT \["/usr/bin/zooark"\]$', last, re.M), "the image starts zooark")
    check(all(re.search(r":[\w.-]+", base) for base in re.findall(r"^FROM (\S+)", text, re.M)), "base images have tags")
    rust = re.search(r"^FROM rust:(\d+\.\d+)-", text, re.M).group(1)
    pinned = tomllib.loads(Path("rust-toolchain.toml").read_text())["toolchain"]["channel"]
    check(pinned.startswith(rust + "."), f"the image's Rust is rust-toolchain.toml's, {pinned}")
    workspace = tomllib.loads(Path("Cargo.toml").read_text())["workspace"]["members"]
    sent = Path(".dockerignore").read_text().split("\n")
    for member in workspace:
        check(f"!{member.split('/')[0]}" in sent, f".dockerignore lets {member} through, which Cargo wants to see")


metrics()
rules()
panels()
example()
dockerfile()
end("files in deploy/")
