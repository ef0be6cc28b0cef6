//! A second client, written by others, sees the same nodes as ours: what ours misreads it does not misread alike.

use std::time::Duration;

use testing::server::{Client as JavaClient, Server};
use zk_connect::live::scan::AclMemory;
use zookeeper_async::{WatchedEvent, ZooKeeper};

use crate::client::{extended, options, run};
use crate::matrix::on_oldest_and_newest;
use crate::scan::scanned;
use crate::turn;

on_oldest_and_newest!(an_independent_client_sees_what_a_scan_saw);

fn an_independent_client_sees_what_a_scan_saw(version: &str) {
    let _turn = turn::of_a_server();
    let server = Server::start(version, extended()).unwrap();
    let mut java = JavaClient::connect(version, &server.address()).unwrap();
    java.workload(400).unwrap();
    run(async {
        let (found, _) = scanned(&options(&[server.address()]), &AclMemory::default(), None).await;
        assert!(found.is_exact());
        let other = ZooKeeper::connect(&server.address(), Duration::from_secs(30), |_: WatchedEvent| {}).await.unwrap();
        other.add_auth("digest", b"super:admin".to_vec()).await.unwrap();
        let (mut compared, mut all) = (0, 0);
        for node in found.tree.iter() {
            all += 1;
            // It takes every string for UTF-8.
            let ids = node.acl.unwrap().decode().unwrap();
            let Ok(path) = std::str::from_utf8(node.path) else { continue };
            if ids.iter().any(|entry| std::str::from_utf8(&entry.id).is_err()) {
                continue;
            }
            let path = if path.is_empty() { "/" } else { path };
            let (data, stat) = other.get_data(path, false).await.unwrap();
            // It makes no difference between null and empty.
            assert_eq!(data, node.data.unwrap_or_default(), "{path}");
            let times = [stat.czxid, stat.mzxid, stat.pzxid, stat.ctime, stat.mtime];
            let own = node.stat;
            assert_eq!(times, [own.czxid.0, own.mzxid.0, own.pzxid.0, own.ctime, own.mtime], "{path}");
            let persisted = i32::midpoint(stat.cversion, stat.num_children);
            assert_eq!((stat.version, persisted, stat.aversion), (own.version, own.cversion, own.aversion), "{path}");
            assert_eq!(stat.ephemeral_owner, own.ephemeral_owner, "{path}");
            let (acl, _) = other.get_acl(path).await.unwrap();
            let acl: Vec<_> = acl.iter().map(|entry| (entry.scheme.as_bytes(), entry.id.as_bytes())).collect();
            let ours: Vec<_> = ids.iter().map(|entry| (&entry.scheme[..], &entry.id[..])).collect();
            assert_eq!(acl, ours, "{path}");
            compared += 1;
        }
        assert!(compared * 10 > all * 9, "{compared} of {all}");
        other.close().await.unwrap();
    });
}
