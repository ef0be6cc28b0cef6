//! Watches that fire once, which every version has: they outlive connections, and scans of servers before 3.6 learn from
//! them what changed meanwhile.

use std::collections::BTreeSet;
use std::sync::Mutex;

use futures::future::join_all;
use testing::server::{Client as JavaClient, Fault, Proxy, Server, Setup, Side, Then};
use zk_connect::live::scan::{AclMemory, Control, ScanOptions, scan};
use zk_connect::live::{Client, CreateMode, Event, EventKind};
use zk_format::AclList;

use crate::client::{extended, options, run};
use crate::scan::assert_same_as_files;
use crate::turn;

/// As many as take several frames to be set again.
const ABSENT: usize = 4_000;

fn absent(number: usize) -> Vec<u8> {
    format!("/{}-{number:04}", "absent".repeat(20)).into_bytes()
}

fn told(client: &Client) -> BTreeSet<(Vec<u8>, String)> {
    let said = |event| match event {
        Event::Watch(event) => (event.path, format!("{:?}", event.kind)),
        Event::Missed => panic!("nothing was missed"),
    };
    client.events().take().into_iter().map(said).collect()
}

#[rstest::rstest]
#[case("3.4.14")]
#[case("3.5.10")]
#[case("3.9.4")]
fn watches_that_fire_once_tell_what_changed_while_there_was_no_connection(#[case] version: &str) {
    let _turn = turn::of_a_server();
    let server = Server::start(version, Setup::default()).unwrap();
    let proxy = Proxy::start(server.port()).unwrap();
    run(async {
        let world = AclList::world();
        let direct = Client::connect(options(&[server.address()])).await.unwrap();
        let client = Client::connect(options(&[proxy.address()])).await.unwrap();
        let create = async |path: &[u8]| direct.create_plain(path, None, &world, CreateMode::Persistent).await.unwrap();
        for path in [&b"/set"[..], b"/kept", b"/deleted", b"/parent", b"/quiet"] {
            create(path).await;
        }
        for path in [&b"/set"[..], b"/kept", b"/deleted"] {
            client.watch_data(path, 100).await.unwrap();
        }
        client.watch_children(b"/parent").await.unwrap();
        client.watch_children(b"/quiet").await.unwrap();
        let watches = (0..ABSENT).map(|number| {
            let client = client.clone();
            async move { client.watch_exists(&absent(number)).await.unwrap() }
        });
        assert!(join_all(watches).await.iter().all(Option::is_none));
        let session = client.session_id();

        proxy.sever(true);
        direct.set_data(b"/set", Some(b"changed"), -1).await.unwrap();
        direct.delete(b"/deleted", -1).await.unwrap();
        create(b"/parent/child").await;
        create(&absent(0)).await;
        create(&absent(ABSENT - 1)).await;
        proxy.sever(false);
        client.sync(b"").await.unwrap();
        assert_eq!((client.session_id(), client.connections()), (session, 2));
        let said = |path: &[u8], kind: EventKind| (path.to_vec(), format!("{kind:?}"));
        let expected = [
            said(b"/set", EventKind::DataChanged),
            said(b"/deleted", EventKind::Deleted),
            said(b"/parent", EventKind::ChildrenChanged),
            said(&absent(0), EventKind::Created),
            said(&absent(ABSENT - 1), EventKind::Created),
        ];
        assert_eq!(told(&client), BTreeSet::from(expected));

        // What did not fire waits still, and what fired does not fire again.
        direct.set_data(b"/set", Some(b"changed again"), -1).await.unwrap();
        client.disconnect();
        client.sync(b"").await.unwrap();
        assert_eq!(told(&client), BTreeSet::new());
        direct.set_data(b"/kept", Some(b"changed"), -1).await.unwrap();
        create(b"/quiet/child").await;
        create(&absent(1)).await;
        client.sync(b"").await.unwrap();
        let expected = [
            said(b"/kept", EventKind::DataChanged),
            said(b"/quiet", EventKind::ChildrenChanged),
            said(&absent(1), EventKind::Created),
        ];
        assert_eq!(told(&client), BTreeSet::from(expected));
    });
}

/// Lets a scan go on to a point, and has something done there before it goes further.
struct Held {
    nodes: Mutex<u64>,
    /// Nodes to be read first.
    first: u64,
    then: Mutex<Option<Work>>,
}

type Work = Box<dyn FnOnce() + Send>;

impl Control for Held {
    fn read(&self, nodes: u64) {
        let mut read = self.nodes.lock().unwrap();
        *read += nodes;
        if let Some(work) = self.then.lock().unwrap().take_if(|_| *read >= self.first) {
            work();
        }
    }

    fn note(&self, text: &str) {
        panic!("{text}");
    }

    fn cancelled(&self) -> bool {
        false
    }
}

/// Of ACLs alone no watch tells, so that none is set.
async fn write_much(server: String) {
    let direct = Client::connect(options(&[server])).await.unwrap();
    let world = AclList::world();
    let create =
        async |path: &[u8]| direct.create_plain(path, Some(b"new"), &world, CreateMode::Persistent).await.unwrap();
    for path in [&b"/late"[..], b"/late/child", b"/late/child/below"] {
        create(path).await;
    }
    for number in 0..300 {
        let path = format!("/late/child/n{number}").into_bytes();
        create(&path).await;
        match number % 3 {
            0 => direct.delete(&path, -1).await.unwrap(),
            1 => drop(direct.set_data(&path, Some(b"set"), -1).await.unwrap()),
            _ => drop(direct.set_data(format!("/many/c{number}").as_bytes(), Some(b"set"), -1).await.unwrap()),
        }
    }
    direct.delete(b"/many/c2999", -1).await.unwrap();
    // A node that was gone for a moment is another one.
    direct.delete(b"/many/c2998", -1).await.unwrap();
    create(b"/many/c2998").await;
    create(b"/many/c2998/child").await;
    direct.close().await;
}

/// Much is read and watched already when the writes begin, and connections are cut on the way.
#[rstest::rstest]
#[case("3.4.14")]
#[case("3.5.10")]
fn what_changes_during_a_scan_without_recursive_watches_is_read_again(#[case] version: &str) {
    let _turn = turn::of_a_server();
    let server = Server::start(version, extended()).unwrap();
    let mut java = JavaClient::connect(version, &server.address()).unwrap();
    java.workload(3_000).unwrap();
    let proxy = Proxy::start(server.port()).unwrap();
    let cut = |after| Some(Fault { side: Side::Answers, after, then: Then::Cut });
    // The first connection asks what the server is, the next two are read from.
    proxy.then([None, cut(150_000), cut(80_000), None, cut(60_000)]);
    let address = server.address();
    let writes = || std::thread::spawn(|| run(write_much(address))).join().unwrap();
    let held = Held { nodes: Mutex::default(), first: 1_500, then: Mutex::new(Some(Box::new(writes))) };
    let (known, connect) = (AclMemory::default(), options(&[proxy.address()]));
    let options = ScanOptions { connections: None, max_rate: None, known: &known, wanted: &|_| true, control: &held };
    let found = run(scan(&connect, &options)).unwrap();
    assert!(held.then.lock().unwrap().is_none(), "nothing was written");
    assert!(proxy.frames().len() > 3, "no connection was cut");
    assert!(!found.is_exact() && found.caught_up, "{:?}", found.span);
    assert!(found.tree.find(b"/late/child/below").is_some() && found.read_again > 100, "{}", found.read_again);
    assert_same_as_files("after the writes", &found, &server);
}
