//! A directory whose files do not hold all of its nodes' ACLs, as a snapshot file without the log of its time may be:
//! nothing is stored unless somebody says so, and then it is marked for good, with its own exit code.

use std::fs::{self, File};

use testing::server_files::{SnapshotFile, Trailers};
use zk_format::{Stat, Zxid};

use crate::stored::Stored;

/// A snapshot file in which `/secret` has an ACL that the file does not list.
fn with_an_unknown_acl(stored: &Stored) {
    let folder = stored.home.path("partial/version-2");
    fs::create_dir_all(&folder).unwrap();
    let mut file = SnapshotFile::begin(File::create(folder.join("snapshot.5")).unwrap(), &[], &[]).unwrap();
    let open = testing::server_files::OPEN_ACL;
    let stat = Stat { czxid: Zxid(2), mzxid: Zxid(2), pzxid: Zxid(2), ..Stat::default() };
    for (path, acl) in [("", open), ("/plain", open), ("/secret", 77), ("/zookeeper", open), ("/zookeeper/quota", open)]
    {
        file.node(path.as_bytes(), Some(b"x"), acl, &stat).unwrap();
    }
    file.finish(Trailers::default()).unwrap();
}

#[test]
fn what_cannot_be_read_whole_is_stored_only_on_request_and_ends_with_3() {
    let stored = Stored::empty();
    with_an_unknown_acl(&stored);
    let before = stored.objects();
    stored.zooark("backup partial").ends(1).says("/secret").says("--allow-partial");
    assert_eq!(stored.objects(), before);

    let summary = stored.zooark("backup partial --allow-partial --json").ends(3).lines().pop().unwrap();
    assert_eq!(summary["incomplete_paths"], serde_json::json!(["/secret"]));
    let listed = &stored.snapshots()[0];
    assert_eq!(listed["incomplete"], true);

    let id = listed["short_id"].as_str().unwrap();
    let ran = stored.zooark(&format!("restore {id} datadir:restored --json"));
    assert_eq!(ran.code, 3, "{ran:?}");
    stored.zooark(&format!("dump {id}")).prints("/plain");
}
