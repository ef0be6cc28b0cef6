//! `serve` as it is operated: restarts, reloads, several daemons, TLS, and what happens when something is away or full.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::{Value, json};
use testing::server::tls::{Authority, Party};

use crate::daemon::{ADMIN, Daemon, TOKENS};
use crate::limits::SmallDisk;
use crate::served::{AT_ONCE, HOURLY, configure};
use crate::stored::Stored;

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

/// A webhook that turns the first message away; its address, and what it was told since.
fn hook() -> (String, Receiver<String>) {
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
            let status = if std::mem::take(&mut first) { "500 No" } else { "200 OK" };
            let _ = write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            if status == "200 OK" {
                let text = String::from_utf8_lossy(&request).into_owned();
                let _ = sender.send(text);
            }
        }
    });
    (url, told)
}

/// A store that is away for a while: jobs fail and are tried again, somebody is told, and then all goes on.
#[test]
fn a_store_that_is_away_is_waited_for_and_somebody_is_told() {
    let (url, told) = hook();
    // It takes connections and never answers: that keeps nobody else waiting.
    let dead = TcpListener::bind("127.0.0.1:0").unwrap();
    let dead_url = format!("http://{}/hook", dead.local_addr().unwrap());
    let stored = Stored::empty();
    fs::write(stored.home.path("headers"), "X-Secret: hunter2\n").unwrap();
    let notify = format!("[[notify]]\nurl = \"{dead_url}\"\n[[notify]]\nurl = \"{url}\"\nheader_file = \"headers\"");
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
    let patience = Duration::from_mins(1);
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
    // It failed more than once since, and that is told once an hour.
    let second = event(&told.recv_timeout(patience).unwrap());
    assert_eq!(second["event"], "recovery", "{second:#}");
    let lines = daemon.stop().join("\n");
    assert!(!lines.contains("hunter2") && !lines.contains("/hook"), "{lines}");
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
    std::thread::sleep(Duration::from_millis(300));
    daemon.signal("TERM");
    assert_eq!(daemon.ended(), 0, "{}", daemon.logged.join("\n"));
    let seen = watching.join().unwrap();
    assert!(seen.contains("event: progress") && seen.contains("event: end"), "{seen}");
    stored.zooark("check --read-data").ends(0);
    let left = stored.snapshots().len();
    assert!(left <= 1);
    stored.zooark("backup zookeeper --cluster prod").ends(0);
}

/// Two daemons on one repository: one works, the other follows when it is killed, and at once when it ends well.
#[test]
fn another_daemon_takes_over() {
    let stored = Stored::empty();
    let lease = "[leader]\nmode = \"repository\"\nlease = \"3s\"";
    let lab = "[[cluster]]\nname = \"lab\"\nsource = \"datadir:zookeeper\"\nschedule = \"@every 1s\"";
    configure(&stored, "schedule = \"@every 1s\"\ninstant_first_backup = true", &format!("{lab}\n{lease}"));
    let mut first = Daemon::start(&stored.home);
    first.until("/api/v1/clusters/prod", |cluster| cluster["state"] == "ok");
    let text = fs::read_to_string(stored.home.path("daemon.toml")).unwrap().replace("\"state\"", "\"state-2\"");
    fs::write(stored.home.path("daemon.toml"), text).unwrap();
    let mut second = Daemon::start(&stored.home);
    second.until("/api/v1/clusters/prod", |cluster| cluster["standby"] == true && cluster["last_snapshot"].is_object());
    second.post("/api/v1/clusters/prod/backups", "{}").is(503);
    // Whoever stands by sets nothing aside, and whoever follows knows what was.
    second.post("/api/v1/clusters/lab/pause", "").is(503);
    first.post("/api/v1/clusters/lab/pause", "").is(200);
    std::thread::sleep(Duration::from_secs(4));
    assert_eq!(second.get("/api/v1/jobs").is(200).json(), json!([]), "both work");
    first.signal("KILL");
    let killed = std::time::Instant::now();
    first.ended();
    second.log_line("leading=true");
    // Two lease times, and what a busy machine adds.
    assert!(killed.elapsed() < Duration::from_secs(30));
    second.until("/api/v1/jobs?state=succeeded", |jobs| !jobs.as_array().unwrap().is_empty());
    assert_eq!(second.get("/api/v1/clusters/lab").is(200).json()["state"], "paused");
    assert_eq!(second.get("/api/v1/jobs?cluster=lab").is(200).json(), json!([]));
    second.post("/api/v1/clusters/lab/resume", "").is(200);
    second.until("/api/v1/jobs?cluster=lab&state=succeeded", |jobs| !jobs.as_array().unwrap().is_empty());

    let third = Daemon::start(&stored.home);
    third.until("/api/v1/clusters/prod", |cluster| cluster["standby"] == true);
    second.stop();
    third.until("/api/v1/clusters/prod", |cluster| cluster["standby"] == false);
    third.until("/api/v1/clusters/lab", |cluster| cluster["paused"] == false);
    third.stop();
    stored.zooark("check --read-data").ends(0);
}

/// Copies are checked and pruned on the cluster's schedules, each as a job of its own.
#[test]
fn copies_are_looked_after_too() {
    let stored = Stored::empty();
    stored.home.zooark("init --repo offsite --new-key-file key-2 --like repository --like-key-file key").ends(0);
    let cluster = "schedule = \"@every 1h\"\ninstant_first_backup = true\ncopies = [\"offsite\"]\n\
                   check = { schedule = \"* * * * * *\" }\nprune = { schedule = \"* * * * * *\" }";
    configure(&stored, cluster, "[[copy]]\nname = \"offsite\"\nurl = \"offsite\"\nkey_file = \"key-2\"");
    let daemon = Daemon::start(&stored.home);
    let done = daemon.until("/api/v1/jobs?state=succeeded", |jobs| {
        let of = |kind: &str| {
            jobs.as_array().unwrap().iter().any(|job| job["kind"] == kind && job["repository"] == "offsite")
        };
        of("copy") && of("check") && of("prune")
    });
    assert!(done.as_array().unwrap().iter().any(|job| job["kind"] == "check" && job["repository"].is_null()));
    let text = String::from_utf8(daemon.ask("GET", "/metrics", &[], None).is(200).body).unwrap();
    assert!(text.contains("zooark_check_findings{severity=\"damage\",repository=\"offsite\"} 0"), "{text}");
    daemon.stop();
}

#[test]
fn a_check_is_stopped_on_request() {
    let stored = Stored::empty();
    configure(&stored, AT_ONCE, "");
    let daemon = Daemon::start(&stored.home);
    daemon.until("/api/v1/clusters/prod", |cluster| cluster["state"] == "ok" && cluster["running_job"].is_null());
    daemon.stop();
    // Another start, as slow to read.
    configure(&stored, &format!("{HOURLY}\ncheck = {{ schedule = \"* * * * * *\", read_data_subset = \"100%\" }}"), "");
    let text = fs::read_to_string(stored.home.path("daemon.toml")).unwrap();
    let slow = text.replace("key_file = \"key\"", "key_file = \"key\"\nlimit_download = 1");
    fs::write(stored.home.path("daemon.toml"), slow).unwrap();
    let daemon = Daemon::start(&stored.home);
    let jobs = daemon.until("/api/v1/jobs?state=running", |jobs| !jobs.as_array().unwrap().is_empty());
    assert_eq!(jobs[0]["kind"], "check");
    let path = format!("/api/v1/jobs/{}", jobs[0]["id"].as_str().unwrap());
    daemon.as_who("backup-backup-backup", "DELETE", &path, None).is(403);
    daemon.as_who(ADMIN, "DELETE", &path, None).is(202);
    let ended = daemon.until(&path, |job| job["ended_at"].is_string());
    assert_eq!(ended["state"], "cancelled", "{ended:#}");
    daemon.signal("KILL");
}

/// The disk of the repository fills up: backups fail and say so; with room again all goes on, and what is there is whole.
#[test]
fn a_full_disk_is_told_and_left_behind() {
    let stored = Stored::empty();
    let Some(disk) = SmallDisk::at(&stored.home.path("disk"), 2048) else { return };
    stored.home.zooark("init --repo disk/r --new-key-file key-2").ends(0);
    configure(&stored, "schedule = \"@every 1s\"\ninstant_first_backup = true\nfull = \"every-time\"", "");
    let text = fs::read_to_string(stored.home.path("daemon.toml")).unwrap();
    let small = text.replace("url = \"repository\"\nkey_file = \"key\"", "url = \"disk/r\"\nkey_file = \"key-2\"");
    fs::write(stored.home.path("daemon.toml"), small).unwrap();
    let daemon = Daemon::start(&stored.home);
    daemon.until("/api/v1/clusters/prod", |cluster| cluster["state"] == "ok");
    disk.fill(0);
    let failing = daemon.until("/api/v1/clusters/prod", |cluster| cluster["state"] == "failing");
    assert!(failing["last_error"].as_str().unwrap().to_lowercase().contains("no space left"), "{failing:#}");
    let text = String::from_utf8(daemon.ask("GET", "/metrics", &[], None).is(200).body).unwrap();
    let told = text.lines().any(|line| line.starts_with("zooark_errors_total{") && line.contains("side=\"store\""));
    assert!(told, "{text}");
    daemon.ask("GET", "/readyz", &[], None).is(200);
    fs::remove_file(stored.home.path("disk/filler")).unwrap();
    daemon.until("/api/v1/clusters/prod", |cluster| cluster["state"] == "ok" && cluster["consecutive_failures"] == 0);
    daemon.stop();
    stored.home.zooark("--repo disk/r --key-file key-2 check --read-data").ends(0);
}

/// A certificate of an authority that the client trusts; another one after SIGHUP, and none that is broken.
#[test]
fn it_speaks_tls_and_takes_a_new_certificate() {
    let stored = Stored::new();
    let authority = Authority::new().unwrap();
    let (first, second) = (authority.party("first", "IP:127.0.0.1"), authority.party("second", "IP:127.0.0.1"));
    let install = |party: &Party| {
        fs::copy(&party.cert, stored.home.path("cert.pem")).unwrap();
        fs::copy(&party.key, stored.home.path("key.pem")).unwrap();
    };
    install(first.as_ref().unwrap());
    configure(&stored, HOURLY, "");
    let text = fs::read_to_string(stored.home.path("daemon.toml")).unwrap();
    let tls = text.replace("[server]", "[server]\ntls = { cert = \"cert.pem\", key = \"key.pem\" }");
    fs::write(stored.home.path("daemon.toml"), tls).unwrap();
    let mut daemon = Daemon::start(&stored.home);
    let ca = authority.ca();
    // What it sends, and whom its certificate names.
    let ask = |daemon: &Daemon| {
        let mut client = Command::new("openssl");
        client.args([
            "s_client",
            "-quiet",
            "-verify_return_error",
            "-verify",
            "3",
            "-connect",
            &daemon.address.to_string(),
        ]);
        let client = client.arg("-CAfile").arg(&ca).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut client = client.spawn().expect("openssl must be on the PATH");
        let request = format!(
            "GET /api/v1/clusters HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {ADMIN}\r\nConnection: close\r\n\r\n",
            daemon.address
        );
        client.stdin.take().unwrap().write_all(request.as_bytes()).unwrap();
        let output = client.wait_with_output().unwrap();
        (String::from_utf8_lossy(&output.stdout).into_owned(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (answer, seen) = ask(&daemon);
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"prod\""), "{answer}{seen}");
    assert!(seen.contains("CN = first"), "{seen}");
    // Plain HTTP is not answered.
    let mut plain = TcpStream::connect(daemon.address).unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut got = Vec::new();
    let _ = plain.read_to_end(&mut got);
    assert!(!got.starts_with(b"HTTP/1.1 2"), "{}", String::from_utf8_lossy(&got));

    install(second.as_ref().unwrap());
    daemon.signal("HUP");
    daemon.log_line("read again");
    assert!(ask(&daemon).1.contains("CN = second"));
    fs::write(stored.home.path("cert.pem"), "nonsense").unwrap();
    daemon.signal("HUP");
    daemon.log_line("the certificate was not read again");
    let (answer, seen) = ask(&daemon);
    assert!(answer.starts_with("HTTP/1.1 200") && seen.contains("CN = second"), "{answer}{seen}");
    daemon.stop();
}
