//! Each version under every kind of transaction: its files hold what its client saw, and it starts from files
//! that we write.

use std::fs::{self, File};

use rstest::rstest;
use testing::server::{Client, Server, Setup, long};
use zk_format::file_snap::ReadLimits;
use zk_format::file_snap::{self, Compression};
use zk_format::file_snap_writer::{SnapWriter, WriteLimits};
use zk_format::tree::FlatTree;

use crate::compare::{assert_same, assert_same_view};
use crate::turn;

/// Children of one node, and changes that overlap while snapshots are taken.
fn sizes() -> (usize, usize) {
    if long() { (30_000, 200_000) } else { (30_000, 10_000) }
}

fn setup() -> Setup {
    Setup::default().property("zookeeper.extendedTypesEnabled=true").property("zookeeper.snapCount=9000")
}

#[rstest]
#[case("3.4.14")]
#[case("3.5.10")]
#[case("3.6.4")]
#[case("3.7.2")]
#[case("3.8.4")]
#[case("3.9.4")]
fn every_version_under_a_full_workload(#[case] version: &str) {
    let _turn = turn::take();
    let (children, churn) = sizes();
    let mut server = Server::start(version, setup()).unwrap();
    let mut client = Client::connect(version, &server.address()).unwrap();
    client.workload(children).unwrap();
    client.run(&format!("churn a {churn} 1")).unwrap();
    let seen = client.dump().unwrap();
    server.stop().unwrap();
    server.start_again().unwrap();
    server.kill9().unwrap();
    let newest = server.snapshots().unwrap().pop().unwrap();
    let tree = FlatTree::read_file(&newest, &ReadLimits::default()).unwrap();
    assert_same("the newest snapshot file", tree.iter(), &seen);

    let mut other = Server::prepare(version, setup()).unwrap();
    let folder = other.data_dir().join("version-2");
    fs::create_dir_all(&folder).unwrap();
    let file = File::create(folder.join(file_snap::name(tree.zxid(), Compression::None))).unwrap();
    let mut writer = SnapWriter::new(file, tree.sessions(), tree.acls(), WriteLimits::default()).unwrap();
    for node in tree.iter() {
        writer.node(&node).unwrap();
    }
    writer.finish().unwrap();
    other.start_again().unwrap();
    client.run(&format!("connect a {}", other.address())).unwrap();
    assert_same_view("after a start from our file", &seen, &client.dump().unwrap());
}
