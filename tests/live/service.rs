//! `serve` beside a real ensemble: backups over the client protocol, restores in two steps, and the page in a browser.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};
use testing::server::{Client as JavaClient, Server, Setup};

use crate::client::extended;
use crate::daemon::{ADMIN, Daemon, TOKENS};
use crate::restore_live::Program;
use crate::turn;

const VERSION: &str = "3.9.4";

/// A daemon that backs a server up at once, may restore into it, and has a cluster that never succeeds.
fn serve(program: &Program, server: &Server, more: &str) -> Daemon {
    let home = &program.0;
    let address = server.address();
    fs::write(home.path("tokens"), TOKENS).unwrap();
    // Nothing listens on port 1.
    let text = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\nstate_dir = \"state\"\n[repository]\nurl = \"repository\"\nkey_file = \"key\"\n\
         [auth]\ntokens_file = \"tokens\"\n[[cluster]]\nname = \"prod\"\nsource = \"zk://{address}\"\nzk_auth_file = \"auth\"\n\
         schedule = \"@every 1h\"\ninstant_first_backup = true\nmax_age = \"1h\"\n\
         [[cluster]]\nname = \"broken\"\nsource = \"zk://127.0.0.1:1\"\nschedule = \"@every 1h\"\ninstant_first_backup = true\n\
         [[restore_target]]\nname = \"same\"\ntarget = \"zk://{address}\"\nzk_auth_file = \"auth\"\n{more}\n"
    );
    fs::write(home.path("daemon.toml"), text).unwrap();
    let daemon = Daemon::start(home);
    let ready = daemon.until("/api/v1/clusters/prod", |cluster| {
        cluster["last_snapshot"].is_object() && cluster["running_job"].is_null()
    });
    assert_eq!(ready["state"], "ok", "{ready:#}");
    daemon
}

fn plan(daemon: &Daemon, body: &Value) -> Value {
    daemon.post("/api/v1/restores", &body.to_string()).is(201).json()
}

fn apply(daemon: &Daemon, plan: &Value) -> Value {
    let path = format!("/api/v1/restores/{}/apply", plan["plan_id"].as_str().unwrap());
    daemon.job(&daemon.post(&path, "").is(202))
}

#[test]
fn a_restore_is_planned_agreed_to_and_applied_once() {
    let _turn = turn::of_a_server();
    let server = Server::start(VERSION, extended()).unwrap();
    let mut java = JavaClient::connect(VERSION, &server.address()).unwrap();
    java.run("create a /app one").unwrap();
    java.run("create a /app/x two").unwrap();
    java.run("create a /app/y three").unwrap();
    let program = Program::new();
    let daemon = serve(&program, &server, "");
    assert_eq!(daemon.get("/api/v1/restore-targets").is(200).json()[0]["name"], "same");
    let get = |java: &mut JavaClient, path: &[u8]| java.dump().unwrap().get(path).and_then(|node| node.data);
    let value = |text: &str| Some((u32::try_from(text.len()).unwrap(), crc32fast::hash(text.as_bytes())));

    java.run("delete a /app/y").unwrap();
    java.run("set a /app/x changed").unwrap();
    let body = json!({"snapshot": "latest", "cluster": "prod", "path": "/app", "target": "same"});
    // Somebody changed a node: that is a conflict, and the plan cannot be applied.
    let refused = plan(&daemon, &body);
    assert_eq!(
        (&refused["offer"]["plan"]["conflict"], &refused["offer"]["plan"]["create"]),
        (&json!(1), &json!(1)),
        "{refused:#}"
    );
    let path = format!("/api/v1/restores/{}/apply", refused["plan_id"].as_str().unwrap());
    daemon.post(&path, "").is(409);

    let mut over = body.clone();
    over["conflict"] = json!("overwrite");
    let mut dry = over.clone();
    dry["dry_run"] = json!(true);
    assert_eq!(plan(&daemon, &dry)["plan_id"], Value::Null);
    let agreed = plan(&daemon, &over);
    assert_eq!(agreed["items_total"], 2, "{agreed:#}");
    let again = format!("/api/v1/restores/{}", agreed["plan_id"].as_str().unwrap());
    assert_eq!(daemon.get(&again).is(200).json()["items"], agreed["items"]);
    assert_eq!(get(&mut java, b"/app/x"), value("changed"), "a plan changes nothing");

    // Something that the plan touches changes before it is agreed to: nothing is restored.
    java.run("set a /app/x once-more").unwrap();
    let stale = apply(&daemon, &agreed);
    assert_eq!(stale["state"], "refused", "{stale:#}");
    assert!(stale["error"]["message"].as_str().unwrap().contains("has changed since"), "{stale:#}");
    assert_eq!(get(&mut java, b"/app/x"), value("once-more"));
    assert!(get(&mut java, b"/app/y").is_none());
    // What it does not touch may change.
    let fresh = plan(&daemon, &over);
    java.run("create a /elsewhere x").unwrap();
    let done = apply(&daemon, &fresh);
    assert_eq!((&done["state"], &done["result"]["verified"]), (&json!("succeeded"), &json!(true)), "{done:#}");
    assert_eq!(get(&mut java, b"/app/x"), value("two"));
    assert_eq!(get(&mut java, b"/app/y"), value("three"));
    assert!(get(&mut java, b"/elsewhere").is_some());
    // Once is enough; and what was there before is a snapshot.
    let path = format!("/api/v1/restores/{}/apply", fresh["plan_id"].as_str().unwrap());
    daemon.post(&path, "").is(404);
    let safety = done["result"]["safety_snapshot"].as_str().unwrap();
    daemon.get(&format!("/api/v1/snapshots/{safety}")).is(200);
    let nothing = plan(&daemon, &over);
    assert_eq!(nothing["offer"]["empty"], true, "{nothing:#}");
    daemon.stop();
}

#[test]
fn the_page_does_what_an_operator_does() {
    let _turn = turn::of_a_server();
    let server = Server::start(VERSION, extended()).unwrap();
    let mut java = JavaClient::connect(VERSION, &server.address()).unwrap();
    java.run("create a /brokers one").unwrap();
    java.run("create a /brokers/topics two").unwrap();
    java.run("create a /brokers/topics/orders version-3").unwrap();
    java.run("create a /config x").unwrap();
    java.run("create a /config/changes kept").unwrap();
    let program = Program::new();
    let daemon = serve(&program, &server, "");
    let old = daemon.get("/backup/latest?cluster=prod").is(200).json();
    java.run("create a /brokers/topics/new fresh").unwrap();
    java.run("delete a /config/changes").unwrap();
    let taken = daemon.job(&daemon.post("/api/v1/clusters/prod/backups", "{}").is(202));
    assert_eq!(taken["state"], "succeeded", "{taken:#}");
    java.run("create a /brokers/topics/newer fresh").unwrap();
    daemon.until("/api/v1/clusters/broken", |cluster| cluster["state"] == "failing");

    let case = json!({
        "cluster": "prod", "state": "ok",
        "browse": {"snapshot": "latest", "path": "/brokers/topics/orders", "value": "version-3"},
        "diff": {"old": old["short_id"], "new": taken["result"]["short_id"], "path": "/brokers/topics/new", "change": "created"},
        "restore": {"snapshot": old["short_id"], "path": "/config", "target": "same", "outcome": "succeeded"},
        "failing": {"cluster": "broken", "error": "127.0.0.1:1"},
        "read_token": "read-read-read-read",
    });
    let home = &program.0;
    fs::write(home.path("case.json"), case.to_string()).unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/page/drive.py");
    let shots = std::env::var_os("ZOOARK_PAGE_SHOTS").map_or_else(|| home.path("shots"), Into::into);
    let output = Command::new("python3")
        .arg(script)
        .args([format!("http://{}", daemon.address), ADMIN.to_owned()])
        .args([shots, home.path("case.json")])
        .env("HOME", home.path(""))
        .output()
        .expect("python3 drives the browser: it must be on the PATH");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}\n{}", daemon.stop().join("\n"));
    assert!(java.dump().unwrap().contains_key(&b"/config/changes"[..]), "the page's restore restored nothing");
    daemon.stop();
}

/// An ensemble that is away: the backup fails and is made once it is back.
#[test]
fn an_ensemble_that_is_away_is_waited_for() {
    let _turn = turn::to_wait();
    let mut server = Server::start(VERSION, Setup::default()).unwrap();
    let program = Program::new();
    let daemon = serve(&program, &server, "");
    server.kill9().unwrap();
    let failed = daemon.job(&daemon.post("/api/v1/clusters/prod/backups", "{}").is(202));
    assert_eq!((&failed["state"], &failed["error"]["kind"]), (&json!("failed"), &json!("failed")), "{failed:#}");
    let figures = String::from_utf8(daemon.ask("GET", "/metrics", &[], None).body).unwrap();
    let errors =
        figures.lines().find(|line| line.starts_with("zooark_errors_total{") && line.contains("cluster=\"prod\""));
    assert!(errors.is_some_and(|line| line.contains("side=\"source\"")), "{figures}");
    server.start_again().unwrap();
    let again = daemon.until("/api/v1/clusters/prod", |cluster| cluster["consecutive_failures"] == 0);
    assert_eq!(again["last_error"], Value::Null);
    daemon.stop();
}
