//! A claim to be the only one that does something, for the few operations that cannot be done by two at a time.
//!
//! Each writes an object of its own, then lists: of two at the same time one at least sees the other's, and gives up.
//! Both may. What a crash left counts for nothing once it is old, by the store's time; so a holder that lives says so
//! again before every step.

use std::fmt;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ulid::Ulid;

use crate::backend::Store;
use crate::error::RepositoryError;

/// How long a claim counts after it was written last.
const LASTS: Duration = Duration::from_mins(1);
/// How old it may be, by the holder's own clock, when it is used. The rest is for the step itself.
const FRESH: Duration = Duration::from_secs(10);

/// Held until `end`.
#[derive(Debug)]
pub(crate) struct Claim<'a> {
    store: &'a Store,
    what: Claimed,
    path: String,
    written: Instant,
}

/// What only one at a time may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Claimed {
    /// Rotating the encryption key.
    Rotation,
    /// Writing the choice of a restore that happens once, where the store cannot create exclusively.
    Choice,
}

impl Claimed {
    /// How the names of its claims begin.
    const fn prefix(self) -> &'static str {
        match self {
            Self::Rotation => "lease/rotate-",
            Self::Choice => "lease/restore-",
        }
    }

    const fn words(self) -> &'static str {
        match self {
            Self::Rotation => "`key rotate`",
            Self::Choice => "member that begins a `restore --once`",
        }
    }
}

impl<'a> Claim<'a> {
    /// Claims it, or says who does.
    pub(crate) async fn take(store: &'a Store, what: Claimed) -> Result<Self, RepositoryError> {
        let path = format!("{}{}", what.prefix(), Ulid::generate().to_string());
        let claim = Self { store, what, path, written: Instant::now() };
        claim.put().await?;
        match claim.alone().await {
            Ok(()) => Ok(claim),
            Err(e) => {
                claim.end().await;
                Err(e)
            }
        }
    }

    async fn put(&self) -> Result<(), RepositoryError> {
        Ok(self.store.put(&self.path, Bytes::from_static(b"claimed")).await?)
    }

    /// Takes away what crashes left. A younger claim gives up by itself, but of two that see each other both do.
    async fn alone(&self) -> Result<(), RepositoryError> {
        let mut others = self.store.list_sorted("lease/").await?;
        others.retain(|object| object.path.starts_with(self.what.prefix()));
        let Some(own) = others.iter().position(|object| object.path == self.path) else {
            return Err(self.refused(format_args!("the store does not list {}, which was just written", self.path)));
        };
        let now = others.swap_remove(own).modified;
        for other in &others {
            let age = now.duration_since(other.modified).unwrap_or_default();
            if age < LASTS {
                let left = LASTS.saturating_sub(age).as_secs().saturating_add(1);
                return Err(self.refused(format_args!(
                    "another was there {} s ago ({}); if it no longer runs, try again in {left} s",
                    age.as_secs(),
                    other.path
                )));
            }
        }
        for other in &others {
            self.store.delete(&other.path).await?;
        }
        Ok(())
    }

    /// To be called before every step: whoever is held up for long may have been taken for dead.
    pub(crate) async fn renew(&mut self) -> Result<(), RepositoryError> {
        let began = Instant::now();
        // The clock of a machine that slept may not tell: whoever took this one for dead deleted its claim.
        match self.store.head(&self.path).await {
            Err(e) if e.is_not_found() => return Err(self.held_up()),
            other => drop(other?),
        }
        if self.written.elapsed() < FRESH {
            return Ok(());
        }
        self.put().await?;
        if self.written.elapsed() >= LASTS {
            return Err(self.held_up());
        }
        self.written = began;
        Ok(())
    }

    /// Does a step that must not outlast the claim.
    pub(crate) async fn within<T>(&self, step: impl Future<Output = T>) -> Result<T, RepositoryError> {
        let left = LASTS.saturating_sub(self.written.elapsed()).saturating_sub(FRESH);
        tokio::time::timeout(left, step).await.map_err(|_| self.held_up())
    }

    fn held_up(&self) -> RepositoryError {
        self.refused(format_args!("this one was held up for too long; run it again"))
    }

    fn refused(&self, why: fmt::Arguments<'_>) -> RepositoryError {
        RepositoryError::Claimed { what: format!("only one {} at a time: {why}", self.what.words()) }
    }

    /// Gives it up. A claim that cannot be deleted counts for nothing soon.
    pub(crate) async fn end(self) {
        if let Err(error) = self.store.delete(&self.path).await {
            tracing::debug!(%error, "a claim stays until it is old");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::simulated::Simulation;

    fn refusal<T: fmt::Debug>(result: Result<T, RepositoryError>) -> String {
        result.unwrap_err().to_string()
    }

    #[tokio::test]
    async fn one_holds_it_until_it_ends_or_is_old() {
        let simulation = Simulation::new();
        let store = simulation.store();
        let first = Claim::take(&store, Claimed::Rotation).await.unwrap();
        assert!(
            refusal(Claim::take(&store, Claimed::Rotation).await)
                .contains("only one `key rotate` at a time: another was there")
        );
        assert_eq!(store.list_sorted("lease/").await.unwrap().len(), 1, "who is refused leaves nothing");
        first.end().await;
        let crashed = Claim::take(&store, Claimed::Rotation).await.unwrap();
        simulation.advance(LASTS);
        let next = Claim::take(&store, Claimed::Rotation).await.unwrap();
        assert_eq!(store.list_sorted("lease/").await.unwrap().len(), 1, "what the crash left is gone");
        let mut crashed = Claim { written: Instant::now().checked_sub(FRESH).unwrap(), ..crashed };
        assert!(refusal(crashed.renew().await).contains("held up"), "it did not crash, and was taken for dead");
        next.end().await;
    }

    #[tokio::test]
    async fn a_holder_that_goes_on_keeps_it() {
        let simulation = Simulation::new();
        let store = simulation.store();
        let mut claim = Claim::take(&store, Claimed::Rotation).await.unwrap();
        for _ in 0..4 {
            simulation.advance(LASTS / 2);
            claim.written = Instant::now().checked_sub(LASTS / 2).unwrap();
            claim.renew().await.unwrap();
            assert!(refusal(Claim::take(&store, Claimed::Rotation).await).contains("at a time"));
        }
        claim.written = Instant::now().checked_sub(LASTS).unwrap();
        assert!(refusal(claim.renew().await).contains("held up"));
    }

    /// However their steps fall among each other, never two hold it.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn of_many_at_once_one_at_most_holds_it() {
        let (store, holding) = (Simulation::new().store(), Arc::new(AtomicUsize::new(0)));
        let held = futures::future::join_all((0..400).map(|_| {
            let (store, holding) = (store.clone(), Arc::clone(&holding));
            tokio::spawn(async move {
                let Ok(claim) = Claim::take(&store, Claimed::Rotation).await else { return 0 };
                assert_eq!(holding.fetch_add(1, Ordering::SeqCst), 0);
                tokio::task::yield_now().await;
                holding.fetch_sub(1, Ordering::SeqCst);
                claim.end().await;
                1
            })
        }));
        assert!(held.await.into_iter().map(Result::unwrap).sum::<usize>() > 0);
    }
}
