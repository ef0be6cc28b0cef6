//! Networks that fail: connections cut at the boundary of every frame and inside, that stall, that trickle and that
//! carry garbage. Reads come through, writes are done or are told to be in doubt, and nothing is ever taken for what it
//! is not.

use std::time::Duration;

use futures::future::join_all;
use testing::server::{Client as JavaClient, Fault, Proxy, Server, Setup, Side, Then};
use zk_connect::live::scan::{AclMemory, ScanOptions, scan};
use zk_connect::live::{Client, ConnectOptions, CreateMode, LiveError, Op, OpResult};
use zk_format::AclList;

use crate::client::{extended, options, run};
use crate::scan::{Heard, assert_same_as_files, scanned};
use crate::turn;

/// Sessions at a time.
const TOGETHER: usize = 16;

fn through(proxy: &Proxy) -> ConnectOptions {
    options(&[proxy.address()])
}

/// One of everything, on a node of its own. What a lost answer leaves in doubt is looked up, as callers must.
async fn session(connect: ConnectOptions, path: &str) {
    let path = path.as_bytes();
    let world = AclList::world();
    let client = Client::connect(connect).await.unwrap();
    client.add_watch(path, true).await.unwrap();
    match client.create(path, Some(b"first"), &world, CreateMode::Persistent).await {
        Ok((created, _)) => assert_eq!(created, path),
        Err(LiveError::Lost { .. }) => {
            if client.exists(path).await.unwrap().is_none() {
                client.create(path, Some(b"first"), &world, CreateMode::Persistent).await.unwrap();
            }
        }
        Err(other) => panic!("{other}"),
    }
    assert_eq!(client.get_data(path).await.unwrap().value.0.as_deref(), Some(&b"first"[..]));
    let large = vec![b'x'; 20_000];
    match client.set_data(path, Some(&large), 0).await {
        Ok(stat) => assert_eq!(stat.version, 1),
        Err(LiveError::Lost { .. }) => {
            let version = client.exists(path).await.unwrap().unwrap().value.version;
            if version == 0 {
                client.set_data(path, Some(&large), 0).await.unwrap();
            }
        }
        Err(other) => panic!("{other}"),
    }
    let ops = [Op::GetData { path }, Op::GetChildren { path }, Op::GetData { path: b"/not-there" }];
    let read = client.multi_read(&ops, 1 << 16).await.unwrap().value;
    let [OpResult::Data(data, stat), OpResult::Children(children), OpResult::Failed(_)] = read.as_slice() else {
        panic!("{read:?}");
    };
    assert_eq!((data.as_deref(), stat.version, children.len()), (Some(large.as_slice()), 1, 0));
    assert_eq!(client.get_acl(path).await.unwrap().value.0, world);
    assert!(client.sync(b"").await.unwrap() > 0);
    client.close().await;
}

/// Where frames end, before and inside their lengths, in the middle of them and one byte before their end.
fn places(ends: &[u64]) -> Vec<u64> {
    let mut places = Vec::new();
    let mut start = 0u64;
    for end in ends {
        places.extend([start, start + 2, start + 4, start.midpoint(*end), end - 1]);
        start = *end;
    }
    places.dedup();
    places
}

#[test]
fn a_connection_may_end_after_any_frame_and_inside_any() {
    let _turn = turn::of_a_server();
    let server = Server::start("3.9.4", Setup::default()).unwrap();
    let clean = Proxy::start(server.port()).unwrap();
    // Paths of one length: frames end at the same places in every session.
    run(session(through(&clean), "/case-clean"));
    let frames = clean.frames().remove(0);
    assert!(frames.requests.len() >= 8 && frames.answers.len() >= 8, "{frames:?}");
    let mut faults = Vec::new();
    for (side, ends) in [(Side::Requests, &frames.requests), (Side::Answers, &frames.answers)] {
        // The last frame takes leave: nobody waits for more.
        let places = places(&ends[..ends.len() - 1]);
        faults.extend(places.iter().map(|after| Fault { side, after: *after, then: Then::Cut }));
        faults.extend(places.iter().step_by(5).map(|after| Fault { side, after: *after, then: Then::Garbage }));
    }
    for length in [-1, i32::MIN, i32::MAX, 300 << 20, 0, 5] {
        let lengths =
            frames.answers.iter().map(|after| Fault { side: Side::Answers, after: *after, then: Then::Length(length) });
        faults.extend(lengths.take(frames.answers.len() - 1));
    }
    let proxies: Vec<Proxy> = faults.iter().map(|_| Proxy::start(server.port()).unwrap()).collect();
    run(async {
        let cases: Vec<_> = faults.iter().zip(&proxies).enumerate().collect();
        for together in cases.chunks(TOGETHER) {
            join_all(together.iter().map(|(index, (fault, proxy))| async move {
                proxy.then([Some(**fault)]);
                // A frame that never ends: its time is over soon.
                let connect = ConnectOptions { request_time_out: Duration::from_secs(3), ..through(proxy) };
                println!("{index}: {fault:?}");
                session(connect, &format!("/case-{index:05}")).await;
            }))
            .await;
        }
    });
}

#[test]
fn a_server_that_stalls_is_an_error_and_a_slow_one_is_waited_for() {
    let _turn = turn::alone();
    let server = Server::start("3.9.4", Setup::default()).unwrap();
    let proxy = Proxy::start(server.port()).unwrap();
    run(session(through(&proxy), "/clean"));
    let shaken = proxy.frames()[0].answers[0];
    let stall = |side, after| Some(Fault { side, after, then: Then::Stall });
    run(async {
        // Every connection, so that trying again does not help.
        proxy.then(vec![stall(Side::Answers, 0); 100]);
        let impatient = ConnectOptions {
            server_time_out: Duration::from_millis(500),
            connect_time_out: Duration::from_secs(2),
            request_time_out: Duration::from_millis(500),
            ..through(&proxy)
        };
        let refused = Client::connect(impatient.clone()).await.unwrap_err().to_string();
        assert!(refused.contains("0.5 s"), "{refused}");

        let anonymous = ConnectOptions { auth: Vec::new(), ..impatient };
        proxy.then(vec![stall(Side::Answers, shaken); 100]);
        let client = Client::connect(anonymous).await.unwrap();
        let refused = client.get_data(b"/clean").await.unwrap_err();
        let LiveError::Lost { operation: "getData", source, .. } = &refused else { panic!("{refused}") };
        assert!(source.to_string().contains("nothing arrived for 0.5 s"), "{source}");

        let slow = |side, bytes| Some(Fault { side, after: 0, then: Then::Slow(bytes, Duration::from_millis(2)) });
        proxy.then([slow(Side::Answers, 100)]);
        session(through(&proxy), "/slow-answers").await;
        proxy.then([slow(Side::Requests, 100)]);
        session(through(&proxy), "/slow-requests").await;
    });
}

/// Each connection that a scan opens is cut after a while; it goes on over others and the tree is whole.
#[rstest::rstest]
#[case("3.5.10")]
#[case("3.9.4")]
fn a_scan_survives_its_connections(#[case] version: &str) {
    let _turn = turn::of_a_server();
    let server = Server::start(version, extended()).unwrap();
    let mut java = JavaClient::connect(version, &server.address()).unwrap();
    java.workload(3_000).unwrap();
    let proxy = Proxy::start(server.port()).unwrap();
    for (round, after) in [40_000, 90_000, 150_000, 250_000].into_iter().enumerate() {
        let cut = |side, after| Some(Fault { side, after, then: Then::Cut });
        // The first connection asks what the server is.
        let side = if round % 2 == 0 { Side::Answers } else { Side::Requests };
        let after = if side == Side::Requests { after / 3 } else { after };
        proxy.then([None, cut(side, after), cut(side, after / 2), None, cut(side, after)]);
        let (found, heard) = run(async { scanned(&through(&proxy), &AclMemory::default(), None).await });
        let notes = heard.notes.lock().unwrap().clone();
        assert!(proxy.frames().len() > 2 * (round + 1), "no connection was cut");
        assert!(found.is_exact(), "{notes:?}");
        assert_same_as_files(&format!("after {after} bytes of {side:?}, {notes:?}"), &found, &server);
    }
}

/// What changed while a watch was without its connection nobody tells: everything is read again.
#[test]
fn a_lost_watch_makes_the_scan_begin_again() {
    let _turn = turn::of_a_server();
    let server = Server::start("3.9.4", extended()).unwrap();
    let mut java = JavaClient::connect("3.9.4", &server.address()).unwrap();
    java.workload(3_000).unwrap();
    let proxy = Proxy::start(server.port()).unwrap();
    proxy.then([None, Some(Fault { side: Side::Answers, after: 100_000, then: Then::Cut })]);
    let (found, notes) = run(async {
        let direct = Client::connect(options(&[server.address()])).await.unwrap();
        let heard = Heard::default();
        let (known, connect) = (AclMemory::default(), through(&proxy));
        let options =
            ScanOptions { connections: None, max_rate: None, known: &known, wanted: &|_| true, control: &heard };
        let again = || !heard.notes.lock().unwrap().is_empty();
        // Until it begins again, something changes all the time.
        let writes = async {
            while !again() {
                direct.set_data(b"/plain/text", Some(b"changed"), -1).await.unwrap();
            }
        };
        let (found, ()) = tokio::join!(scan(&connect, &options), writes);
        let notes = heard.notes.lock().unwrap().clone();
        (found.unwrap(), notes)
    });
    assert!(notes[0].contains("everything is read again"), "{notes:?}");
    assert!(found.caught_up && !found.watch_lost, "{notes:?}");
    assert_same_as_files("after it began again", &found, &server);
}
