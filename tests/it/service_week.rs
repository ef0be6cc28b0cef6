//! A week of a daemon's backups, one a minute, as fast as they go: each finds a few changes, and what the process holds does not grow.
//! So that prune deletes after the grace period, as it would, what is in the repository is made as old as it would be.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use testing::evolving::{EvolvingDir, Setup};
use testing::generate::{Change, Tree};
use testing::server::long;

use crate::daemon::Daemon;
use crate::served::configure;
use crate::stored::Stored;

const NODES: usize = 2000;
/// A week has that many minutes.
const WEEK: u64 = 7 * 24 * 60;
const SHORT: u64 = 500;
/// From here on the list of jobs is full, 500 with two for each backup.
const SHORT_SETTLED: u64 = 300;
/// From here on as much is deleted as is written: what is of no use is listed within a day, and deleted a day after that.
const SETTLED: u64 = 3 * 24 * 60;
const HOUR: u64 = 60;
/// What allocators keep may vary by that much, KiB.
const SLACK_KIB: u64 = 16 << 10;

/// As if everything had been written that much earlier.
fn age(objects: &[PathBuf], by: Duration) {
    for path in objects {
        // The daemon may be deleting it.
        let Ok(file) = fs::File::options().append(true).open(path) else { continue };
        let written = file.metadata().unwrap().modified().unwrap();
        file.set_modified(written - by).unwrap();
    }
}

#[test]
fn memory_stays_over_a_week_of_backups() {
    let (rounds, settles) = if long() { (WEEK, SETTLED) } else { (SHORT, SHORT_SETTLED) };
    let stored = Stored::empty();
    let tree = Tree::build(NODES, 11);
    let mut source = EvolvingDir::create(&stored.home.path("evolving"), tree, Setup::default()).unwrap();
    configure(&stored, "schedule = \"@every 1000h\"\nmax_copies = 60\nprune = { schedule = \"*/30 * * * * *\" }", "");
    let text = fs::read_to_string(stored.home.path("daemon.toml")).unwrap();
    let daemon_toml =
        text.replace("datadir:zookeeper", "datadir:evolving").replace("= \"key\"", "= \"key\"\ncache_dir = \"\"");
    fs::write(stored.home.path("daemon.toml"), daemon_toml).unwrap();
    let daemon = Daemon::start(&stored.home);
    let (mut settled, mut most) = (0, 0);
    for round in 1..=rounds {
        source.commit(Change::Sets(3)).unwrap();
        if round % 1000 == 0 {
            source.roll().unwrap();
        }
        let answer = daemon.back_up("/api/v1/clusters/prod/backups", "");
        let job = daemon.job(&answer);
        assert_eq!(job["state"], "succeeded", "{job:#}");
        if round % HOUR == 0 {
            age(&stored.objects(), Duration::from_secs(HOUR * 60));
        }
        let resident = daemon.resident_kib();
        if round <= settles {
            settled = settled.max(resident);
        }
        most = most.max(resident);
        if round % 720 == 0 || round == settles || round == rounds {
            println!("after {round} backups: {resident} KiB, {} objects", stored.objects().len());
        }
    }
    assert!(most <= settled + SLACK_KIB, "{settled} KiB after {settles} backups, {most} KiB later");
    daemon.stop();
    let kept = stored.snapshots().len();
    assert!((60..=62).contains(&kept), "{kept} snapshots");
    stored.zooark("check --read-data").ends(0);
}
