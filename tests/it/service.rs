//! `serve` on recorded files: schedules, REST, who may ask for what, and figures.

use std::fs;

use serde_json::{Value, json};
use testing::server_files::{OPEN_ACL, SnapshotFile, Trailers};
use zk_format::{Stat, Zxid};

use crate::daemon::{ADMIN, Daemon, TOKENS};
use crate::run::{copy_over, recorded};
use crate::served::{AT_ONCE, HOURLY, configure};
use crate::stored::{NODES_AFTER, Stored};

/// How many snapshots the repository has.
fn count(daemon: &Daemon) -> u64 {
    daemon.get("/api/v1/snapshots").is(200).json()["total"].as_u64().unwrap()
}

#[test]
fn the_first_backup_is_at_once_others_are_asked_for_and_retention_follows() {
    let stored = Stored::empty();
    configure(&stored, AT_ONCE, "");
    let mut daemon = Daemon::start(&stored.home);
    let cluster = daemon.until("/api/v1/clusters/prod", |cluster| cluster["state"] == "ok");
    assert_eq!(cluster["max_age_seconds"], 7200);
    assert!(cluster["age_seconds"].as_i64().unwrap() < 120 && cluster["next_run"].is_string(), "{cluster:#}");
    let line = daemon.log_line("job ended");
    for part in ["kind=\"backup\"", "cluster=\"prod\"", "outcome=\"succeeded\"", "nodes=", "uploaded_bytes="] {
        assert!(line.contains(part), "{line}");
    }
    daemon.until("/api/v1/clusters/prod", |cluster| cluster["running_job"].is_null());

    // Nothing changed: the job says so, and stores nothing.
    let same = daemon.job(&daemon.back_up("/api/v1/clusters/prod/backups", "{}"));
    assert_eq!((&same["state"], &same["result"]["snapshot_id"]), (&json!("succeeded"), &Value::Null), "{same:#}");
    assert_eq!(same["reason"], "request");
    assert_eq!(count(&daemon), 1);

    copy_over(&recorded("after"), &stored.home.path("zookeeper"));
    let changed = daemon.job(&daemon.back_up("/backup/latest", ""));
    assert_eq!(changed["result"]["nodes"], NODES_AFTER as u64, "{changed:#}");
    let full = daemon.job(&daemon.back_up("/api/v1/clusters/prod/backups", "{\"full\":true}"));
    assert_eq!((&full["result"]["method"], &full["result"]["rebase"]), (&json!("full"), &json!(true)), "{full:#}");
    // Three were taken, two are kept.
    let gone = daemon.until("/api/v1/jobs?state=succeeded", |jobs| {
        jobs.as_array().unwrap().iter().any(|job| job["kind"] == "forget" && job["result"]["forgotten"] == 1)
    });
    assert!(gone.as_array().unwrap().iter().all(|job| job["ended_at"].is_string()));
    assert_eq!(count(&daemon), 2);
    let list = daemon.get("/backup/list").is(200).json();
    assert_eq!(list.as_array().unwrap().len(), 2);
    assert_eq!(daemon.get("/backup/latest").is(200).json()["id"], list[0]["id"]);
    daemon.stop();
    stored.zooark("check --read-data").ends(0);
}

#[test]
fn snapshots_are_browsed_compared_changed_and_forgotten() {
    let stored = Stored::new();
    configure(&stored, HOURLY, "");
    let daemon = Daemon::start(&stored.home);
    let listed = daemon.get("/api/v1/snapshots?cluster=prod").is(200).json();
    let ids: Vec<&str> =
        listed["snapshots"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap()).collect();
    let (new, old) = (ids[0], ids[1]);
    assert_eq!(daemon.get(&format!("/api/v1/snapshots/{}", &new[..8])).is(200).json()["id"], new);

    // The same as the command says, node by node.
    let root = daemon.get(&format!("/api/v1/snapshots/{new}/nodes")).is(200).json();
    let names: Vec<&Value> = root["children"].as_array().unwrap().iter().map(|child| &child["path"]).collect();
    let said = stored.zooark("ls latest --json").ends(0).stdout;
    let said: Vec<Value> =
        said.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["path"].clone()).collect();
    assert_eq!(names, said.iter().collect::<Vec<_>>());
    // In parts.
    let (mut parts, mut after) = (Vec::new(), String::new());
    loop {
        let part = daemon.get(&format!("/api/v1/snapshots/{new}/nodes?limit=2{after}")).is(200).json();
        parts.extend(part["children"].as_array().unwrap().iter().map(|child| child["path"].clone()));
        match part["next"].as_str() {
            Some(name) => after = format!("&after={name}"),
            None => break,
        }
    }
    assert_eq!(parts, said);
    // Every value, byte by byte.
    let dump = stored.zooark("dump latest").ends(0).stdout;
    let mut compared = 0;
    for node in dump.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()) {
        let path = node["path"].as_str().unwrap();
        if node["path_base64"].is_string() || compared == 40 {
            continue;
        }
        let escaped = path.bytes().fold(String::new(), |all, byte| all + &format!("%{byte:02X}"));
        let value = daemon.get(&format!("/api/v1/snapshots/{new}/value?path={escaped}")).is(200);
        assert_eq!(value.headers.contains("x-zooark-null: true"), node["data"].is_null(), "{path}");
        assert_eq!(value.body.len() as u64, node["data_bytes"].as_u64().unwrap_or(0), "{path}");
        compared += 1;
    }
    assert!(compared > 20);

    let diff = daemon.get(&format!("/api/v1/snapshots/{old}/diff/{new}")).is(200).json();
    let command = stored.zooark("diff latest~1 latest --json").ends(0).stdout;
    assert_eq!(
        diff["changes"].as_array().unwrap().len(),
        command.lines().filter(|line| line.contains("\"path\"")).count()
    );
    let short = daemon.get(&format!("/api/v1/snapshots/{old}/diff/{new}?limit=1")).is(200).json();
    assert_eq!((&short["truncated"], &short["summary"]), (&json!(true), &diff["summary"]));

    let path = format!("/api/v1/snapshots/{old}");
    let change = |body: &str| daemon.as_who(ADMIN, "PATCH", &path, Some(body));
    let changed = change("{\"tags\":[\"b\",\"a\"],\"protected_until\":\"2999-01-01T00:00:00Z\"}").is(200).json();
    assert_eq!((&changed["tags"], &changed["protected_until"]), (&json!(["a", "b"]), &json!("2999-01-01T00:00:00Z")));
    daemon.as_who(ADMIN, "DELETE", &path, None).is(409);
    assert_eq!(change("{\"protected_until\":null}").is(200).json()["protected_until"], Value::Null);
    daemon.as_who(ADMIN, "DELETE", &path, None).is(204);
    daemon.get(&path).is(404);
    // The last one of what is backed up stays.
    daemon.as_who(ADMIN, "DELETE", &format!("/api/v1/snapshots/{new}"), None).is(409);
    assert_eq!(count(&daemon), 1);
    daemon.stop();
}

/// Names that are no text, as a server whose Java had another encoding left them.
#[test]
fn names_that_are_no_text_are_reached() {
    let stored = Stored::empty();
    let folder = stored.home.path("zookeeper/version-2");
    fs::remove_dir_all(&folder).unwrap();
    fs::create_dir_all(&folder).unwrap();
    let file = fs::File::create(folder.join("snapshot.9")).unwrap();
    let mut file = SnapshotFile::begin(file, &[], &[]).unwrap();
    let names: [&[u8]; 4] = [b"\xff", b"\xff\xfe", b"a", b"b\xe9"];
    let stat = |zxid| Stat { czxid: Zxid(zxid), mzxid: Zxid(zxid), pzxid: Zxid(zxid), ..Stat::default() };
    for path in [&b""[..], b"/odd", b"/zookeeper", b"/zookeeper/config", b"/zookeeper/quota"] {
        file.node(path, Some(b""), OPEN_ACL, &stat(1)).unwrap();
    }
    for name in names {
        file.node(&[b"/odd/", name].concat(), Some(name), OPEN_ACL, &stat(2)).unwrap();
    }
    file.finish(Trailers::default()).unwrap();
    configure(&stored, "schedule = \"@every 1h\"\nallow_partial = true", "");
    let daemon = Daemon::start(&stored.home);
    daemon.until("/api/v1/clusters/prod", |_| daemon.ask("GET", "/readyz", &[], None).status == 200);
    let taken = daemon.job(&daemon.back_up("/api/v1/clusters/prod/backups", ""));
    let id = taken["result"]["snapshot_id"].as_str().unwrap_or_else(|| panic!("{taken:#}"));
    let escaped = |text: &str| text.bytes().fold(String::new(), |all, byte| all + &format!("%{byte:02X}"));
    // A page of one child each; every value by the name that the listing gave.
    let (mut seen, mut after) = (Vec::new(), String::new());
    loop {
        let part = daemon.get(&format!("/api/v1/snapshots/{id}/nodes?path=/odd&limit=1{after}")).is(200).json();
        let child = &part["children"][0];
        let place = match child["path_base64"].as_str() {
            Some(base64) => format!("path_base64={}", escaped(base64)),
            None => format!("path={}", escaped(child["path"].as_str().unwrap())),
        };
        seen.push(daemon.get(&format!("/api/v1/snapshots/{id}/value?{place}")).is(200).body);
        let node = daemon.get(&format!("/api/v1/snapshots/{id}/nodes?{place}")).is(200).json();
        assert_eq!(node["node"], *child);
        match part["next"].as_str() {
            Some(next) => after = format!("&after={}", escaped(next)),
            None => break,
        }
    }
    seen.sort();
    let mut names: Vec<Vec<u8>> = names.iter().map(|name| name.to_vec()).collect();
    names.sort();
    assert_eq!(seen, names);
    for (wrong, status) in [
        ("path_base64=%25", 400),
        ("path=/odd&after=a/b", 400),
        ("path=/odd&after=base64/%25", 400),
        ("path_base64=Li4=", 404),
    ] {
        daemon.get(&format!("/api/v1/snapshots/{id}/nodes?{wrong}")).is(status);
    }
    daemon.stop();
}

#[test]
fn who_may_ask_for_what() {
    let stored = Stored::new();
    configure(&stored, HOURLY, "");
    let daemon = Daemon::start(&stored.home);
    daemon.until("/api/v1/snapshots", |list| list["total"] == 2);
    let all = ["read", "values", "backup", "restore", "admin"];
    let token = |role: &str| TOKENS.lines().find_map(|line| line.strip_prefix(&format!("{role}:"))).unwrap().to_owned();
    for (method, path, body, roles) in [
        ("GET", "/api/v1/clusters", None, &all[..]),
        ("GET", "/api/v1/snapshots", None, &all[..]),
        ("GET", "/api/v1/snapshots/latest/nodes", None, &all[..]),
        ("GET", "/api/v1/snapshots/latest/value", None, &["values", "admin"]),
        ("POST", "/api/v1/clusters/nosuch/backups", Some("{}"), &["backup", "admin"]),
        ("POST", "/backup/latest?cluster=nosuch", Some(""), &["backup", "admin"]),
        ("POST", "/api/v1/restores", Some("{\"snapshot\":\"latest\",\"target\":\"nosuch\"}"), &["restore", "admin"]),
        ("GET", "/api/v1/restores/nosuch", None, &["restore", "admin"]),
        ("POST", "/api/v1/restores/nosuch/apply", Some(""), &["restore", "admin"]),
        ("POST", "/api/v1/clusters/nosuch/pause", Some(""), &["admin"]),
        ("POST", "/api/v1/clusters/nosuch/resume", Some(""), &["admin"]),
        ("PATCH", "/api/v1/snapshots/ffffffff", Some("{\"tags\":[]}"), &["admin"]),
        ("DELETE", "/api/v1/snapshots/ffffffff", None, &["admin"]),
    ] {
        daemon.ask(method, path, &[], body).is(401);
        daemon.as_who("nobody-has-this-token", method, path, body).is(401);
        for role in all {
            let answer = daemon.as_who(&token(role), method, path, body);
            let allowed = answer.status != 403 && answer.status != 401;
            assert_eq!(allowed, roles.contains(&role), "{role} {method} {path}: {answer}");
            assert!(answer.status != 405 && answer.status < 500, "{role} {method} {path}: {answer}");
        }
    }
    // Health, figures, the page and the description need none; they show no node.
    for path in ["/healthz", "/readyz", "/metrics", "/", "/page/app.js", "/openapi.json"] {
        let answer = daemon.ask("GET", path, &[], None).is(200);
        assert!(answer.headers.contains("x-content-type-options: nosniff"), "{answer}");
    }
    let page = daemon.ask("GET", "/", &[], None);
    assert!(
        page.headers.contains("content-security-policy: default-src 'none'; script-src 'self'"),
        "{}",
        page.headers
    );
    // A page of another site makes a browser ask: it is not answered, whatever the token.
    let bearer = format!("Bearer {ADMIN}");
    let foreign = [("Authorization", bearer.as_str()), ("Origin", "http://elsewhere.example")];
    daemon.ask("GET", "/api/v1/clusters", &foreign, None).is(403);
    // Who guesses tokens is told to wait, and keeps nobody else from anything.
    let guessed: Vec<u16> =
        (0..150).map(|_| daemon.as_who("nobody-has-this-token", "GET", "/api/v1/clusters", None).status).collect();
    assert!(guessed.iter().all(|status| matches!(status, 401 | 429)) && guessed.contains(&429), "{guessed:?}");
    daemon.get("/api/v1/clusters").is(200);
    let lines = daemon.stop().join("\n");
    assert!(
        TOKENS.lines().all(|line| !lines.contains(line.split(':').nth(1).unwrap())),
        "a token is in the log:\n{lines}"
    );
}

#[test]
fn nobody_needs_a_token_on_this_machine_where_that_is_said() {
    let stored = Stored::new();
    configure(&stored, HOURLY, "");
    let text = fs::read_to_string(stored.home.path("daemon.toml")).unwrap();
    let open = text.replace("tokens_file = \"tokens\"", "allow_loopback_without_token = true");
    fs::write(stored.home.path("daemon.toml"), open).unwrap();
    let daemon = Daemon::start(&stored.home);
    daemon.ask("GET", "/api/v1/clusters", &[], None).is(200);
    // A name of another site that was made to lead here.
    daemon.ask("GET", "/api/v1/clusters", &[("Host", "rebound.example")], None).is(401);
    let foreign = format!("http://{}:1", daemon.address.ip());
    daemon.ask("POST", "/backup/latest", &[("Origin", &foreign)], Some("")).is(403);
    daemon.stop();
}

#[test]
fn what_makes_no_sense_is_refused_and_has_no_effect() {
    let stored = Stored::new();
    configure(&stored, HOURLY, "");
    let daemon = Daemon::start(&stored.home);
    daemon.until("/api/v1/snapshots", |list| list["total"] == 2);
    let long = format!("{{\"tags\":[\"{}\"]}}", "x".repeat(2 << 20));
    let many = format!("{{\"tags\":[{}\"x\"]}}", "\"y\",".repeat(200));
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    for (method, path, body, status) in [
        ("GET", "/nosuch", None, 404),
        ("GET", "/page/../lib.rs", None, 404),
        ("GET", "/page/%2e%2e%2flib.rs", None, 404),
        ("PUT", "/api/v1/clusters", None, 405),
        ("GET", "/api/v1/clusters/nosuch", None, 404),
        ("GET", "/api/v1/clusters/%00", None, 404),
        ("GET", "/api/v1/clusters/%ff", None, 400),
        ("GET", "/api/v1/jobs/nosuch", None, 404),
        ("GET", "/api/v1/jobs/nosuch/events", None, 404),
        ("DELETE", "/api/v1/jobs/nosuch", None, 404),
        ("GET", "/api/v1/snapshots?limit=0", None, 400),
        ("GET", "/api/v1/snapshots?limit=99999999999999999999", None, 400),
        ("GET", "/api/v1/snapshots?nosuch=1", None, 400),
        ("GET", "/api/v1/snapshots/ffffffff", None, 404),
        ("GET", "/api/v1/snapshots/abc", None, 400),
        ("GET", "/api/v1/snapshots/latest:%2Fa", None, 400),
        ("GET", "/api/v1/snapshots/latest/nodes?path=a", None, 400),
        ("GET", "/api/v1/snapshots/latest/nodes?path=/../etc/passwd", None, 400),
        ("GET", "/api/v1/snapshots/latest/nodes?path=/nosuch", None, 404),
        ("GET", "/api/v1/snapshots/latest/value?path=/nosuch%C3%A9", None, 404),
        ("GET", "/api/v1/snapshots/latest/diff/ffffffff", None, 404),
        ("PATCH", "/api/v1/snapshots/latest", Some("{\"tags\":3}"), 400),
        ("PATCH", "/api/v1/snapshots/latest", Some("{\"tag\":[]}"), 400),
        ("PATCH", "/api/v1/snapshots/latest", Some("{\"protected_until\":\"2001-01-01T00:00:00Z\"}"), 409),
        ("PATCH", "/api/v1/snapshots/latest", Some("{\"tags\":[\"\\u0000\"]}"), 400),
        ("PATCH", "/api/v1/snapshots/latest", Some(&many), 400),
        ("PATCH", "/api/v1/snapshots/latest", Some(&deep), 400),
        ("PATCH", "/api/v1/snapshots/latest", Some(&long), 413),
        ("POST", "/api/v1/clusters/prod/backups", Some("{\"ful\":true}"), 400),
        ("POST", "/api/v1/clusters/prod/backups", Some("{"), 400),
        ("POST", "/api/v1/restores", Some("{\"snapshot\":\"latest\",\"target\":\"nosuch\"}"), 404),
        ("POST", "/api/v1/restores", Some("{\"snapshot\":\"latest\"}"), 400),
        ("POST", "/api/v1/restores/nosuch/apply", Some(""), 404),
    ] {
        let answer = daemon.as_who(ADMIN, method, path, body);
        assert_eq!(answer.status, status, "{method} {path}: {answer}");
        assert!(answer.headers.contains("application/problem+json"), "{method} {path}: {answer}");
        let problem = answer.json();
        assert_eq!(problem["status"], status);
        assert!(problem["detail"].as_str().is_some_and(|text| !text.is_empty()), "{problem:#}");
    }
    let bearer = format!("Bearer {ADMIN}");
    let text = [("Authorization", bearer.as_str()), ("Content-Type", "text/plain")];
    daemon.ask("POST", "/api/v1/clusters/prod/backups", &text, Some("{}")).is(415);
    assert_eq!(count(&daemon), 2);
    assert_eq!(daemon.get("/api/v1/jobs").is(200).json(), json!([]), "something was begun");
    daemon.stop();
}

/// Figures as a parser of Prometheus' format reads them; each that is documented is there, and no other.
#[test]
fn figures_are_what_the_documentation_says() {
    let stored = Stored::empty();
    let upkeep = "schedule = \"@every 1h\"\ninstant_first_backup = true\nmax_age = \"1h\"\n\
                  check = { schedule = \"* * * * * *\", read_data_subset = \"100%\" }\nprune = { schedule = \"* * * * * *\" }";
    configure(&stored, upkeep, "");
    let daemon = Daemon::start(&stored.home);
    daemon.until("/api/v1/jobs?state=succeeded", |jobs| {
        ["backup", "check", "prune"].iter().all(|kind| jobs.as_array().unwrap().iter().any(|job| job["kind"] == *kind))
    });
    daemon.until("/api/v1/clusters/prod", |cluster| cluster["running_job"].is_null());
    let broken = daemon.back_up("/api/v1/clusters/prod/backups", "{}");
    daemon.job(&broken);
    let text = String::from_utf8(daemon.ask("GET", "/metrics", &[], None).is(200).body).unwrap();
    let scrape = prometheus_parse::Scrape::parse(text.lines().map(|line| Ok(line.to_owned()))).unwrap();
    let value = |name: &str| scrape.samples.iter().find(|sample| sample.metric == name).map(|sample| &sample.value);
    let number = |name: &str| match value(name) {
        Some(prometheus_parse::Value::Counter(value) | prometheus_parse::Value::Gauge(value)) => *value,
        other => panic!("{name} is {other:?} in\n{text}"),
    };
    assert!((number("backup_count") - 2.0).abs() < 0.1);
    assert!(number("backup_failure_count").abs() < 0.1);
    assert!(number("zooark_seconds_since_last_success") < 120.0);
    assert!((number("zooark_max_age_seconds") - 3600.0).abs() < 0.1);
    assert!(number("zooark_nodes") > 100.0 && number("zooark_last_zxid") > 1.0);
    assert!(number("zooark_uploaded_bytes_total") > 1000.0);
    assert!(number("backup_size_non_compressed") > 1000.0 && number("backup_size_total") > 1000.0);
    assert!(matches!(value("zooark_job_duration_seconds"), Some(prometheus_parse::Value::Histogram(_))), "{text}");
    let documented =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/operations/monitoring.md")).unwrap();
    for sample in &scrape.samples {
        let name = sample.metric.trim_end_matches("_sum").trim_end_matches("_count_").to_owned();
        let known = documented.contains(&format!("`{name}")) || documented.contains(name.trim_end_matches("_count"));
        assert!(known, "{name} is nowhere in monitoring.md");
    }
    for named in server::metrics::ALL {
        assert!(documented.contains(named.name), "{} is nowhere in monitoring.md", named.name);
    }
    daemon.stop();
}

#[test]
fn the_description_is_as_it_was_pinned() {
    let stored = Stored::empty();
    let now = stored.home.zooark("serve --openapi").ends(0).stdout;
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/openapi.json");
    if std::env::var_os("ZOOARK_UPDATE_REFERENCE").is_some() {
        fs::write(path, &now).unwrap();
    }
    let pinned = fs::read_to_string(path).unwrap_or_default();
    assert!(
        now == pinned,
        "docs/openapi.json is not what the code says: look at it, then run this test with ZOOARK_UPDATE_REFERENCE=1"
    );
}
