//! Writes a small data directory by hand, the same at every call, with a node of each kind that a snapshot has to keep
//! apart: null and empty, large and small, container, TTL and ephemeral, names and ACLs beyond ASCII.

use std::fs::{self, File};
use std::path::PathBuf;

use anyhow::Result;
use clap::Parser;
use testing::random::Prng;
use testing::server_files::{OPEN_ACL, Session, SnapshotFile, Trailers};
use zk_format::{Acl, Stat, Zxid};

const ZXID: i64 = 0x2_0000_0040;
const SESSION: i64 = 0x1_0000_0000_0007;
const TTL_OF_A_MINUTE: i64 = (0xff << 56) + 60_000;

/// Writes OUT/version-2 with one snapshot file.
#[derive(Debug, Parser)]
struct Options {
    /// Folder to make it in.
    out: PathBuf,
}

fn main() -> Result<()> {
    let folder = Options::parse().out.join("version-2");
    fs::create_dir_all(&folder)?;
    let acl = |perms, scheme: &str, id: &str| Acl { perms, scheme: scheme.into(), id: id.into() };
    let acls = [
        (1, vec![acl(31, "digest", "j\u{f6}rg:hash="), acl(1, "world", "anyone")]),
        (2, vec![acl(3, "ip", "10.0.0.0/8")]),
    ];
    let out = File::create(folder.join(format!("snapshot.{ZXID:x}")))?;
    let mut file = SnapshotFile::begin(out, &[Session { id: SESSION, timeout_ms: 30_000 }], &acls)?;
    let mut random = Prng::new(1);
    let (large, larger) = (random.bytes(5000), random.bytes(20_000));
    let nodes: [(&str, Option<&[u8]>, i64, i64); 17] = [
        ("", Some(b""), OPEN_ACL, 0),
        ("/app", Some(b"text"), OPEN_ACL, 0),
        ("/app/container", Some(b""), OPEN_ACL, i64::MIN),
        ("/app/container/child", Some(b"kept"), OPEN_ACL, 0),
        ("/app/empty", Some(b""), OPEN_ACL, 0),
        ("/app/ephemeral", Some(b"host:1"), OPEN_ACL, SESSION),
        ("/app/large", Some(&large), OPEN_ACL, 0),
        ("/app/larger", Some(&larger), 2, 0),
        ("/app/null", None, OPEN_ACL, 0),
        ("/app/owned", Some(b"secret"), 1, 0),
        ("/app/same-as-large", Some(&large), OPEN_ACL, 0),
        ("/app/ttl", Some(b"for a minute"), OPEN_ACL, TTL_OF_A_MINUTE),
        ("/\u{fc}n\u{ef}c\u{f6}d\u{e9}", Some("\u{65e5}\u{672c}".as_bytes()), OPEN_ACL, 0),
        ("/zookeeper", Some(b""), OPEN_ACL, 0),
        ("/zookeeper/config", Some(b""), OPEN_ACL, 0),
        ("/zookeeper/quota", Some(b""), OPEN_ACL, 0),
        ("/zookeeper/quota/app", Some(b""), OPEN_ACL, 0),
    ];
    for (number, (path, data, acl, owner)) in (0x2_0000_0001..).zip(nodes) {
        let time = 1_700_000_000_000 + number % 1000;
        let stat = Stat {
            czxid: Zxid(number),
            mzxid: Zxid(number + 0x10),
            pzxid: Zxid(number + 0x20),
            ctime: time,
            mtime: time + 1,
            version: 2,
            cversion: 3,
            aversion: i32::from(acl > 0),
            ephemeral_owner: owner,
        };
        file.node(path.as_bytes(), data, acl, &stat)?;
    }
    file.finish(Trailers { digest: None, last_zxid: Some(Zxid(ZXID)) })?;
    Ok(())
}
