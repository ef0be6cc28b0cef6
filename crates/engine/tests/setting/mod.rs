//! Requests as a person would make them, and directories compared node by node.

#![allow(dead_code, reason = "each test needs some of it")]

use std::path::Path;

use anyhow::Result;
use engine::backup::BackupRequest;
use engine::restore::{self, BumpEpoch, DatadirRequest, Server};
use engine::snapshots::{self, Scope};
use engine::{Access, Filter, Repo, Silent, SnapshotRef};
use repository::backend::StoreOptions;
use repository::cache::CacheOptions;
use repository::keys::Credentials;
use zk_connect::Endpoint;
use zk_format::Zxid;
use zk_format::data_dir::DataDir;
use zk_format::load::{LoadOptions, load};

pub fn access(repository: &Path, cache: Option<&Path>, credentials: Credentials) -> Access {
    Access {
        location: repository.to_str().unwrap().to_owned(),
        store: StoreOptions::default(),
        credentials,
        cache: cache.map_or_else(CacheOptions::none, CacheOptions::at),
    }
}

pub fn request(source: &Path) -> BackupRequest {
    let source = Endpoint::parse(source.to_str().unwrap()).unwrap();
    BackupRequest::new(source, "host".to_owned(), "test".to_owned())
}

pub fn restore_to(repo: &Repo, reference: &str, target: &Path) -> Result<restore::RestoreSummary> {
    let monitor = Silent::default();
    let snapshot = snapshots::resolve(repo, &reference.parse::<SnapshotRef>()?, &Scope::default(), &monitor)?;
    let Endpoint::DataDir(target) = Endpoint::parse(target.to_str().unwrap())? else { unreachable!() };
    let request = DatadirRequest {
        snapshot,
        path: Vec::new(),
        target,
        force: false,
        bump_epoch: BumpEpoch::Auto,
        file_zxid: None,
        seen_zxid: None,
        keep_ephemerals: true,
        filter: Filter::default(),
        server: Server::default(),
        yes_really: false,
        now: engine::repo::now(),
    };
    Ok(restore::run(repo, &request, false, &monitor)?)
}

/// Every node of both directories, compared field by field; the first one as it was right after `to_zxid`, if given.
pub fn assert_same(a: &Path, to_zxid: Option<Zxid>, b: &Path) {
    let read = |dir: &Path, to_zxid| {
        let options = LoadOptions { to_zxid, ..LoadOptions::default() };
        load(&DataDir::open(dir, None).unwrap(), &options).unwrap()
    };
    let (a, b) = (read(a, to_zxid), read(b, None));
    assert_eq!(a.tree.len(), b.tree.len());
    for (a, b) in a.tree.iter().zip(b.tree.iter()) {
        assert_eq!((a.path, a.acl, a.stat), (b.path, b.acl, b.stat));
        if !engine::convert::is_quota_stats(a.path) {
            assert_eq!(a.data, b.data, "{:?}", String::from_utf8_lossy(a.path));
        }
    }
}
