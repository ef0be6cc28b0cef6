use super::*;
use crate::cache::CacheOptions;
use crate::check::{CheckOptions, Finding, Severity, check};
use crate::prune::PruneOptions;
use crate::repository::tests::{back_up, new_repository, reopen};
use crate::simulated::Simulation;

fn choice(snapshot: u8) -> Choice {
    Choice {
        written_ms: 1,
        cluster: "prod".to_owned(),
        number: 3,
        asked: "latest".to_owned(),
        snapshot: SnapshotId([snapshot; 32]),
        file_zxid: 0x3e8_0000_0000,
        ephemerals: false,
        configuration: true,
        by: "zk-0".to_owned(),
    }
}

fn member(name: &str) -> RestoredMember {
    RestoredMember {
        written_ms: 1,
        cluster: "prod".to_owned(),
        number: 3,
        member: name.to_owned(),
        snapshot: SnapshotId([5; 32]),
        file_zxid: 0x3e8_0000_0000,
    }
}

async fn findings(simulation: &Simulation) -> Vec<Finding> {
    let repository = reopen(&simulation.store(), &CacheOptions::none()).await;
    let work = move || {
        let mut found = Vec::new();
        check(&repository, &CheckOptions::default(), &mut |finding| found.push(finding)).unwrap();
        found
    };
    tokio::task::spawn_blocking(work).await.unwrap()
}

/// A repository on a store that creates exclusively or not.
async fn repository(simulation: &Simulation, exclusive: bool) -> Repository {
    simulation.set_creates_exclusively(exclusive);
    new_repository(&simulation.store(), &CacheOptions::none()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_choice_holds_and_every_number_and_cluster_has_its_own() {
    for exclusive in [true, false] {
        let simulation = Simulation::new();
        let repository = repository(&simulation, exclusive).await;
        assert_eq!(repository.choice("prod", 3).await.unwrap(), None);
        assert_eq!(repository.choose(&choice(5)).await.unwrap(), choice(5));
        assert_eq!(repository.choose(&choice(6)).await.unwrap(), choice(5), "the first holds");
        assert_eq!(repository.choice("prod", 3).await.unwrap(), Some(choice(5)));
        let next = Choice { number: 4, ..choice(6) };
        assert_eq!(repository.choose(&next).await.unwrap(), next);
        assert_eq!(repository.choice("other", 3).await.unwrap(), None);
        assert!(simulation.paths().iter().all(|path| !path.starts_with("lease/")), "no claim stays");
    }
}

/// However their steps fall among each other, all restore the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_that_choose_at_once_all_get_the_same() {
    for exclusive in [true, false] {
        let simulation = Simulation::new();
        let repository = repository(&simulation, exclusive).await;
        let chosen = futures::future::join_all((0..5).map(|n| {
            let repository = repository.clone();
            tokio::spawn(async move { repository.choose(&choice(n)).await.unwrap() })
        }));
        let chosen: Vec<Choice> = chosen.await.into_iter().map(Result::unwrap).collect();
        assert!(chosen.iter().all(|one| *one == chosen[0]), "exclusive: {exclusive}, {chosen:?}");
        assert_eq!(repository.choice("prod", 3).await.unwrap().as_ref(), Some(&chosen[0]));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_is_recorded_once() {
    for exclusive in [true, false] {
        let simulation = Simulation::new();
        let repository = repository(&simulation, exclusive).await;
        assert_eq!(repository.restored_member("prod", 3, "zk-0").await.unwrap(), None);
        repository.record_restored(&member("zk-0")).await.unwrap();
        repository.record_restored(&RestoredMember { written_ms: 9, ..member("zk-0") }).await.unwrap();
        assert_eq!(repository.restored_member("prod", 3, "zk-0").await.unwrap(), Some(member("zk-0")));
        for (cluster, number, name) in [("prod", 3, "zk-1"), ("prod", 4, "zk-0"), ("other", 3, "zk-0")] {
            assert_eq!(repository.restored_member(cluster, number, name).await.unwrap(), None);
        }
    }
}

/// Names are anything, a slash or the word `choice` too, and none of them is in clear.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_are_anything_and_not_in_clear() {
    let simulation = Simulation::new();
    let repository = repository(&simulation, true).await;
    repository.choose(&choice(5)).await.unwrap();
    for name in ["choice", "../../config", "ns/zk-0", "", "zk\n0"] {
        repository.record_restored(&member(name)).await.unwrap();
        assert_eq!(repository.restored_member("prod", 3, name).await.unwrap(), Some(member(name)));
    }
    assert_eq!(repository.choice("prod", 3).await.unwrap(), Some(choice(5)));
    let paths: Vec<String> = simulation.paths().into_iter().filter(|path| path.starts_with(FOLDER)).collect();
    assert!(paths.iter().all(|path| is_restored_path(path) && !path.contains("prod")), "{paths:?}");
    assert_eq!(paths.len(), 6);
    for wrong in ["restored/x", "restored/", "restored/00/1/choice", "notes/x"] {
        assert!(!is_restored_path(wrong), "{wrong}");
    }
}

/// Prune, forget and repair have nothing to do with it, and check reads it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn maintenance_leaves_it_alone_and_check_finds_its_damage() {
    let simulation = Simulation::new();
    let repository = repository(&simulation, true).await;
    let doomed = back_up(&repository, "one").await.manifest;
    back_up(&repository, "two").await;
    repository.choose(&Choice { snapshot: doomed.id, ..choice(5) }).await.unwrap();
    repository.record_restored(&member("zk-0")).await.unwrap();
    let before: Vec<String> = simulation.paths().into_iter().filter(|path| path.starts_with(FOLDER)).collect();
    assert_eq!(before.len(), 2);
    repository.forget(&[&doomed], false).await.unwrap();
    for _ in 0..4 {
        let copy = repository.clone();
        let pruned = tokio::task::spawn_blocking(move || copy.prune(&PruneOptions::default(), &mut |_| Ok(())));
        pruned.await.unwrap().unwrap();
        simulation.advance(Duration::from_hours(48));
    }
    let after: Vec<String> = simulation.paths().into_iter().filter(|path| path.starts_with(FOLDER)).collect();
    assert_eq!(before, after);
    let found = findings(&simulation).await;
    assert!(found.iter().all(|finding| !finding.object.starts_with(FOLDER)), "{found:?}");
    for path in &before {
        simulation.spoil(path);
        let found = findings(&simulation).await;
        let about = found.iter().find(|finding| finding.object == *path).unwrap();
        assert_eq!(about.severity, Severity::Damage);
        assert!(about.remedy.contains("a higher number") && about.meaning.contains("restore --once"), "{about:?}");
    }
    assert!(repository.choice("prod", 3).await.unwrap_err().is_damage());
    assert!(repository.restored_member("prod", 3, "zk-0").await.unwrap_err().is_damage());
    assert!(repository.record_restored(&member("zk-0")).await.unwrap_err().is_damage());
}

/// An object that was put under another name says nothing there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_belongs_to_its_path() {
    let simulation = Simulation::new();
    let repository = repository(&simulation, true).await;
    repository.record_restored(&member("zk-0")).await.unwrap();
    let path = |name| member_path(repository.identity(), "prod", 3, name);
    let bytes = repository.store().get(&path("zk-0"), MAX_RESTORED).await.unwrap();
    repository.store().put(&path("zk-1"), bytes).await.unwrap();
    assert!(repository.restored_member("prod", 3, "zk-1").await.unwrap_err().is_damage());
    // Sealed for the place, and about somebody else.
    let other = encode_restored(repository.crypto(), &path("zk-2"), &Restored::Member(member("zk-0"))).unwrap();
    repository.store().put(&path("zk-2"), other.into()).await.unwrap();
    let error = repository.restored_member("prod", 3, "zk-2").await.unwrap_err();
    assert!(error.to_string().contains("another cluster, number or member"), "{error}");
}

#[test]
fn golden_restored() {
    let said = [&[4][..], b"prod", &[3]].concat();
    let chosen = Restored::Choice(choice(5));
    let snapshot_and_zxid = [&[5; 32][..], &[253], &(2_u64 * 0x3e8_0000_0000).to_le_bytes()].concat();
    let golden = [&[0, 2][..], &said, &[6], b"latest", &snapshot_and_zxid, &[0, 1], &[4], b"zk-0", &[0]].concat();
    assert_eq!(encode_body(WHAT, &chosen).unwrap(), golden);
    crate::golden::assert_documented("choice", &golden);
    let golden = [&[1, 2][..], &said, &[4], b"zk-0", &snapshot_and_zxid, &[0]].concat();
    assert_eq!(encode_body(WHAT, &Restored::Member(member("zk-0"))).unwrap(), golden);
    crate::golden::assert_documented("restored member", &golden);
}
