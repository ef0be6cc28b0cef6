#!/usr/bin/env python3
"""Lints and renders the chart for each file in tests/deploy/values, and checks what comes out.

    tests/deploy/chart.py HELM [MANIFESTS]

MANIFESTS is the program of tests/deploy/manifests: every object rendered must be one of Kubernetes' types, field by field.

What the chart makes of the values is also compared with tests/deploy/rendered/*.toml, which the daemon's own tests can parse
without Helm; ZOOARK_UPDATE_RENDERED=1 writes them anew.
"""

import base64
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(__file__).parent))
from checks import check, end

HELM = sys.argv[1]
MANIFESTS = sys.argv[2] if len(sys.argv) > 2 else None
CHART = "deploy/helm/zooark"
VALUES = Path("tests/deploy/values")
RENDERED = Path("tests/deploy/rendered")
# Helm must not look for a cluster, plugins or settings of whoever runs this.
HOME = tempfile.mkdtemp()
ENVIRONMENT = {"PATH": os.environ["PATH"], "HOME": HOME, "KUBECONFIG": os.devnull}


def helm(*arguments):
    return subprocess.run([HELM, *arguments], capture_output=True, text=True, env=ENVIRONMENT)


def render(name="zooark", chart=CHART, values=(), sets=()):
    """The documents, or what Helm said against it."""
    arguments = ["template", name, str(chart), "--namespace", "backup"]
    for file in values:
        arguments += ["-f", str(file)]
    for pair in sets:
        arguments += ["--set-json" if is_json(pair.partition("=")[2]) else "--set-string", pair]
    done = helm(*arguments)
    if done.returncode:
        return None, done.stderr
    docs = [doc for doc in yaml.safe_load_all(done.stdout) if doc]
    if MANIFESTS:
        typed = subprocess.run([MANIFESTS], input=done.stdout, capture_output=True, text=True, env=ENVIRONMENT)
        known = typed.returncode == 0 and typed.stdout == f"{len(docs)}\n"
        check(known, f"{values} {sets}: the objects are what Kubernetes knows: {typed.stderr}")
    return docs, done.stdout


def is_json(text):
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def kind(docs, wanted):
    return [doc for doc in docs if doc["kind"] == wanted]


def config_of(docs):
    return next(doc["data"]["zooark.toml"] for doc in kind(docs, "ConfigMap") if "zooark.toml" in doc["data"])


def objects(case, docs):
    """What holds of every object and pod."""
    seen = set()
    for doc in docs:
        name = doc["metadata"]["name"]
        check(doc["apiVersion"] and len(name) <= 63, f"{case}: {doc['kind']} {name} has a version and a short name")
        check((doc["kind"], name) not in seen, f"{case}: {doc['kind']} {name} is there once")
        seen.add((doc["kind"], name))
        check(doc["metadata"]["labels"]["app.kubernetes.io/instance"] == "zooark", f"{case}: {name} has its labels")
    deployment = kind(docs, "Deployment")[0]
    spec = deployment["spec"]
    labels = spec["template"]["metadata"]["labels"]
    check(spec["selector"]["matchLabels"].items() <= labels.items(), f"{case}: the Deployment selects its pods")
    many = spec["replicas"] > 1
    check(spec.get("strategy", {}).get("type") == (None if many else "Recreate"), f"{case}: a single pod is replaced, not doubled")
    pod(case, spec["template"]["spec"])
    container = spec["template"]["spec"]["containers"][0]
    ports = {p["name"]: p["containerPort"] for p in container["ports"]}
    for service in kind(docs, "Service"):
        check(service["spec"]["selector"].items() <= labels.items(), f"{case}: {service['metadata']['name']} selects the pods")
        for port in service["spec"]["ports"]:
            check(port["targetPort"] in ports, f"{case}: {service['metadata']['name']} leads to a port that is there")
    for monitor in kind(docs, "ServiceMonitor"):
        wanted = monitor["spec"]["selector"]["matchLabels"].items()
        hit = [s for s in kind(docs, "Service") if wanted <= s["metadata"]["labels"].items()]
        check(len(hit) == 1, f"{case}: the ServiceMonitor selects one Service")
        names = {p["name"] for p in hit[0]["spec"]["ports"]}
        check(all(e["port"] in names for e in monitor["spec"]["endpoints"]), f"{case}: the ServiceMonitor's port is there")
    for policy in kind(docs, "NetworkPolicy"):
        check(policy["spec"]["podSelector"]["matchLabels"].items() <= labels.items(), f"{case}: the NetworkPolicy selects the pods")
        for rule in policy["spec"]["ingress"]:
            check(rule.get("from"), f"{case}: the NetworkPolicy lets nobody in without naming them")
            check(all(p["port"] in ports for p in rule["ports"]), f"{case}: the NetworkPolicy's ports are there")
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        get = container[probe]["httpGet"]
        check(get["port"] in ports and get["path"] in ("/healthz", "/readyz"), f"{case}: {probe} asks what needs no token")
        check("httpHeaders" not in get, f"{case}: {probe} has no token")
    check(container["args"] == ["serve", "--config", "/etc/zooark/zooark.toml"], f"{case}: the daemon starts with its configuration")
    account = spec["template"]["spec"]["serviceAccountName"]
    check([a["metadata"]["name"] for a in kind(docs, "ServiceAccount")] == [account], f"{case}: the ServiceAccount is the pods'")
    return container, ports


def pod(case, spec):
    """Nothing is writable that need not be, nothing is root, and volumes and mounts belong together."""
    volumes = {v["name"]: v for v in spec["volumes"]}
    check(len(volumes) == len(spec["volumes"]), f"{case}: volumes have names of their own")
    check(spec["securityContext"]["runAsNonRoot"] is True and spec["securityContext"]["runAsUser"] != 0, f"{case}: not root")
    check(spec["automountServiceAccountToken"] is False, f"{case}: no token of Kubernetes")
    used = set()
    for container in spec.get("initContainers", []) + spec["containers"]:
        used |= mounts(case, container, volumes)
    check(used == set(volumes), f"{case}: every volume is mounted; not {sorted(set(volumes) - used)}")


def mounts(case, container, volumes):
    secure = container["securityContext"]
    who = f"{case}: {container['name']}"
    check(secure["readOnlyRootFilesystem"] is True, f"{who} cannot write to its root")
    check(secure["allowPrivilegeEscalation"] is False and secure["capabilities"]["drop"] == ["ALL"], f"{who} has no privileges")
    paths = [m["mountPath"] for m in container["volumeMounts"]]
    check(len(paths) == len(set(paths)), f"{who} mounts each path once")
    names = {m["name"] for m in container["volumeMounts"]}
    check(names <= set(volumes), f"{who} mounts volumes that are there; not {sorted(names - set(volumes))}")
    check(all("resources" in container and container["resources"]["limits"]["memory"] for _ in [0]), f"{who} has a bound of memory")
    for env in container.get("env", []):
        check("value" in env or "valueFrom" in env, f"{who}: {env['name']} has a value")
    check(len({e["name"] for e in container.get("env", [])}) == len(container.get("env", [])), f"{who}: variables once")
    return names


def daemon_config(case, docs, container, ports):
    """The configuration parses, asks for tokens, and names only files that are mounted."""
    text = config_of(docs)
    config = tomllib.loads(text)
    server = config["server"]
    check(server["listen"] == f"0.0.0.0:{ports['http']}", f"{case}: listens on all addresses, at the container's port")
    check(server["metrics_listen"] == f"0.0.0.0:{ports['metrics']}", f"{case}: metrics at the container's port")
    check(config["auth"].get("tokens_file", "").startswith("/run/secrets/tokens/"), f"{case}: tokens are required")
    check(config["auth"]["allow_loopback_without_token"] is False, f"{case}: tokens are required on loopback, too")
    scheme = "HTTPS" if "tls" in server else "HTTP"
    check(container["readinessProbe"]["httpGet"]["scheme"] == scheme, f"{case}: probes speak {scheme}")
    read_only = {m["mountPath"] for m in container["volumeMounts"] if m.get("readOnly")}
    writable = {m["mountPath"] for m in container["volumeMounts"] if not m.get("readOnly")}
    for path in (server["state_dir"], config["repository"]["cache_dir"]):
        check(any(path == w or path.startswith(w + "/") for w in writable), f"{case}: {path} can be written to")
    for key, path in files_in(config):
        check(path.rpartition("/")[0] in read_only, f"{case}: {key} = {path} is mounted")
    check(all("schedule" in c or "backup_interval" in c for c in config["cluster"]), f"{case}: every cluster has a schedule")
    # No secret goes into a ConfigMap: only its file's name does.
    check(not re.search(r"(?im)^\s*(password|token|secret|access_key)\s*=", text), f"{case}: no secret in the ConfigMap")
    golden = RENDERED / f"{case}.toml"
    if os.environ.get("ZOOARK_UPDATE_RENDERED"):
        golden.write_text(text)
    check(golden.is_file() and golden.read_text() == text, f"{case}: the configuration is that of {golden}")
    return config


def files_in(value, key=""):
    """(key, path) of everything that names a file to read."""
    if isinstance(value, dict):
        for k, v in value.items():
            yield from files_in(v, k)
    elif isinstance(value, list):
        for v in value:
            yield from files_in(v, key)
    elif isinstance(value, str) and (key.endswith("_file") or key in ("cert", "key", "tls_ca", "tls_cert", "tls_key", "tls_pkcs12")):
        yield key, value


def cases():
    for file in sorted(VALUES.glob("*.yaml")):
        case = file.stem
        done = helm("lint", "--strict", CHART, "-f", str(file))
        check(done.returncode == 0, f"{case}: helm lint --strict says {done.stdout}{done.stderr}")
        docs, text = render(values=[file])
        check(docs is not None, f"{case}: renders; Helm says {text}")
        if docs is None:
            continue
        container, ports = objects(case, docs)
        config = daemon_config(case, docs, container, ports)
        globals()[f"of_{case}"](docs, config, container)


def of_minimal(docs, config, container):
    kinds = sorted(doc["kind"] for doc in docs)
    check(kinds == ["ConfigMap", "Deployment", "PersistentVolumeClaim", "Secret", "Service", "Service", "ServiceAccount"], f"minimal: has just what it needs, not {kinds}")
    check(config["repository"]["url"] == "s3://backups/zooark", "minimal: bucket and backupPrefix are the URL")
    check(config["cluster"][0]["backup_interval"] == 600, "minimal: every ten minutes")
    check("tls" not in config["server"], "minimal: no TLS")
    # The made tokens: a line for each role, and the same tokens by themselves.
    secret = kind(docs, "Secret")[0]
    data = {k: base64.b64decode(v).decode() for k, v in secret["data"].items()}
    lines = data["tokens"].splitlines()
    roles = [line.partition(":")[0] for line in lines]
    tokens = [line.partition(":")[2] for line in lines]
    check(roles == ["read", "values", "backup", "restore", "admin"], "minimal: a token for each role")
    check(all(re.fullmatch(r"[A-Za-z0-9]{40}", t) for t in tokens) and len(set(tokens)) == 5, "minimal: tokens are long, and differ")
    check(all(data[role] == token for role, token in zip(roles, tokens)), "minimal: the tokens stand by themselves, too")
    again, _ = render(values=[VALUES / "minimal.yaml"])
    check(kind(again, "Secret")[0]["data"] != secret["data"], "minimal: tokens are random")
    check(kind(again, "Deployment") == kind(docs, "Deployment"), "minimal: pods do not change with them")
    mounted = next(v for v in kind(docs, "Deployment")[0]["spec"]["template"]["spec"]["volumes"] if v["name"] == "tokens")
    check(mounted["secret"]["secretName"] == secret["metadata"]["name"], "minimal: the made tokens are mounted")


def of_streamnative(docs, config, container):
    check(config["repository"]["url"] == "s3a://metadata-backup/pulsar-backup", "streamnative: bucket and prefix")
    check(config["server"]["listen"].endswith(":8088"), "streamnative: webServerPort in quotes")
    check([c["backup_interval"] for c in config["cluster"]] == [600, 600], "streamnative: backupInterval in quotes is a number")
    check("include" not in config["cluster"][0], "streamnative: all is backed up")
    check(config["cluster"][1]["include"] == ["/admin", "/managed-ledgers"], "streamnative: managedLedgerPath joins what is included")
    check(container["envFrom"] == [{"secretRef": {"name": "aws-secret"}}], "streamnative: credentials are variables")
    account = kind(docs, "ServiceAccount")[0]
    check("eks.amazonaws.com/role-arn" in account["metadata"]["annotations"], "streamnative: the role is on the ServiceAccount")


def of_all(docs, config, container):
    values = yaml.safe_load((VALUES / "all.yaml").read_text())
    check(not kind(docs, "Secret") and not kind(docs, "PersistentVolumeClaim"), "all: neither Secret nor claim is made")
    check(config["auth"]["tokens_file"] == "/run/secrets/tokens/roles", "all: tokens of one's own")
    check(config["repository"]["key_file"] == "/run/secrets/repository/key" and "password_file" not in config["repository"], "all: key file")
    check(config["repository"]["options"] == {"connections": "16", "endpoint": "https://blob.example/a&b", "timeout": "30"}, "all: options of the store are text")
    for given, got in zip(values["clusters"], config["cluster"]):
        expected = {"zk_auth_file": "/run/secrets/zk-auth-of-all/auth", **given}
        check(got == expected, f"all: cluster {given['name']} comes out as it went in")
    check(config["copy"] == values["copies"] and config["restore_target"] == values["restoreTargets"], "all: copies, targets")
    check(config["notify"] == values["notify"], "all: webhooks")
    check(config["leader"] == {"mode": "repository", "lease": "30s"}, "all: leader")
    rule = kind(docs, "PrometheusRule")[0]["spec"]
    check(rule == yaml.safe_load(Path("deploy/monitoring/alerts.yaml").read_text()), "all: the PrometheusRule is alerts.yaml, nothing filled in")
    board = next(doc for doc in kind(docs, "ConfigMap") if "zooark.json" in doc["data"])
    check(json.loads(board["data"]["zooark.json"]) == json.loads(Path("deploy/monitoring/dashboard.json").read_text()), "all: the dashboard is dashboard.json")
    template = kind(docs, "Deployment")[0]["spec"]["template"]
    check(template["spec"]["containers"][0]["image"].endswith("@sha256:" + "0123456789abcdef" * 4), "all: image by digest")
    check(template["metadata"]["labels"]["azure.workload.identity/use"] == "true", "all: pods have the labels given")


# What is refused, and a part of what has to be said about it.
REFUSED = [
    # names that do not exist, at each depth
    ("backupIntervall=600", "backupIntervall"),
    ('restore={"restoreVersoin":2}', "restoreVersoin"),
    ('clusters=[{"name":"a","source":"zk://a","shedule":"@every 1m"}]', "shedule"),
    ('clusters=[{"name":"a","source":"zk://a","retention":{"keep_forever":1}}]', "keep_forever"),
    ('clusters=[{"name":"a","source":"zk://a","check":{"schedule":"0 4 * * *","subset":"5%"}}]', "subset"),
    # wrong types and values
    ("webServerPort=http", "webServerPort"),
    ("webServerPort=70000", "webServerPort"),
    ('backupInterval="10m"', "backupInterval"),
    ("backupInterval=0", "backupInterval"),
    ('clusters={"name":"a"}', "clusters"),
    ('clusters=[{"name":"a"}]', "source"),
    ('clusters=[{"name":"a","source":"zookeeper:2181"}]', "source"),
    ('clusters=[{"name":"a","source":"zk://a","tags":"one"}]', "tags"),
    ('clusters=[{"name":"a","source":"zk://a","max_shrink":2}]', "max_shrink"),
    ('clusters=[{"name":"a","source":"zk://a","full":{"every":0}}]', "full"),
    ("managedLedgerPath=managed-ledgers", "managedLedgerPath"),
    ('clusters=[{"name":"a b","source":"zk://a"}]', "name"),
    ('clusters=[{"name":"a","source":"zk://a","retention":{"max_copies":3}}]', "max_copies"),
    ("log.format=xml", "format"),
    ("leader.mode=raft", "mode"),
    ("image.digest=latest", "digest"),
    ('secretMounts={"Bad_Name":"x"}', "Bad_Name"),
    ('replicaCount="two"', "replicaCount"),
    # what makes no sense together
    ("bucket=", "where do backups go"),
    ("bucket=metadata-backup", "starts with s3://"),
    ("clusters=[]", "what is to be backed up"),
    ('clusters=[{"name":"a","source":"zk://a"},{"name":"a","source":"zk://b"}]', 'two clusters are called "a"'),
    ('clusters=[{"name":"a","source":"zk://a","schedule":"@every 1m","backup_interval":60}]', "both schedule and backup_interval"),
    ("repository.existingSecret=", "set repository.existingSecret"),
    ("repository.unencrypted=true", "contradict each other"),
    ("replicaCount=2", "needs leader.mode: repository"),
    ("replicaCount=2 leader.mode=repository", "needs persistence.enabled: false"),
    ("metrics.port=8088", "are both 8088"),
]


def refusals():
    for setting, words in REFUSED:
        docs, said = render(values=[VALUES / "minimal.yaml"], sets=setting.split(" ") if "{" not in setting else [setting])
        check(docs is None, f"refused: {setting}")
        check(docs is not None or words in said, f"{setting} is refused with {words!r}, not with: {said}")
    docs, said = render()
    check(docs is None and "set repository.existingSecret" in said or "where do backups go" in said, f"without values it says what is missing: {said}")


def every_value_is_known():
    """values.yaml and its schema name the same, and each value has a comment above it or above its group."""
    schema = json.loads(Path(CHART, "values.schema.json").read_text())
    values = yaml.safe_load(Path(CHART, "values.yaml").read_text())
    missing = set(schema["properties"]) - {"global", "enabled"}
    check(set(values) == missing, f"values.yaml and the schema name the same; only one has {sorted(set(values) ^ missing)}")
    for name, value in values.items():
        inner = schema["properties"][name]
        if isinstance(value, dict) and inner.get("additionalProperties") is False:
            check(set(value) == set(inner["properties"]), f"{name}: values.yaml and the schema name the same; only one has {sorted(set(value) ^ set(inner['properties']))}")
    lines = Path(CHART, "values.yaml").read_text().splitlines()
    commented = False
    for i, line in enumerate(lines):
        if not line.strip():
            commented = False
        elif line.lstrip().startswith("#"):
            commented = True
        elif re.match(r"[a-zA-Z]", line) and not line.startswith(("nameOverride", "fullnameOverride", "imagePullSecrets", "pod", "node", "toler", "affin", "prior", "service", "resources", "securityContext", "image:", "log:", "leader:", "tls:", "auth:", "repository:", "networkPolicy:")):
            check(commented, f"values.yaml: {line!r} has a comment")


def first_container():
    """The container that makes the repository: only where there is none, and never again."""
    docs, _ = render(values=[VALUES / "minimal.yaml"], sets=["repository.options.region=eu-west-1"])
    init = kind(docs, "Deployment")[0]["spec"]["template"]["spec"]["initContainers"][0]
    with tempfile.TemporaryDirectory() as directory:
        fake = Path(directory, "zooark")
        calls = Path(directory, "calls")
        fake.write_text('#!/bin/sh\necho "$*" >>"$CALLS"\ncase "$*" in *snapshots*) exit "$SNAPSHOTS" ;; esac\nexit "$INIT"\n')
        fake.chmod(fake.stat().st_mode | stat.S_IXUSR)
        for snapshots, made, code, initialised in [(0, 0, 0, False), (3, 0, 0, False), (10, 0, 0, True), (10, 1, 1, True), (1, 0, 1, False), (12, 0, 12, False)]:
            calls.write_text("")
            environment = {"PATH": f"{directory}:/usr/bin:/bin", "CALLS": str(calls), "SNAPSHOTS": str(snapshots), "INIT": str(made)}
            done = subprocess.run(init["command"], env=environment, capture_output=True, text=True)
            said = calls.read_text()
            check(done.returncode == code, f"init: after {snapshots} and {made} the container ends with {code}, not {done.returncode}")
            check((" init" in said) == initialised, f"init: after {snapshots} a repository is {'made' if initialised else 'not made'}: {said!r}")
            check("-o region=eu-west-1" in said, f"init: settings of the store go along: {said!r}")
    docs, _ = render(values=[VALUES / "minimal.yaml"], sets=["repository.init=false"])
    check("initContainers" not in kind(docs, "Deployment")[0]["spec"]["template"]["spec"], "init: can be switched off")
    docs, _ = render(values=[VALUES / "minimal.yaml"], sets=["repository.existingSecret=", "repository.unencrypted=true"])
    script = kind(docs, "Deployment")[0]["spec"]["template"]["spec"]["initContainers"][0]["command"][2]
    check("init --unencrypted" in script, "init: an unencrypted repository is made only where that was said")


def restore():
    """The init container, as a chart of ZooKeeper gets it."""
    with tempfile.TemporaryDirectory() as directory:
        umbrella = Path(directory, "ensemble")
        shutil.copytree("tests/deploy/umbrella", umbrella)
        shutil.copytree(CHART, umbrella / "charts" / "zooark")

        def ensemble(file, *sets):
            values = Path(directory, "values.yaml")
            values.write_text(yaml.safe_dump({"zooark": yaml.safe_load(file.read_text())}))
            docs, said = render(chart=umbrella, values=[values], sets=sets)
            if docs is None:
                return None, said
            spec = kind(docs, "StatefulSet")[0]["spec"]["template"]["spec"]
            return {**spec, "initContainers": spec["initContainers"] or [], "volumes": spec["volumes"] or []}, said

        spec, said = ensemble(VALUES / "minimal.yaml")
        check(spec is not None and not spec["initContainers"] and not spec["volumes"], f"restore: nothing without a restorePoint: {said if spec is None else ''}")
        spec, said = ensemble(VALUES / "minimal.yaml", "zooark.enabled=false")
        check(spec is not None and not spec["initContainers"], f"restore: nothing where the subchart is off: {said if spec is None else ''}")

        spec, _ = ensemble(VALUES / "streamnative.yaml")
        container = spec["initContainers"][0]
        wanted = ["--no-cache", "restore", "4f1c20aa", "datadir:/pulsar/data/zookeeper", "--once", "2", "--member", "$(POD_NAMESPACE)/$(POD_NAME)", "--cluster", "pulsar", "--server-version", "3.9"]
        check(container["args"] == wanted, f"restore: streamnative: {container['args']}")
        check(container["securityContext"]["runAsUser"] == 10000, "restore: the files are the server's")
        volumes = {v["name"] for v in spec["volumes"]} | {"pulsar-zookeeper-data"}
        check(mounts("restore: streamnative", container, volumes) == volumes, "restore: streamnative: volumes are mounted")

        spec, _ = ensemble(VALUES / "all.yaml")
        container = spec["initContainers"][0]
        text = " ".join(container["args"])
        for part in ["-o connections=16", "--limit-download 4096", "restore @2026-11-20T10:00Z datadir:/bitnami/zookeeper/data?log=/bitnami/zookeeper/log --once 7", "--cluster pulsar-prod", "--extended-types true", "--seen-zxid 0x500000000"]:
            check(part in text, f"restore: all: {part} in {text}")
        check(all(isinstance(a, str) for a in container["args"]), "restore: all: arguments are text")
        volumes = {v["name"] for v in spec["volumes"]} | {"data", "log"}
        check(mounts("restore: all", container, volumes) == volumes, "restore: all: volumes are mounted")

        for setting, words in [
            ("zooark.restore.restorePoint=newest", "four or more hex digits"),
            ("zooark.restore.restorePoint=s3a://b/pulsar-backup-1623721488825.tar.gz", "a file of another tool"),
            ("zooark.restore.restorePoint=4f1c20aa:/brokers", "without a path"),
            ("zooark.restore.restorePoint=yesterday", "four or more hex digits"),
            ("zooark.restore.restorePoint=1234", "restorePoint"),
            ("zooark.restore.restoreVersion=one", "restoreVersion"),
            ("zooark.restore.restoreVersion=0", "restoreVersion"),
            ("zooark.restore.dataDir=data", "dataDir"),
            ("zooark.restore.runAsUser=0", "runAsUser"),
        ]:
            spec, said = ensemble(VALUES / "streamnative.yaml", setting)
            check(spec is None and words in said, f"restore: {setting} is refused with {words!r}, not with: {said if spec is None else 'nothing'}")

        for point in ("latest", "latest~2", "zxid:0x500000021"):
            spec, said = ensemble(VALUES / "streamnative.yaml", f"zooark.restore.restorePoint={point}")
            check(spec is not None and spec["initContainers"][0]["args"][2] == point, f"restore: {point} is taken: {said if spec is None else ''}")

        # The plain form in the documentation is what the template makes.
        text = Path("docs/operations/kubernetes.md").read_text()
        plain = yaml.safe_load(re.search(r"^```yaml restore\n(.*?)^```$", text, re.M | re.S).group(1))
        spec, said = ensemble(VALUES / "minimal.yaml", "zooark.backupPrefix=pulsar", "zooark.restore.restorePoint=4f1c20aa", "zooark.restore.cluster=pulsar", "zooark.repository.credentialsSecret=zooark-s3")
        check(spec is not None, f"kubernetes.md: its values render: {said}")
        for part in ("initContainers", "volumes") if spec else ():
            check(plain[part] == spec[part], f"kubernetes.md: {part} are what the template makes: {spec[part]} and not {plain[part]}")


def notes():
    """What Helm says after an installation; `helm template` leaves it out, so it is put into an object."""
    with tempfile.TemporaryDirectory() as directory:
        chart = Path(directory, "zooark")
        shutil.copytree(CHART, chart)
        (chart / "templates/NOTES.txt").rename(chart / "files/notes")
        (chart / "templates/notes.yaml").write_text('apiVersion: v1\nkind: ConfigMap\nmetadata: {name: notes}\ndata: {text: {{ tpl (.Files.Get "files/notes") . | quote }}}\n')
        for case, there, absent in [
            ("minimal", ["backs up prod to s3://backups/zooark", "get secret zooark-tokens", "http://127.0.0.1:8088/", "Without the Secret zooark-repository"], ["managedLedgerPath"]),
            ("streamnative", ["managedLedgerPath has an effect only", "restore.restorePoint changes nothing"], []),
            ("all", ["https://127.0.0.1:9443/", "pulsar-prod, kafka"], ["get secret"]),
        ]:
            docs, said = render(chart=chart, values=[VALUES / f"{case}.yaml"])
            text = next(doc for doc in docs if doc["metadata"]["name"] == "notes")["data"]["text"] if docs else said
            check(all(part in text for part in there) and not any(part in text for part in absent), f"notes: {case}: {text}")


def examples_of_the_documentation():
    """Values shown in kubernetes.md render."""
    text = Path("docs/operations/kubernetes.md").read_text()
    blocks = [yaml.safe_load(re.sub(r"(?m)^   ", "", block)) for block in re.findall(r"^ *```yaml\n(.*?)^ *```$", text, re.M | re.S)]
    check(len(blocks) >= 2, "kubernetes.md shows values")
    for i, block in enumerate(blocks):
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            yaml.safe_dump(block, file)
            file.flush()
            base = [] if "clusters" in block else [VALUES / "minimal.yaml"]
            docs, said = render(values=[*base, file.name])
            check(docs is not None, f"kubernetes.md: values no. {i + 1} render: {said if docs is None else ''}")


try:
    cases()
    refusals()
    every_value_is_known()
    first_container()
    restore()
    notes()
    examples_of_the_documentation()
finally:
    shutil.rmtree(HOME)
end("the chart")
