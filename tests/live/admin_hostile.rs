//! An `AdminServer` that means harm, or is none: every answer ends in an error that names the server and the cause, and
//! nothing of it is used.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use zk_connect::admin::{self, AdminError, AdminOptions};
use zk_format::file_snap_writer::{SnapWriter, WriteLimits};
use zk_format::{AclList, NodeRef, Stat, path};

use crate::admin::{Unheard, to};
use crate::client::{auth, run};
use crate::run::Home;

/// What follows the head of an answer.
#[derive(Clone, Debug)]
enum Body {
    Bytes(Vec<u8>),
    /// These bytes, and then nothing for ever.
    Stuck(Vec<u8>),
    /// A byte now and then.
    Trickle,
    /// Without end, as fast as it goes.
    Endless,
}

/// Head and body of the answer to `snapshot`; the answer to `srvr` is given whole.
#[derive(Clone, Debug)]
struct Script {
    srvr: Vec<u8>,
    head: String,
    body: Body,
}

fn http(status: &str, more: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{more}\r\n{body}").into_bytes()
}

fn state(version: &str, read_only: bool) -> String {
    format!(
        r#"{{"version":"{version}-abc, built on 2025","read_only":{read_only},"node_count":5,"error":null,
            "server_stats":{{"server_state":"leader","last_processed_zxid":33}}}}"#
    )
}

/// A good server but for what `snapshot` answers.
fn snapshot(head: &str, body: Body) -> Script {
    Script { srvr: http("200 OK", "", &state("3.9.4", false)), head: head.to_owned(), body }
}

fn announced(bytes: u64) -> String {
    format!("HTTP/1.1 200 OK\r\nlast_zxid: 0x21\r\nsnapshot_size: {bytes}\r\n\r\n")
}

/// A file of the base section alone.
fn file() -> Vec<u8> {
    let world = AclList::world();
    let mut writer = SnapWriter::new(Vec::new(), &[], [], WriteLimits::default()).unwrap();
    for path in [path::ROOT, path::ZOOKEEPER, path::QUOTA, path::CONFIG] {
        writer.node(&NodeRef { path, data: Some(b""), acl: Some(&world), stat: Stat::default() }).unwrap();
    }
    writer.finish().unwrap().0
}

fn damaged() -> Vec<u8> {
    let mut file = file();
    let middle = file.len() / 2;
    file[middle] ^= 1;
    file
}

async fn play(mut stream: TcpStream, script: Arc<Script>) -> std::io::Result<()> {
    let mut asked = Vec::new();
    while !asked.ends_with(b"\r\n\r\n") {
        asked.push(stream.read_u8().await?);
    }
    let asked = String::from_utf8_lossy(&asked).into_owned();
    if asked.starts_with("GET /commands/srvr ") {
        assert!(!asked.contains("secret"), "credentials where none are needed");
        stream.write_all(&script.srvr).await?;
        return stream.shutdown().await;
    }
    assert!(asked.starts_with("GET /commands/snapshot?streaming=true "), "{asked}");
    assert!(asked.contains("digest somebody:secret\r\n"), "{asked}");
    stream.write_all(script.head.as_bytes()).await?;
    match &script.body {
        Body::Bytes(bytes) => stream.write_all(bytes).await?,
        Body::Stuck(bytes) => {
            stream.write_all(bytes).await?;
            // Until the client goes.
            while stream.read(&mut [0; 64]).await? > 0 {}
        }
        Body::Trickle => loop {
            stream.write_all(b"Z").await?;
            tokio::time::sleep(Duration::from_millis(20)).await;
        },
        Body::Endless => loop {
            stream.write_all(&[b'Z'; 8 << 10]).await?;
        },
    }
    stream.shutdown().await
}

async fn serve(script: Script) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let script = Arc::new(script);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(play(stream, Arc::clone(&script)));
        }
    });
    address
}

fn impatient() -> AdminOptions {
    AdminOptions {
        auth: vec![auth("somebody:secret")],
        answer_time_out: Duration::from_secs(1),
        snapshot_time_out: Duration::from_secs(1),
        silence_time_out: Duration::from_secs(1),
        ..AdminOptions::default()
    }
}

/// The error, which names the server and none of the credentials.
async fn outcome(script: Script, options: AdminOptions) -> AdminError {
    let shown = format!("{script:?}").chars().take(300).collect::<String>();
    let address = serve(script).await;
    let taken = admin::snapshot(&to(&format!("admin+http://{address}"), options), &Unheard).await;
    let error = match taken.and_then(admin::Streamed::load) {
        Ok(loaded) => panic!("{shown}: taken for good: {:?}", loaded.notes),
        Err(error) => error,
    };
    let text = error.to_string();
    assert!(text.contains(&address) && !text.contains("secret"), "{shown}: {text}");
    error
}

#[test]
fn every_answer_ends_in_an_error_that_names_the_cause() {
    let json = |status: &str, body: &str| {
        let answer = String::from_utf8(http(status, "Content-Type: application/json\r\n", body)).unwrap();
        snapshot(&answer, Body::Bytes(Vec::new()))
    };
    let good = file().len() as u64;
    let whole = |bytes: Vec<u8>| snapshot(&announced(bytes.len() as u64), Body::Bytes(bytes));
    let reason = r#"{"command":"snapshot","error":"the disk is full"}"#;
    let nothing = r#"{"command":"snapshot","error":null}"#;
    let cases: Vec<(Script, &str)> = vec![
        (json("200 OK", reason), "status 200: the disk is full"),
        (json("200 OK", nothing), "lacks the headers last_zxid and snapshot_size"),
        (json("200 OK", "[]"), "no answer to a command"),
        (json("200 OK", "<html>\u{1b}[31mlogin</html>"), "no answer to a command: \"<html> [31mlogin</html>\""),
        (json("401 Unauthorized", reason), "every permission (cdrwa) on /"),
        (json("403 Forbidden", nothing), "every permission (cdrwa) on /"),
        (json("429 Too Many Requests", nothing), "zookeeper.admin.rateLimiterIntervalInMS"),
        (json("503 Service Unavailable", nothing), "admin.snapshot.enabled"),
        (json("500 Server Error", nothing), "no reason given; look at the server's log"),
        (json("404 Not Found", "nothing here"), "admin.commandURL"),
        (json("302 Found", "elsewhere"), "we do not follow"),
        (snapshot("SSH-2.0-OpenSSH\r\n", Body::Bytes(Vec::new())), "the connection broke"),
        (snapshot("", Body::Bytes(Vec::new())), "the connection broke"),
        (snapshot("HTTP/1.1 200 OK\r\n", Body::Endless), "the connection broke"),
        (snapshot("", Body::Stuck(Vec::new())), "nothing arrived for 1.0 s"),
        (snapshot("HTTP/1.1 200 OK\r\n\r\n", Body::Endless), "longer than 4194304 bytes"),
        (snapshot("HTTP/1.1 200 OK\r\n\r\n", Body::Stuck(Vec::new())), "nothing arrived for 1.0 s"),
        // Sizes.
        (snapshot(&announced(good), Body::Bytes(file()[..100].to_vec())), "100 arrived"),
        (snapshot(&announced(good - 1), Body::Bytes(file())), "nothing of it was used"),
        (snapshot(&announced(100_000), Body::Endless), "announced with 100000 bytes"),
        (snapshot(&announced(1 << 62), Body::Endless), "are accepted"),
        (
            snapshot(
                &format!("HTTP/1.1 200 OK\r\nContent-Length: 900\r\n{}", &announced(900)[17..]),
                Body::Bytes(file()),
            ),
            "the connection broke",
        ),
        (
            snapshot("HTTP/1.1 200 OK\r\nlast_zxid: 0x21\r\nsnapshot_size: -1\r\n\r\n", Body::Bytes(file())),
            "no answer to a",
        ),
        (
            snapshot("HTTP/1.1 200 OK\r\nlast_zxid: x\r\nsnapshot_size: 9\r\n\r\n", Body::Bytes(file())),
            "no answer to a",
        ),
        // Time.
        (snapshot(&announced(good), Body::Stuck(file()[..100].to_vec())), "nothing arrived for 1.0 s"),
        (snapshot(&announced(1 << 20), Body::Trickle), "bytes came in 1.0 s"),
        // Contents.
        (whole(damaged()), "cannot be read"),
        (whole(file()[..200].to_vec()), "cannot be read"),
        (whole(b"PK\x03\x04, a file of another kind".to_vec()), "not with ZKSN"),
        (whole(Vec::new()), "not with ZKSN"),
        (whole([&b"\x1f\x8b\x08\0"[..], &[0xff; 60]].concat()), "cannot be read"),
    ];
    run(async {
        for (script, words) in cases {
            let shown = format!("{script:?}").chars().take(300).collect::<String>();
            let error = outcome(script, impatient()).await.to_string();
            assert!(error.contains(words), "{shown}: {error}");
        }
        // Nothing is taken in where it has no room. A disk may have room for the most that is accepted.
        let most = (64 << 30) - 1;
        if let Some(folder) = folder_with_less_than(most) {
            let options = AdminOptions { folder, ..impatient() };
            let error = outcome(snapshot(&announced(most), Body::Endless), options).await.to_string();
            assert!(error.contains("name a folder with room by TMPDIR"), "{error}");
        }
    });
}

/// A folder that has not so many bytes free, where there is one.
fn folder_with_less_than(bytes: u64) -> Option<PathBuf> {
    let free = |folder: &Path| -> Option<u64> {
        let output = Command::new("df").args(["-B1", "--output=avail"]).arg(folder).output().ok()?;
        String::from_utf8(output.stdout).ok()?.lines().nth(1)?.trim().parse().ok()
    };
    let mut folders = [PathBuf::from("/dev/shm"), std::env::temp_dir()].into_iter();
    let found = folders.find(|folder| free(folder).is_some_and(|free| free < bytes));
    if found.is_none() {
        eprintln!("\nNOT TESTED: a snapshot that has no room. No folder here has less than 64 GiB free.\n");
    }
    found
}

/// What a server says of itself is looked at before it is asked for anything.
#[test]
fn a_server_that_must_not_be_asked_is_not() {
    let saying = |srvr: Vec<u8>| Script { srvr, head: "never sent".to_owned(), body: Body::Bytes(Vec::new()) };
    let version = |version: &str| saying(http("200 OK", "", &state(version, false)));
    run(async {
        for refused in ["3.9.0", "3.9.3"] {
            assert!(matches!(outcome(version(refused), impatient()).await, AdminError::Unsafe { .. }), "{refused}");
        }
        assert!(matches!(outcome(version("3.8.4"), impatient()).await, AdminError::TooOld { .. }));
        assert!(matches!(outcome(version("ours"), impatient()).await, AdminError::UnknownVersion { .. }));
        let read_only = saying(http("200 OK", "", &state("3.9.4", true)));
        assert!(matches!(outcome(read_only, impatient()).await, AdminError::ReadOnly { .. }));
        let insisting = AdminOptions { unsafe_versions: true, ..impatient() };
        let read_only = saying(http("200 OK", "", &state("3.9.2", true)));
        assert!(matches!(outcome(read_only, insisting).await, AdminError::ReadOnly { .. }));
        let elected =
            saying(http("200 OK", "", r#"{"error":"This ZooKeeper instance is not currently serving requests"}"#));
        assert!(outcome(elected, impatient()).await.to_string().contains("it has no quorum yet"));
        for other in [r#"{"error":null}"#, r#"{"error":null,"version":"3.9.4"}"#] {
            let error = outcome(saying(http("200 OK", "", other)), impatient()).await.to_string();
            assert!(error.contains("is that the AdminServer of a ZooKeeper server?"), "{error}");
        }
    });
}

/// The same through the program: an error with the cause and the next step, and nothing stored.
#[test]
fn the_program_says_what_is_wrong_and_stores_nothing() {
    let home = Home::new();
    std::fs::write(home.path("auth"), "digest somebody:secret\n").unwrap();
    home.zooark("init --repo repository --new-key-file key").ends(0);
    let (damage, cut) = (damaged(), file()[..100].to_vec());
    let scripts = [
        snapshot(&announced(damage.len() as u64), Body::Bytes(damage)),
        snapshot(&announced(file().len() as u64), Body::Bytes(cut)),
        snapshot(
            "HTTP/1.1 429 Too Many Requests\r\nContent-Length: 14\r\n\r\n{\"error\":null}",
            Body::Bytes(Vec::new()),
        ),
    ];
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    for (script, words) in scripts.into_iter().zip(["checksum", "100 arrived", "try again once"]) {
        let address = runtime.block_on(serve(script));
        let line = format!("--repo repository --key-file key backup admin+http://{address} --zk-auth-file auth");
        let ran = home.zooark(&line).ends(1).says(words).says(&address);
        assert!(!ran.stderr.contains("secret"), "{}", ran.stderr);
    }
    let listed = home.zooark("--repo repository --key-file key snapshots --json").ends(0).json();
    assert_eq!(listed.as_array().map(Vec::len), Some(0));
}

/// Where all members of the scripted ensemble stand.
const ZXID: i64 = 1 << 60;

/// One of three servers; `restore` gives what it says to an upload.
async fn member(id: u32, restore: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let role = if id == 1 { "leader" } else { "follower" };
    let srvr = format!(
        r#"{{"version":"3.9.4-abc","read_only":false,"node_count":5,"error":null,
            "server_stats":{{"server_state":"{role}","last_processed_zxid":{ZXID},"num_alive_client_connections":0}}}}"#
    );
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (srvr, restore) = (srvr.clone(), restore.clone());
            tokio::spawn(async move { answer(stream, id, &srvr, &restore).await });
        }
    });
    address
}

async fn answer(mut stream: TcpStream, id: u32, srvr: &str, restore: &[u8]) -> std::io::Result<()> {
    let mut asked = Vec::new();
    while !asked.ends_with(b"\r\n\r\n") {
        asked.push(stream.read_u8().await?);
    }
    let asked = String::from_utf8_lossy(&asked).to_lowercase();
    let command = asked.split(['/', ' ', '?']).nth(3).unwrap_or_default();
    let body = match command {
        "srvr" => srvr.to_owned(),
        "zabstate" => format!(r#"{{"myid":{id},"error":null}}"#),
        "voting_view" => r#"{"current_config":{"1":{},"2":{},"3":{}},"error":null}"#.to_owned(),
        "observers" => r#"{"observers":[],"error":null}"#.to_owned(),
        "dump" => r#"{"expiry_time_to_session_ids":{"5":[]},"error":null}"#.to_owned(),
        "system_properties" => r#"{"error":null}"#.to_owned(),
        "restore" => {
            let length = asked.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next());
            let mut upload = vec![0; length.and_then(|length| length.parse().ok()).unwrap_or(0)];
            stream.read_exact(&mut upload).await?;
            assert!(upload.starts_with(b"ZKSN") && upload.ends_with(b"/"));
            stream.write_all(restore).await?;
            return stream.shutdown().await;
        }
        other => panic!("{other:?} was asked for: {asked}"),
    };
    stream.write_all(&http("200 OK", "Connection: close\r\n", &body)).await?;
    stream.shutdown().await
}

/// Whoever has to mend it at night must know which server has which tree.
#[test]
fn a_restore_that_breaks_off_says_which_servers_have_which_tree() {
    let home = Home::new();
    std::fs::write(home.path("auth"), "digest somebody:secret\n").unwrap();
    home.zooark("init --repo repository --new-key-file key").ends(0);
    let program = |line: &str| home.zooark(&format!("--repo repository --key-file key {line}"));
    program(&format!("backup {}", crate::run::recorded("after").display())).ends(0);
    let taken = http("200 OK", "", &format!(r#"{{"last_zxid":{ZXID},"error":null}}"#));
    let elsewhere = http("200 OK", "", r#"{"last_zxid":7,"error":null}"#);
    let disabled = http("503 Service Unavailable", "", r#"{"error":"Restore command is disabled"}"#);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let restored = |answers: [&Vec<u8>; 3]| {
        let members: Vec<String> =
            (1..).zip(answers).map(|(id, answer)| runtime.block_on(member(id, answer.clone()))).collect();
        let line = "--experimental-admin-restore --no-safety-snapshot --zk-auth-file auth --yes";
        let ran = program(&format!("restore latest admin+http://{} {line}", members.join(",")));
        assert!(!ran.stderr.contains("secret"), "{}", ran.stderr);
        (ran, members)
    };
    let (ran, _) = restored([&disabled, &taken, &taken]);
    assert!(!ran.ends(1).says("admin.restore.enabled").stderr.contains("differ"));
    let (ran, members) = restored([&taken, &taken, &disabled]);
    let ran = ran.ends(3).says("admin.restore.enabled").says("run the same restore again");
    let said = format!("{}, {} have the restored tree in memory, {} the old one", members[0], members[1], members[2]);
    ran.says(&said);
    let (ran, members) = restored([&taken, &elsewhere, &taken]);
    let ran = ran.ends(3).says(&format!("{} takes the restored tree for the state at 0x7", members[1]));
    ran.says(&format!("{} may have either, {} the old one", members[1], members[2]));
}
