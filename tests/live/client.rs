//! Our own client against real servers: what it reads is what the official client sees, each write is the right one,
//! and it comes back after its connection was lost.

use std::future::Future;
use std::time::Duration;

use rstest::rstest;
use testing::server::{Client as JavaClient, ClientNode, Ensemble, Server, Setup, at_least, free_port, wait_until};
use zk_connect::live::{
    AuthInfo, Client, Code, ConnectOptions, CreateMode, Event, EventKind, LiveError, NodeStat, Op, OpResult,
};
use zk_format::{Acl, AclList};

use crate::matrix::on_every_version;
use crate::turn;

/// Runs what needs a runtime; the servers stay on the test's own thread.
pub fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap().block_on(work)
}

/// A server that knows containers and TTLs and removes what has run out at once.
pub fn extended() -> Setup {
    Setup::default().property("zookeeper.extendedTypesEnabled=true").property("znode.container.maxPerMinute=1000000")
}

/// `user:password`.
pub fn auth(secret: &str) -> AuthInfo {
    AuthInfo { scheme: "digest".to_owned(), secret: secret.as_bytes().to_vec() }
}

/// To these servers as the superuser.
pub fn options(hosts: &[String]) -> ConnectOptions {
    ConnectOptions { hosts: hosts.to_vec(), auth: vec![auth("super:admin")], ..ConnectOptions::default() }
}

fn anonymous(server: &Server) -> ConnectOptions {
    ConnectOptions { auth: Vec::new(), ..options(&[server.address()]) }
}

fn as_seen(data: Option<&[u8]>, stat: &NodeStat, acl: &AclList) -> ClientNode {
    ClientNode {
        times: [stat.czxid.0, stat.mzxid.0, stat.pzxid.0, stat.ctime, stat.mtime],
        version: stat.version,
        cversion: stat.cversion,
        aversion: stat.aversion,
        ephemeral_owner: stat.ephemeral_owner,
        children: stat.children,
        data: data.map(|data| (u32::try_from(data.len()).unwrap(), crc32fast::hash(data))),
        acl: acl.decode().unwrap(),
    }
}

on_every_version!(what_it_reads_is_what_the_official_client_sees);

fn what_it_reads_is_what_the_official_client_sees(version: &str) {
    let _turn = turn::of_a_server();
    let server = Server::start(version, extended()).unwrap();
    let mut java = JavaClient::connect(version, &server.address()).unwrap();
    java.workload(300).unwrap();
    let seen = java.dump().unwrap();
    run(async {
        let client = Client::connect(options(&[server.address()])).await.unwrap();
        for (path, node) in &seen {
            let data = client.get_data(path).await.unwrap().value;
            let acl = client.get_acl(path).await.unwrap().value;
            assert_eq!(acl.1, data.1);
            assert_eq!(as_seen(data.0.as_deref(), &data.1, &acl.0), *node);
            assert_eq!(client.exists(path).await.unwrap().unwrap().value, data.1);
            let (children, stat) = client.get_children(path).await.unwrap().value;
            assert_eq!((stat, children.len()), (data.1, usize::try_from(node.children).unwrap()));
        }
        if at_least(version, 6) {
            let ops: Vec<Op<'_>> =
                seen.keys().flat_map(|path| [Op::GetData { path }, Op::GetChildren { path }]).collect();
            let read = client.multi_read(&ops, 1 << 20).await.unwrap();
            for ((_, node), results) in seen.iter().zip(read.value.chunks(2)) {
                let [OpResult::Data(data, stat), OpResult::Children(children)] = results else { panic!("{results:?}") };
                assert_eq!(as_seen(data.as_deref(), stat, &AclList::encode(&node.acl)), *node);
                assert_eq!(children.len(), usize::try_from(node.children).unwrap());
            }
            assert_eq!(read.zxid, server.zxid().unwrap().0);
        }
        assert!(client.exists(b"/not-there").await.unwrap().is_none());
        client.close().await;
    });
}

#[rstest]
#[case("3.4.14")]
#[case("3.5.10")]
#[case("3.6.4")]
#[case("3.9.4")]
fn every_write_is_the_right_one(#[case] version: &str) {
    let _turn = turn::of_a_server();
    let server = Server::start(version, extended()).unwrap();
    let modern = at_least(version, 5);
    run(async {
        let chrooted = ConnectOptions { chroot: b"/app".to_vec(), ..options(&[server.address()]) };
        let root = Client::connect(options(&[server.address()])).await.unwrap();
        let world = AclList::world();
        root.create_plain(b"/app", None, &world, CreateMode::Persistent).await.unwrap();
        let client = Client::connect(chrooted).await.unwrap();

        // Null and empty stay apart, through every way to write them.
        for (path, data) in [(&b"/null"[..], None), (b"/empty", Some(&b""[..])), (b"/some", Some(b"x"))] {
            assert_eq!(client.create_plain(path, data, &world, CreateMode::Persistent).await.unwrap(), path);
            assert_eq!(client.get_data(path).await.unwrap().value.0.as_deref(), data);
            client.set_data(path, None, 0).await.unwrap();
            assert_eq!(client.get_data(path).await.unwrap().value.0, None);
            client.set_data(path, data, 1).await.unwrap();
            assert_eq!(root.get_data(&[b"/app", path].concat()).await.unwrap().value.0.as_deref(), data);
        }
        assert!(client.set_data(b"/some", None, 7).await.unwrap_err().is(Code::BAD_VERSION));
        let counted = client.create_plain(b"/n-", None, &world, CreateMode::PersistentSequential).await.unwrap();
        assert_eq!(counted, b"/n-0000000003");
        let own = CreateMode::Ephemeral;
        client.create_plain(b"/own", None, &world, own).await.unwrap();
        let stat = client.exists(b"/own").await.unwrap().unwrap().value;
        assert_eq!(stat.ephemeral_owner, client.session_id());

        let acl = AclList::encode(&[Acl { perms: 1, scheme: b"world".to_vec(), id: b"anyone".to_vec() }]);
        assert_eq!(client.set_acl(b"/some", &acl, 0).await.unwrap().aversion, 1);
        assert_eq!(client.get_acl(b"/some").await.unwrap().value.0, acl);

        // All or nothing, and it is told which part was at fault.
        let ops = [
            Op::Create { path: b"/m", data: Some(b"1"), acl: &world, mode: CreateMode::Persistent },
            Op::SetData { path: b"/m", data: None, version: 0 },
            Op::Check { path: b"/m", version: 1 },
            Op::Delete { path: b"/null", version: 2 },
        ];
        let results = client.multi_plain(&ops).await.unwrap();
        assert!(matches!(&results[0], OpResult::Created(path, None) if path == b"/m"), "{results:?}");
        assert!(matches!(&results[1], OpResult::Set(stat) if stat.version == 1), "{results:?}");
        assert_eq!(results[2..], [OpResult::Done, OpResult::Done]);
        let failed = client.multi_plain(&ops[1..]).await.unwrap();
        let codes = [Code::BAD_VERSION, Code::RUNTIME_INCONSISTENCY, Code::RUNTIME_INCONSISTENCY];
        assert_eq!(failed, codes.map(OpResult::Failed));
        client.check(b"/m", 1).await.unwrap();
        assert!(client.check(b"/m", 4).await.unwrap_err().is(Code::BAD_VERSION));
        assert!(client.delete(b"/none", -1).await.unwrap_err().is(Code::NO_NODE));
        client.delete(b"/empty", 2).await.unwrap();

        if modern {
            let (_, stat) = client.create(b"/with-stat", Some(b"ab"), &world, CreateMode::Persistent).await.unwrap();
            assert_eq!(stat.data_length, 2);
            client.create(b"/kept", None, &world, CreateMode::Ttl(86_400_000)).await.unwrap();
            let (path, _) = client.create(b"/kept-", None, &world, CreateMode::TtlSequential(1000)).await.unwrap();
            assert!(path.starts_with(b"/kept-00000000"), "{path:?}");
            let modes = [CreateMode::Container, CreateMode::Ttl(5_000_000)];
            let ops = [b"/c1", b"/c2"].into_iter().zip(modes);
            let ops: Vec<_> = ops.map(|(path, mode)| Op::Create { path, data: None, acl: &world, mode }).collect();
            let results = client.multi(&ops).await.unwrap();
            assert!(results.iter().all(|result| matches!(result, OpResult::Created(_, Some(_)))), "{results:?}");
            client.create(b"/goes", None, &world, CreateMode::Container).await.unwrap();
            client.create(b"/goes/x", None, &world, CreateMode::Persistent).await.unwrap();
            client.delete(b"/goes/x", -1).await.unwrap();
            while client.exists(b"/goes").await.unwrap().is_some() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        client.close().await;
        assert!(root.exists(b"/app/own").await.unwrap().is_none(), "closing ends the session at once");
    });
}

#[test]
fn a_lost_connection_is_made_again_with_session_credentials_and_watches() {
    let _turn = turn::of_a_server();
    let server = Server::start("3.9.4", Setup::default()).unwrap();
    run(async {
        let client = Client::connect(options(&[server.address()])).await.unwrap();
        let other = Client::connect(options(&[server.address()])).await.unwrap();
        let world = AclList::world();
        let mine = AclList::encode(&[Acl { perms: 31, scheme: b"auth".to_vec(), id: Vec::new() }]);
        client.create(b"/mine", Some(b"secret"), &mine, CreateMode::Persistent).await.unwrap();
        client.create(b"/own", None, &world, CreateMode::Ephemeral).await.unwrap();
        client.add_watch(b"", true).await.unwrap();
        let session = client.session_id();
        for round in 0..3 {
            client.disconnect();
            assert_eq!(client.get_data(b"/mine").await.unwrap().value.0.as_deref(), Some(&b"secret"[..]));
            assert_eq!(client.session_id(), session);
            assert!(client.events().take().contains(&Event::Missed));
            let path = format!("/own/../x{round}").replace("own/../", "");
            other.create(path.as_bytes(), None, &world, CreateMode::Persistent).await.unwrap();
            let events = client.events().next().await;
            assert!(
                events.iter().any(|event| matches!(event, Event::Watch(watch)
                    if watch.kind == EventKind::Created && watch.path == path.as_bytes())),
                "{events:?}"
            );
        }
        assert!(other.exists(b"/own").await.unwrap().is_some());
        let who = client.who_am_i().await.unwrap();
        assert!(who.iter().any(|(scheme, _)| scheme == b"super"), "{who:?}");
    });
}

#[test]
fn an_expired_session_is_told_and_replaced() {
    let _turn = turn::of_a_server();
    let mut server = Server::start("3.9.4", Setup::default()).unwrap();
    run(async {
        let short = ConnectOptions { session_time_out: Duration::from_secs(2), ..options(&[server.address()]) };
        let client = Client::connect(short).await.unwrap();
        let before = client.session_id();
        client.create(b"/own", None, &AclList::world(), CreateMode::Ephemeral).await.unwrap();
        client.disconnect();
        let other = Client::connect(options(&[server.address()])).await.unwrap();
        while other.exists(b"/own").await.unwrap().is_some() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let refused = client.set_data(b"/own", None, -1).await.unwrap_err();
        assert!(matches!(refused, LiveError::SessionExpired { .. }), "{refused}");
        assert!(client.exists(b"/own").await.unwrap().is_none());
        assert_ne!(client.session_id(), before);
    });
    server.stop().unwrap();
}

/// Its lock went when the target was read back just then.
#[test]
fn a_session_that_is_kept_is_resumed_while_nothing_is_asked() {
    let _turn = turn::of_a_server();
    let server = Server::start("3.9.4", Setup::default()).unwrap();
    run(async {
        let short = ConnectOptions { session_time_out: Duration::from_secs(2), ..options(&[server.address()]) };
        let client = Client::connect(short).await.unwrap();
        client.create(b"/own", None, &AclList::world(), CreateMode::Ephemeral).await.unwrap();
        let kept = client.keep_session();
        let (session, connections) = (client.session_id(), client.connections());
        client.disconnect();
        let other = Client::connect(options(&[server.address()])).await.unwrap();
        // Three times as long as the session lives without a connection.
        tokio::time::sleep(Duration::from_secs(6)).await;
        assert!(other.exists(b"/own").await.unwrap().is_some());
        assert_eq!((client.session_id(), client.connections()), (session, connections + 1));
        // Not for longer than is asked for.
        drop(kept);
        client.disconnect();
        while other.exists(b"/own").await.unwrap().is_some() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert!(matches!(client.get_data(b"/own").await, Err(LiveError::SessionGone { .. })));
    });
}

#[test]
fn another_server_takes_over_when_one_dies() {
    let _turn = turn::of_an_ensemble();
    let mut ensemble = Ensemble::start("3.9.4", 3, &Setup::default()).unwrap();
    let hosts: Vec<String> = ensemble.members().iter().map(Server::address).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    // Longer than an election takes on a machine that is busy.
    let patient = ConnectOptions { connect_time_out: Duration::from_mins(1), ..options(&hosts) };
    let client = runtime.block_on(Client::connect(patient)).unwrap();
    runtime.block_on(client.create(b"/a", None, &AclList::world(), CreateMode::Persistent)).unwrap();
    let session = client.session_id();
    let first = client.host();
    let at = hosts.iter().position(|host| *host == first).unwrap();
    ensemble.member(at).kill9().unwrap();
    assert!(runtime.block_on(client.exists(b"/a")).unwrap().is_some());
    assert_ne!(client.host(), first);
    assert_eq!(client.session_id(), session);

    // One of three left: no quorum, and no answer that could be old.
    let second = hosts.iter().position(|host| *host == client.host()).unwrap();
    let third = (0..3).find(|index| *index != at && *index != second).unwrap();
    ensemble.member(third).kill9().unwrap();
    let impatient = ConnectOptions { connect_time_out: Duration::from_secs(3), ..options(&hosts) };
    // Until the last server has noticed: before that it takes sessions, or leaves whoever asks for one without an answer.
    let mut said = String::new();
    let noticed = wait_until(Duration::from_mins(2), || match runtime.block_on(Client::connect(impatient.clone())) {
        Ok(client) => {
            runtime.block_on(client.close());
            false
        }
        Err(refused) => {
            assert!(matches!(refused, LiveError::Unreachable { .. }), "{refused}");
            said = refused.to_string();
            said.contains("no quorum")
        }
    });
    assert!(noticed.is_ok(), "{said}");
}

#[test]
fn what_cannot_work_is_said_with_its_cause() {
    let _turn = turn::of_a_server();
    let server = Server::start("3.9.4", Setup::default()).unwrap();
    run(async {
        let nobody = format!("127.0.0.1:{}", free_port().unwrap());
        let impatient = |host: &str| ConnectOptions {
            hosts: vec![host.to_owned()],
            connect_time_out: Duration::from_secs(1),
            ..ConnectOptions::default()
        };
        let refused = Client::connect(impatient(&nobody)).await.unwrap_err().to_string();
        assert!(refused.contains(&nobody) && refused.contains("refused"), "{refused}");
        let refused = Client::connect(impatient("no-such-host.invalid:2181")).await.unwrap_err().to_string();
        assert!(refused.contains("does not resolve"), "{refused}");

        let client = Client::connect(options(&[server.address()])).await.unwrap();
        let closed = AclList::encode(&[Acl { perms: 31, scheme: b"digest".to_vec(), id: b"u:hash".to_vec() }]);
        client.create(b"/closed", Some(b"x"), &closed, CreateMode::Persistent).await.unwrap();
        let stranger = Client::connect(anonymous(&server)).await.unwrap();
        let refused = stranger.get_data(b"/closed").await.unwrap_err();
        assert!(refused.is(Code::NO_AUTH));
        let text = refused.to_string();
        assert!(text.contains("getData /closed") && text.contains(&server.address()), "{text}");
        let large = vec![0; 2 << 20];
        let refused = client.set_data(b"/closed", Some(&large), -1).await.unwrap_err();
        assert!(matches!(refused, LiveError::TooLarge { .. }), "{refused}");
        let bad = AuthInfo { scheme: "no-such-scheme".to_owned(), secret: b"x".to_vec() };
        let refused = Client::connect(ConnectOptions { auth: vec![bad], ..anonymous(&server) }).await.unwrap_err();
        assert!(matches!(refused, LiveError::AuthFailed { .. }), "{refused}");
    });
}
