//! Comparing with a live ensemble: both sides may be one, what differs is found, and no tree is held in memory.

use std::process::Stdio;

use testing::server::{Client as JavaClient, Server, Setup};
use zk_connect::live::{Client, CreateMode, Op, OpResult};
use zk_format::AclList;

use crate::client::{extended, options, run};
use crate::run::Home;
use crate::scan::{process, program, ran, summary};
use crate::turn;

const VALUE_BYTES: usize = 8 << 10;
/// Creates in a frame; the server keeps its last 500 frames in memory.
const TOGETHER: usize = 8;

/// Adds nodes until there are so many.
async fn fill(client: &Client, from: usize, to: usize) {
    let (world, value) = (AclList::world(), vec![b'v'; VALUE_BYTES]);
    for first in (from..to).step_by(TOGETHER) {
        let paths: Vec<Vec<u8>> =
            (first..to.min(first + TOGETHER)).map(|n| format!("/full/{n}").into_bytes()).collect();
        let create = |path| Op::Create { path, data: Some(&value), acl: &world, mode: CreateMode::Persistent };
        let ops: Vec<Op<'_>> = paths.iter().map(|path| create(path)).collect();
        let created = client.multi(&ops).await.unwrap();
        assert!(created.iter().all(|result| matches!(result, OpResult::Created(..))), "{:?}", created.first());
    }
}

/// Runs the program and gives the most memory that it was seen to have, in KiB, and its exit code.
fn peak(home: &Home, line: &str) -> (u64, i32) {
    let mut process = process(home, line).stdout(Stdio::null()).spawn().unwrap();
    let status = format!("/proc/{}/status", process.id());
    let mut peak = 0;
    loop {
        // The system keeps the peak, so that only what comes after the last look is missed.
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let now = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse().ok());
        peak = now.unwrap_or(peak);
        if let Some(ended) = process.try_wait().unwrap() {
            return (peak, ended.code().unwrap_or(-1));
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

/// Two and a half times the tree, 47 MiB more of it, and little more memory.
#[test]
fn an_ensemble_is_compared_without_its_tree_in_memory() {
    let _turn = turn::of_a_server();
    let server = Server::start("3.9.4", Setup::default()).unwrap();
    let home = program();
    let here = format!("zk://{}", server.address());
    let lines = [format!("diff --stat --exit-code latest {here}"), format!("diff --stat --exit-code {here} {here}")];
    let mut peaks = Vec::new();
    let sizes = [0, 4_000, 10_000];
    for size in sizes.windows(2) {
        run(async {
            let client = Client::connect(options(&[server.address()])).await.unwrap();
            if size[0] == 0 {
                client.create(b"/full", None, &AclList::world(), CreateMode::Persistent).await.unwrap();
            }
            fill(&client, size[0], size[1]).await;
            client.close().await;
        });
        summary(&home, &format!("backup {here}"), 0);
        peaks.push(lines.each_ref().map(|line| peak(&home, line)));
    }
    println!("{peaks:?}");
    for (small, large) in peaks[0].iter().zip(&peaks[1]) {
        assert_eq!((small.1, large.1), (0, 0), "nothing differs");
        assert!(large.0 < small.0 + (24 << 10), "{small:?} {large:?} KiB");
    }
}

#[test]
fn two_ensembles_are_compared_and_one_node_is_followed_into_the_present() {
    let _turn = turn::of_a_server();
    let server = Server::start("3.9.4", extended()).unwrap();
    let mut java = JavaClient::connect("3.9.4", &server.address()).unwrap();
    java.workload(500).unwrap();
    let world = AclList::world();
    run(async {
        let client = Client::connect(options(&[server.address()])).await.unwrap();
        for root in ["/one", "/two"] {
            for (below, data) in [("", None), ("/same", Some(&b"s"[..])), ("/a", Some(b"a")), ("/a/b", Some(b""))] {
                let path = format!("{root}{below}");
                client.create(path.as_bytes(), data, &world, CreateMode::Persistent).await.unwrap();
            }
        }
        client.create(b"/one/first", Some(b"x"), &world, CreateMode::Persistent).await.unwrap();
        client.create(b"/two/z", Some(b"x"), &world, CreateMode::Persistent).await.unwrap();
        client.set_data(b"/two/a/b", None, -1).await.unwrap();
        client.close().await;
    });
    let home = program();
    let at = format!("zk://{}", server.address());
    // Every node was created apart, so all are told apart by when.
    let diff = ran(&home, &format!("diff {at}/one {at}/two --zk-auth-file auth")).ends(0);
    let mut lines: Vec<&str> = diff.stdout.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["+    /z", "-    /first", "MR   /a/b", "R    /", "R    /a", "R    /same"], "{}", diff.stderr);

    let backup = format!("backup {at} --zk-auth-file auth");
    summary(&home, &backup, 0);
    java.run("set a /plain/text second").unwrap();
    summary(&home, &backup, 0);
    let history = format!("--json history /plain/text {at} --zk-auth-file auth");
    assert_eq!(ran(&home, &history).ends(0).lines().len(), 2, "the second is the present one");
    java.run("set a /plain/text third").unwrap();
    let versions = ran(&home, &history).ends(0).lines();
    assert_eq!((versions.len(), &versions[2]["snapshot_id"]), (3, &serde_json::Value::Null), "{versions:?}");
    assert_eq!(versions[2]["node"]["version"].as_i64(), versions[1]["node"]["version"].as_i64().map(|v| v + 1));
    java.run("delete a /plain/text").unwrap();
    let gone = ran(&home, &history).ends(0).lines().pop().unwrap();
    assert_eq!((&gone["exists"], &gone["snapshot_id"]), (&false.into(), &serde_json::Value::Null));
    ran(&home, "history /plain/text datadir:here").ends(2).says("no live ensemble");
}
