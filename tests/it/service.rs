//! `serve` on recorded files: schedules, REST, who may ask for what, figures, and what happens when something is away.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::mpsc::channel;

use serde_json::{Value, json};

use crate::daemon::{ADMIN, Daemon, TOKENS};
use crate::run::{copy_over, recorded};
use crate::stored::{NODES_AFTER, Stored};

/// The configuration of a daemon that backs the recorded directory up, with more of its own.
fn configure(stored: &Stored, cluster: &str, more: &str) {
    fs::write(stored.home.path("tokens"), TOKENS).unwrap();
    let text = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\nstate_dir = \"state\"\n[repository]\nurl = \"repository\"\nkey_file = \"key\"\n\
         [auth]\ntokens_file = \"tokens\"\n[[cluster]]\nname = \"prod\"\nsource = \"datadir:zookeeper\"\n{cluster}\n{more}\n"
    );
    fs::write(stored.home.path("daemon.toml"), text).unwrap();
}

const HOURLY: &str = "schedule = \"@every 1h\"";
const AT_ONCE: &str =
    "schedule = \"@every 1h\"\ninstant_first_backup = true\nretention = { keep_last = 2 }\nmax_age = \"2h\"";

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
    let same = daemon.job(&daemon.post("/api/v1/clusters/prod/backups", "{}").is(202));
    assert_eq!((&same["state"], &same["result"]["snapshot_id"]), (&json!("succeeded"), &Value::Null), "{same:#}");
    assert_eq!(same["reason"], "request");
    assert_eq!(count(&daemon), 1);

    copy_over(&recorded("after"), &stored.home.path("zookeeper"));
    let changed = daemon.job(&daemon.post("/backup/latest", "").is(202));
    assert_eq!(changed["result"]["nodes"], NODES_AFTER as u64, "{changed:#}");
    let full = daemon.job(&daemon.post("/api/v1/clusters/prod/backups", "{\"full\":true}").is(202));
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
        ("PATCH", "/api/v1/snapshots/latest", Some("{\"protected_until\":\"2001-01-01T00:00:00Z\"}"), 400),
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

#[test]
fn pauses_and_last_runs_survive_a_restart_and_a_kill() {
    let stored = Stored::empty();
    configure(&stored, AT_ONCE, "");
    let mut daemon = Daemon::start(&stored.home);
    let first = daemon.until("/api/v1/clusters/prod", |cluster| cluster["state"] == "ok");
    assert_eq!(daemon.post("/api/v1/clusters/prod/pause", "").is(200).json()["state"], "paused");
    daemon.signal("KILL");
    daemon.ended();
    let daemon = Daemon::start(&stored.home);
    let again = daemon.get("/api/v1/clusters/prod").is(200).json();
    assert_eq!((&again["paused"], &again["next_run"]), (&json!(true), &Value::Null), "{again:#}");
    assert_eq!(again["last_success"], first["last_success"]);
    let resumed = daemon.post("/api/v1/clusters/prod/resume", "").is(200).json();
    // The first backup was an hour before the next, not now again.
    assert!(resumed["next_run"].is_string() && resumed["state"] == "ok", "{resumed:#}");
    assert_eq!(daemon.get("/api/v1/jobs").is(200).json(), json!([]));
    daemon.stop();
}

#[test]
fn the_configuration_is_read_again_and_one_that_is_wrong_changes_nothing() {
    let stored = Stored::new();
    configure(&stored, HOURLY, "");
    let mut daemon = Daemon::start(&stored.home);
    daemon.until("/api/v1/clusters", |all| all.as_array().unwrap().len() == 1);
    let two = "[[cluster]]\nname = \"lab\"\nsource = \"datadir:zookeeper\"\nbackup_interval = 3600\ninstant_first_backup = true";
    configure(&stored, HOURLY, two);
    fs::write(stored.home.path("tokens"), format!("{TOKENS}read:another-token-here\n")).unwrap();
    daemon.as_who("another-token-here", "GET", "/api/v1/clusters", None).is(401);
    daemon.signal("HUP");
    daemon.log_line("read again");
    daemon.as_who("another-token-here", "GET", "/api/v1/clusters", None).is(200);
    daemon.until("/api/v1/clusters/lab", |cluster| cluster["state"] == "ok");
    for wrong in ["shedule = 3", "[[cluster]]\nname = \"prod\"\nsource = \"datadir:x\"\nbackup_interval = 1"] {
        configure(&stored, HOURLY, wrong);
        daemon.signal("HUP");
        daemon.log_line("what held before holds");
    }
    assert_eq!(daemon.get("/api/v1/clusters").is(200).json().as_array().unwrap().len(), 2);
    daemon.stop();
    let check = stored.home.zooark("serve --config daemon.toml --check-config").ends(2);
    assert!(check.stderr.contains("two [[cluster]] have the name"), "{}", check.stderr);
    configure(&stored, HOURLY, "");
    let checked = stored.home.zooark("serve --config daemon.toml --check-config").ends(0).stdout;
    assert!(checked.contains("the configuration holds") && checked.contains("cluster prod"), "{checked}");
}

/// A store that is away for a while: jobs fail and are tried again, somebody is told, and then all goes on.
#[test]
fn a_store_that_is_away_is_waited_for_and_somebody_is_told() {
    let hook = TcpListener::bind("127.0.0.1:0").unwrap();
    let (sender, told) = channel();
    let url = format!("http://{}/hook", hook.local_addr().unwrap());
    std::thread::spawn(move || {
        let mut first = true;
        for mut stream in hook.incoming().map_while(Result::ok) {
            let mut request = Vec::new();
            let mut buffer = [0; 4096];
            let whole = |request: &[u8]| {
                let text = String::from_utf8_lossy(request).to_lowercase();
                let (head, body) = text.split_once("\r\n\r\n")?;
                let length: usize = head.split("content-length: ").nth(1)?.split_whitespace().next()?.parse().ok()?;
                (body.len() >= length).then_some(())
            };
            while whole(&request).is_none() {
                match stream.read(&mut buffer) {
                    Ok(0) | Err(_) => break,
                    Ok(read) => request.extend_from_slice(&buffer[..read]),
                }
            }
            // The first attempt is turned away, and made again.
            let status = if std::mem::take(&mut first) { "500 No" } else { "200 OK" };
            let _ = write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            if status == "200 OK" {
                let text = String::from_utf8_lossy(&request).into_owned();
                let _ = sender.send(text);
            }
        }
    });
    let stored = Stored::empty();
    fs::write(stored.home.path("headers"), "X-Secret: hunter2\n").unwrap();
    let notify = format!("[[notify]]\nurl = \"{url}\"\nheader_file = \"headers\"");
    configure(&stored, "schedule = \"@every 1s\"", &notify);
    let [there, away] = ["repository", "elsewhere"].map(|name| stored.home.path(name));
    fs::rename(&there, &away).unwrap();
    let mut daemon = Daemon::start(&stored.home);
    daemon.log_line("job ended badly");
    assert_eq!(daemon.ask("GET", "/readyz", &[], None).status, 503);
    daemon.ask("GET", "/healthz", &[], None).is(200);
    let failing = daemon.until("/api/v1/clusters/prod", |cluster| cluster["consecutive_failures"].as_u64() > Some(1));
    assert_eq!(failing["state"], "failing");
    assert!(failing["last_error"].as_str().unwrap().contains("repository"), "{failing:#}");
    fs::rename(&away, &there).unwrap();
    daemon.until("/api/v1/clusters/prod", |cluster| cluster["state"] == "ok");
    daemon.until("/api/v1/clusters/prod", |_| daemon.ask("GET", "/readyz", &[], None).status == 200);
    let patience = std::time::Duration::from_mins(1);
    let event = |text: &str| -> Value {
        serde_json::from_str(text.split_once("\r\n\r\n").unwrap().1).unwrap_or_else(|error| panic!("{error} {text}"))
    };
    let first = told.recv_timeout(patience).unwrap();
    assert!(first.to_lowercase().contains("x-secret: hunter2"), "{first}");
    let first = event(&first);
    assert_eq!(
        (&first["event"], &first["kind"], &first["cluster"]),
        (&json!("failure"), &json!("backup"), &json!("prod"))
    );
    let recovered =
        std::iter::from_fn(|| told.recv_timeout(patience).ok()).find(|text| event(text)["event"] == "recovery");
    assert!(recovered.is_some());
    let lines = daemon.stop().join("\n");
    assert!(!lines.contains("hunter2") && !lines.contains("/hook"), "{lines}");
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
    let broken = daemon.post("/api/v1/clusters/prod/backups", "{}").is(202);
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

/// Stopped while it uploads slowly: it ends, and what is there is whole.
#[test]
fn a_stop_during_a_backup_leaves_no_half_of_it() {
    let stored = Stored::empty();
    configure(&stored, AT_ONCE, "");
    let text = fs::read_to_string(stored.home.path("daemon.toml")).unwrap();
    fs::write(
        stored.home.path("daemon.toml"),
        text.replace("key_file = \"key\"", "key_file = \"key\"\nlimit_upload = 1"),
    )
    .unwrap();
    let mut daemon = Daemon::start(&stored.home);
    let jobs = daemon.until("/api/v1/jobs?state=running", |jobs| !jobs.as_array().unwrap().is_empty());
    let id = jobs[0]["id"].as_str().unwrap().to_owned();
    // Who looks on is told of progress and of the end.
    let address = daemon.address;
    let watching = std::thread::spawn(move || {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        write!(
            stream,
            "GET /api/v1/jobs/{id}/events HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {ADMIN}\r\n\r\n"
        )
        .unwrap();
        let mut text = String::new();
        let mut buffer = [0; 4096];
        while !text.contains("event: end") {
            match stream.read(&mut buffer) {
                Ok(0) | Err(_) => break,
                Ok(read) => text.push_str(&String::from_utf8_lossy(&buffer[..read])),
            }
        }
        text
    });
    std::thread::sleep(std::time::Duration::from_millis(300));
    daemon.signal("TERM");
    assert_eq!(daemon.ended(), 0, "{}", daemon.logged.join("\n"));
    let seen = watching.join().unwrap();
    assert!(seen.contains("event: progress") && seen.contains("event: end"), "{seen}");
    stored.zooark("check --read-data").ends(0);
    let left = stored.snapshots().len();
    assert!(left <= 1);
    stored.zooark("backup zookeeper --cluster prod").ends(0);
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

/// Two daemons on one repository: one works, the other follows when it is killed, and at once when it ends well.
#[test]
fn another_daemon_takes_over() {
    let stored = Stored::empty();
    let lease = "[leader]\nmode = \"repository\"\nlease = \"3s\"";
    configure(&stored, "schedule = \"@every 1s\"\ninstant_first_backup = true", lease);
    let mut first = Daemon::start(&stored.home);
    first.until("/api/v1/clusters/prod", |cluster| cluster["state"] == "ok");
    let text = fs::read_to_string(stored.home.path("daemon.toml")).unwrap().replace("\"state\"", "\"state-2\"");
    fs::write(stored.home.path("daemon.toml"), text).unwrap();
    let mut second = Daemon::start(&stored.home);
    second.until("/api/v1/clusters/prod", |cluster| cluster["standby"] == true && cluster["last_snapshot"].is_object());
    second.post("/api/v1/clusters/prod/backups", "{}").is(503);
    std::thread::sleep(std::time::Duration::from_secs(4));
    assert_eq!(second.get("/api/v1/jobs").is(200).json(), json!([]), "both work");
    first.signal("KILL");
    let killed = std::time::Instant::now();
    first.ended();
    second.log_line("leading=true");
    // Two lease times, and what a busy machine adds.
    assert!(killed.elapsed() < std::time::Duration::from_secs(30));
    second.until("/api/v1/jobs?state=succeeded", |jobs| !jobs.as_array().unwrap().is_empty());

    let third = Daemon::start(&stored.home);
    third.until("/api/v1/clusters/prod", |cluster| cluster["standby"] == true);
    second.stop();
    third.until("/api/v1/clusters/prod", |cluster| cluster["standby"] == false);
    third.stop();
    stored.zooark("check --read-data").ends(0);
}
