//! The main job on a directory that evolves as a server's does: back up, back up again, restore, compare.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::Path;

use anyhow::Result;
use engine::backup::{self, BackupRequest};
use engine::report::Method;
use engine::restore::{self, BumpEpoch, DatadirRequest, Server};
use engine::snapshots::{self, Scope};
use engine::{Access, Filter, Repo, Silent, SnapshotRef};
use repository::backend::StoreOptions;
use repository::cache::CacheOptions;
use repository::keys::Credentials;
use repository::repository::InitOptions;
use testing::evolving::{EvolvingDir, Setup};
use testing::generate::{Change, Tree};
use zk_connect::Endpoint;
use zk_format::data_dir::DataDir;
use zk_format::load::{LoadOptions, load};

fn access(repository: &Path, cache: Option<&Path>) -> Access {
    Access {
        location: repository.to_str().unwrap().to_owned(),
        store: StoreOptions::default(),
        credentials: Credentials::None,
        cache: cache.map_or_else(CacheOptions::none, CacheOptions::at),
    }
}

fn request(source: &Path) -> BackupRequest {
    BackupRequest {
        live: engine::live::LiveSettings::default(),
        source: Endpoint::parse(source.to_str().unwrap()).unwrap(),
        cluster: "default".to_owned(),
        host: "host".to_owned(),
        tags: Vec::new(),
        filter: Filter::default(),
        time: None,
        dry_run: false,
        force: false,
        allow_partial: false,
        full: false,
        max_shrink: 0.5,
        to_zxid: None,
        compression: None,
        program: "test".to_owned(),
    }
}

fn restore_to(repo: &Repo, reference: &str, target: &Path) -> Result<restore::RestoreSummary> {
    let monitor = Silent::default();
    let snapshot = snapshots::resolve(repo, &reference.parse::<SnapshotRef>()?, &Scope::default(), &monitor)?;
    let Endpoint::DataDir(target) = Endpoint::parse(target.to_str().unwrap())? else { unreachable!() };
    let request = DatadirRequest {
        snapshot,
        path: Vec::new(),
        target,
        force: false,
        bump_epoch: BumpEpoch::Auto,
        seen_zxid: None,
        keep_ephemerals: true,
        filter: Filter::default(),
        server: Server::default(),
        yes_really: false,
        now: engine::repo::now(),
    };
    Ok(restore::run(repo, &request, false, &monitor)?)
}

/// Every node of both directories, compared field by field.
fn assert_same(a: &Path, b: &Path) {
    let [a, b] = [a, b].map(|dir| load(&DataDir::open(dir, None).unwrap(), &LoadOptions::default()).unwrap());
    assert_eq!(a.tree.len(), b.tree.len());
    for (a, b) in a.tree.iter().zip(b.tree.iter()) {
        assert_eq!((a.path, a.acl, a.stat), (b.path, b.acl, b.stat));
        if !engine::convert::is_quota_stats(a.path) {
            assert_eq!(a.data, b.data, "{:?}", String::from_utf8_lossy(a.path));
        }
    }
}

#[test]
fn every_snapshot_of_an_evolving_directory_restores_exactly() {
    let tmp = tempfile::tempdir().unwrap();
    let source = tmp.path().join("source");
    let mut directory = EvolvingDir::create(&source, Tree::build(5000, 7), Setup::default()).unwrap();
    let access = access(&tmp.path().join("repo"), Some(&tmp.path().join("cache")));
    let repo = Repo::init(&access, &InitOptions::new(Credentials::None)).unwrap();
    let monitor = Silent::default();
    let first = backup::run(&repo, &request(&source), &monitor).unwrap();
    assert!(first.snapshot_id.is_some() && first.rebase && first.method == Method::Full, "{first:?}");
    let again = backup::run(&repo, &request(&source), &monitor).unwrap();
    assert_eq!((again.snapshot_id, again.objects_written), (None, 0));
    let mut states = vec![];
    for round in 0..40 {
        directory.commit(Change::Random(20)).unwrap();
        if round % 7 == 3 {
            directory.roll().unwrap();
        }
        let full = round % 5 == 4;
        let mut request = request(&source);
        request.full = false;
        let summary = backup::run(&repo, &request, &monitor).unwrap();
        assert!(summary.snapshot_id.is_some(), "{summary:?}");
        assert_eq!(summary.method, Method::Log, "round {round}: {:?}", summary.full_reason);
        assert_eq!(summary.objects_written, 2);
        if full {
            let copy = tmp.path().join(format!("state{round}"));
            restore_to(&repo, "latest", &copy).unwrap();
            assert_same(&source, &copy);
            states.push((summary.snapshot_id.unwrap(), copy));
        }
    }
    // Long after, each of them still restores to what it was.
    for (id, copy) in states {
        let later = tmp.path().join("later");
        let summary = restore_to(&repo, &id, &later).unwrap();
        assert_eq!(summary.state_digest_verified, Some(true));
        assert_same(&copy, &later);
        std::fs::remove_dir_all(&later).unwrap();
    }
}
