//! Whether a store really refuses to create what exists.
//!
//! Some look-alikes ignore the condition, or check it without locking. Of many concurrent creates of one name exactly
//! one must win, several times over; otherwise two backups at once could both believe to have the same number.

use bytes::Bytes;
use futures::future::join_all;
use ulid::Ulid;

use crate::backend::{Store, StoreError, StoreErrorKind};

const ROUNDS: usize = 8;
const RACERS: usize = 16;

/// Tries it. Leaves nothing behind unless the store fails midway, or deletes nothing.
pub async fn creates_exclusively(store: &Store) -> Result<bool, StoreError> {
    let mut exclusive = true;
    for _ in 0..ROUNDS {
        let path = format!("lease/probe-{}", Ulid::generate().to_string());
        let racers = (0..RACERS).map(|n| {
            let body = Bytes::from(format!("probe {n} {}", Ulid::generate().to_string()));
            let path = &path;
            async move { store.put_if_absent(path, body).await }
        });
        let mut winners = 0_usize;
        let mut failure = None;
        for result in join_all(racers).await {
            match result {
                Ok(()) => winners = winners.saturating_add(1),
                Err(e) if e.is_already_exists() => {}
                // A store that knows no such condition says so here.
                Err(e) if e.kind == StoreErrorKind::Unsupported => exclusive = false,
                Err(e) => failure = Some(e),
            }
        }
        match store.delete(&path).await {
            // What is written there stays, and that is how it is meant.
            Err(e) if e.kind == StoreErrorKind::Permission => {}
            other => other?,
        }
        if let Some(e) = failure {
            return Err(e);
        }
        exclusive &= winners == 1;
        if !exclusive {
            break;
        }
    }
    Ok(exclusive)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::{Driver, ObjectInfo, Part, Piece, StoreOptions};
    use futures::future::BoxFuture;
    use futures::stream::BoxStream;

    /// A store that ignores the condition.
    #[derive(Debug)]
    struct Careless(Store);

    impl Driver for Careless {
        fn get<'a>(&'a self, _: &'a str, _: Part) -> BoxFuture<'a, Result<Piece, StoreError>> {
            unreachable!("the probe reads nothing")
        }
        fn put<'a>(&'a self, path: &'a str, bytes: Bytes, _: bool) -> BoxFuture<'a, Result<(), StoreError>> {
            Box::pin(self.0.put(path, bytes))
        }
        fn list<'a>(&'a self, _: &'a str) -> BoxStream<'a, Result<ObjectInfo, StoreError>> {
            unreachable!("the probe lists nothing")
        }
        fn delete<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<(), StoreError>> {
            Box::pin(self.0.delete(path))
        }
        fn head<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<ObjectInfo, StoreError>> {
            unreachable!("the probe looks up nothing")
        }
    }

    #[tokio::test]
    async fn the_probe_tells_stores_apart_and_cleans_up() {
        let store = Store::memory();
        assert!(creates_exclusively(&store).await.unwrap());
        assert_eq!(store.counters().put, 128);
        assert!(store.list_sorted("").await.unwrap().is_empty());
        let careless = Store::with_driver(Box::new(Careless(store.clone())), "careless", &StoreOptions::default());
        assert!(!creates_exclusively(&careless).await.unwrap());
    }
}
