use futures::future::BoxFuture;
use futures::stream::BoxStream;

use super::*;
use crate::backend::{Driver, ObjectInfo, Part, Piece, StoreError, StoreOptions};
use crate::cache::CacheOptions;
use crate::keys::KeyFile;
use crate::repository::tests::{LINEAGE, QUICK, commit, new_repository, password, reopen};

async fn back_up(repository: &Repository, text: &str) {
    let mut session = repository.begin_backup(LINEAGE).await.unwrap();
    commit(&mut session, repository, text).await.unwrap();
}

async fn open(store: &Store, credentials: &Credentials, cache: &CacheOptions) -> Result<Repository, RepositoryError> {
    Repository::open(store, credentials, cache).await
}

async fn count(repository: &Repository) -> usize {
    let found = repository.snapshots().await.unwrap();
    assert!(found.damaged.is_empty(), "{:?}", found.damaged);
    found.snapshots.len()
}

fn key_file() -> Credentials {
    Credentials::KeyFile(KeyFile::generate().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_rotation_everything_old_and_new_is_read_and_nothing_but_slots_was_written() {
    let (store, none) = (Store::memory(), CacheOptions::none());
    let repository = new_repository(&store, &none).await;
    let file = key_file();
    repository.add_key(&file, QUICK, "host").await.unwrap();
    back_up(&repository, "before").await;
    let data = |listed: Vec<crate::backend::ObjectInfo>| -> Vec<String> {
        listed.into_iter().map(|o| o.path).filter(|path| !path.starts_with("keys/")).collect()
    };
    let before = data(store.list_sorted("").await.unwrap());
    let both = [password(), file.clone()];
    let planned = repository.rotate_key(&both, false, true).await.unwrap();
    let done = repository.rotate_key(&both, false, false).await.unwrap();
    assert_eq!((planned.number, done.number, done.rewritten.len(), done.removed.len()), (2, 2, 2, 0));
    assert_eq!(data(store.list_sorted("").await.unwrap()), before);
    assert_eq!(repository.key_slots().await.unwrap().0.len(), 2, "the old password slot is gone");
    // A process that began before goes on with the old key.
    back_up(&repository, "with the old key").await;
    for credentials in [password(), file] {
        let opened = open(&store, &credentials, &none).await.unwrap();
        assert_eq!(count(&opened).await, store.list_sorted("snapshots/").await.unwrap().len());
        back_up(&opened, "with the new key").await;
    }
    let old = repository.snapshots().await.unwrap();
    assert_eq!((old.snapshots.len(), old.damaged.len()), (2, 2), "the old keyring does not open what is new");
}

/// A store in which deletions wait for each other.
#[derive(Debug)]
struct Together(crate::simulated::Simulation, tokio::sync::Barrier);

impl Driver for Together {
    fn get<'a>(&'a self, path: &'a str, part: Part) -> BoxFuture<'a, Result<Piece, StoreError>> {
        self.0.get(path, part)
    }

    fn put<'a>(&'a self, path: &'a str, bytes: bytes::Bytes, create: bool) -> BoxFuture<'a, Result<(), StoreError>> {
        self.0.put(path, bytes, create)
    }

    fn list<'a>(&'a self, prefix: &'a str) -> BoxStream<'a, Result<ObjectInfo, StoreError>> {
        self.0.list(prefix)
    }

    fn delete<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            self.1.wait().await;
            self.0.delete(path).await
        })
    }

    fn head<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<ObjectInfo, StoreError>> {
        self.0.head(path)
    }
}

/// Two hosts remove a slot each at the same time, and each has seen the other's: one of them at least stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_that_remove_the_last_two_slots_leave_one() {
    let (simulation, none) = (crate::simulated::Simulation::new(), CacheOptions::none());
    let repository = new_repository(&simulation.store(), &none).await;
    let (one, file) = (repository.slot().unwrap().to_owned(), key_file());
    let two = repository.add_key(&file, QUICK, "host").await.unwrap();
    let driver = Together(simulation.clone(), tokio::sync::Barrier::new(2));
    let store = Store::with_driver(Box::new(driver), "simulated store", &StoreOptions::default());
    let here = open(&store, &password(), &none).await.unwrap();
    let there = open(&store, &file, &none).await.unwrap();
    let (a, b) = tokio::join!(here.remove_key(&two), there.remove_key(&one));
    assert!(a.is_err() || b.is_err(), "both say that it is gone");
    assert!(!repository.key_slots().await.unwrap().0.is_empty());
}

/// Two hosts with the same key file rotate at the same time: what either writes afterwards is read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_rotations_at_once_lose_no_key() {
    let (simulation, none, file) = (crate::simulated::Simulation::new(), CacheOptions::none(), [key_file()]);
    let store = simulation.store();
    let repository = new_repository(&store, &none).await;
    repository.add_key(&file[0], QUICK, "host").await.unwrap();
    repository.remove_key(repository.slot().unwrap()).await.unwrap();
    for round in 0..20 {
        let here = open(&store, &file[0], &none).await.unwrap();
        let there = open(&store, &file[0], &none).await.unwrap();
        let (a, b) = tokio::join!(here.rotate_key(&file, false, false), there.rotate_key(&file, false, false));
        for refused in [a, b].into_iter().filter_map(Result::err) {
            assert!(refused.to_string().contains("only one `key rotate` at a time"), "{refused}");
        }
        let opened = open(&store, &file[0], &none).await.unwrap();
        back_up(&opened, &format!("after {round}")).await;
        assert_eq!(count(&opened).await, round + 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slots_that_nothing_opens_are_named_or_removed() {
    let (store, none) = (Store::memory(), CacheOptions::none());
    let repository = new_repository(&store, &none).await;
    let other = repository.add_key(&key_file(), QUICK, "lost").await.unwrap();
    let refused = repository.rotate_key(&[password()], false, false).await.unwrap_err();
    assert!(matches!(&refused, RepositoryError::KeyRefused { what } if what.contains(&other)), "{refused}");
    assert!(matches!(
        repository.rotate_key(&[key_file()], true, false).await,
        Err(RepositoryError::WrongPassword { .. })
    ));
    assert_eq!(repository.key_slots().await.unwrap().0.len(), 2, "nothing was changed");
    let done = repository.rotate_key(&[password()], true, false).await.unwrap();
    assert_eq!(done.removed, [other]);
    assert_eq!(reopen(&store, &none).await.key_slots().await.unwrap().0.len(), 1);
}

/// A crash after some slots were rewritten leaves keyrings that differ; the next rotation joins them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_that_crashed_is_mended_by_the_next() {
    let (store, none) = (Store::memory(), CacheOptions::none());
    let repository = new_repository(&store, &none).await;
    let file = key_file();
    let path = repository.add_key(&file, QUICK, "host").await.unwrap();
    let old_slot = store.get(&path, MAX_SLOT).await.unwrap();
    let both = [password(), file.clone()];
    repository.rotate_key(&both, false, false).await.unwrap();
    back_up(&reopen(&store, &none).await, "sealed with the second key").await;
    store.put(&path, old_slot).await.unwrap();
    let behind = open(&store, &file, &none).await.unwrap();
    assert_eq!(behind.snapshots().await.unwrap().damaged.len(), 1);
    assert_eq!(behind.rotate_key(&both, false, false).await.unwrap().number, 3);
    assert_eq!(count(&open(&store, &file, &none).await.unwrap()).await, 1);
}

/// A key file whose slot a host has in its cache as it was before another rotated and backed up.
async fn kept_before_a_rotation(store: &Store, cached: &CacheOptions) -> Credentials {
    let none = CacheOptions::none();
    let repository = new_repository(store, &none).await;
    let file = key_file();
    repository.add_key(&file, QUICK, "host").await.unwrap();
    drop(open(store, &file, cached).await.unwrap());
    repository.rotate_key(&[password(), file.clone()], false, false).await.unwrap();
    back_up(&reopen(store, &none).await, "new").await;
    file
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_kept_its_slot_reads_it_again_after_a_rotation() {
    let (store, root) = (Store::memory(), tempfile::tempdir().unwrap());
    let cached = CacheOptions::at(root.path());
    let file = kept_before_a_rotation(&store, &cached).await;
    let first = open(&store, &file, &cached).await.unwrap();
    let damaged = first.snapshots().await.unwrap().damaged;
    assert!(damaged.len() == 1 && damaged[0].1.is_unknown_key(), "{damaged:?}");
    drop(first);
    assert_eq!(count(&open(&store, &file, &cached).await.unwrap()).await, 1);
}

/// Another host rotated since: a slot made of the old one would lack the new key, and replace the only one that has it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_slot_is_made_of_one_that_is_old() {
    let (store, root) = (Store::memory(), tempfile::tempdir().unwrap());
    let cached = CacheOptions::at(root.path());
    let file = kept_before_a_rotation(&store, &cached).await;
    let behind = open(&store, &file, &cached).await.unwrap();
    let before = store.list_sorted("keys/").await.unwrap();
    let refused = behind.replace_key(&Credentials::password("another"), QUICK, "").await.unwrap_err();
    assert!(refused.to_string().contains("was changed since"), "{refused}");
    assert_eq!(store.list_sorted("keys/").await.unwrap(), before);
    drop(behind);
    let anew = open(&store, &file, &cached).await.unwrap();
    anew.replace_key(&Credentials::password("another"), QUICK, "").await.unwrap();
    assert_eq!(count(&open(&store, &Credentials::password("another"), &CacheOptions::none()).await.unwrap()).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_password_replaces_the_old_one() {
    let (store, root) = (Store::memory(), tempfile::tempdir().unwrap());
    let cached = CacheOptions::at(root.path());
    let repository = new_repository(&store, &cached).await;
    back_up(&repository, "x").await;
    let new = Credentials::password("battery staple");
    repository.replace_key(&new, QUICK, "me").await.unwrap();
    drop(repository);
    let refused = open(&store, &password(), &cached).await.unwrap_err();
    assert!(matches!(refused, RepositoryError::WrongPassword { .. }), "also with the cache that knew the old slot");
    let opened = open(&store, &new, &cached).await.unwrap();
    assert_eq!(count(&opened).await, 1);
    let slots = opened.key_slots().await.unwrap().0;
    assert_eq!((slots.len(), slots[0].label.as_str(), slots[0].costs), (1, "me", Some(QUICK)));
    assert_eq!(opened.slot(), Some(slots[0].path.as_str()));
    let last = opened.remove_key(&slots[0].path).await.unwrap_err();
    assert!(matches!(last, RepositoryError::KeyRefused { .. }));
    // A slot that cannot be read does not count as another one.
    store.put("keys/00000000000000000000000000000000", bytes::Bytes::from_static(b"noise")).await.unwrap();
    assert!(opened.remove_key(&slots[0].path).await.is_err());
    assert_eq!(opened.key_slots().await.unwrap().1.len(), 1);
}
