//! Which of several daemons works: a lease in the repository that one of them holds and renews, and others wait for; and what
//! the next one has to know.
//!
//! Terms are objects `lease/leader-<term>`, each created by whoever leads in it. The holder creates the next one before its time
//! is over, counted by its own clock from before it asked for the last. Whoever waits counts by its own clock how long the newest
//! term has been the newest, and takes the next one when that is longer than any holder may think. No clocks are compared.
//!
//! A store that creates exclusively lets one of two have a term. On one that does not, each writes a name of its own, waits, and
//! the first name of the newest term counts: two may then overlap for a moment, which backups survive.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use ulid::Ulid;

use crate::backend::{Store, StoreError};
use crate::error::RepositoryError;
use crate::ids::IdentityKeys;
use crate::repository::Repository;

const FOLDER: &str = "lease/";
const PREFIX: &str = "lease/leader-";
const HELD: &[u8] = b"held";
const FREE: &[u8] = b"free";
const PAUSED: &[u8] = b"paused";
/// Longer content is not ours.
const LIMIT: u64 = 64;
/// The shortest lease: a renewal needs a few requests.
pub const SHORTEST: Duration = Duration::from_secs(1);

/// One that leads or would like to.
#[derive(Debug)]
pub struct Candidate {
    store: Store,
    exclusive: bool,
    lease: Duration,
    held: Option<Held>,
    seen: Option<Seen>,
}

#[derive(Debug)]
struct Held {
    term: u64,
    path: String,
    until: Instant,
    renew: Instant,
}

#[derive(Debug)]
struct Seen {
    path: String,
    since: Instant,
    free: bool,
}

/// The newest term and, where several have it, the one that counts.
struct Newest {
    term: u64,
    path: String,
    older: Vec<String>,
}

impl Repository {
    /// One more that would like to lead. Leases shorter than [`SHORTEST`] are as long as that.
    pub async fn candidate(&self, lease: Duration) -> Result<Candidate, RepositoryError> {
        let exclusive = self.shared.creates_exclusively().await?;
        let store = self.store().clone();
        Ok(Candidate { store, exclusive, lease: lease.max(SHORTEST), held: None, seen: None })
    }

    /// Says, to whoever leads after this one, that the backups of a cluster are set aside, or that they are not.
    pub async fn set_paused(&self, cluster: &str, paused: bool) -> Result<(), RepositoryError> {
        let path = paused_path(self.identity(), cluster);
        if paused {
            self.store().put(&path, Bytes::from_static(PAUSED)).await?;
        } else {
            self.store().delete(&path).await?;
        }
        Ok(())
    }

    /// Which of these clusters are said to be set aside.
    pub async fn paused<'c>(
        &self,
        clusters: impl Iterator<Item = &'c str>,
    ) -> Result<BTreeSet<&'c str>, RepositoryError> {
        let listed = self.store().list_sorted(FOLDER).await?;
        let is_there = |cluster: &&str| {
            let path = paused_path(self.identity(), cluster);
            listed.iter().any(|object| object.path == path)
        };
        Ok(clusters.filter(is_there).collect())
    }
}

/// A bucket does not tell names.
fn paused_path(keys: &IdentityKeys, cluster: &str) -> String {
    format!("{FOLDER}paused-{}", keys.restored_id(&[cluster.as_bytes()]))
}

impl Candidate {
    /// Whether this one leads, by its own clock.
    pub fn leads(&self) -> bool {
        self.held.as_ref().is_some_and(|held| Instant::now() < held.until)
    }

    /// Until when it does, by its own clock.
    pub fn until(&self) -> Option<Instant> {
        self.held.as_ref().map(|held| held.until)
    }

    /// Renews the lease, takes it, or looks who has it; to be called several times in each lease. An error leaves things as they
    /// are: who leads does so until its time is over.
    pub async fn turn(&mut self) -> Result<bool, RepositoryError> {
        let now = Instant::now();
        match &self.held {
            Some(held) if now < held.renew => {}
            Some(held) if now < held.until => {
                let next = held.term.saturating_add(1);
                self.take(next).await?;
            }
            // Others may have it already, whatever this one was doing meanwhile.
            Some(_) => self.held = None,
            None => self.wait().await?,
        }
        Ok(self.leads())
    }

    /// Gives the lease up, so that the next one need not wait.
    pub async fn resign(&mut self) -> Result<(), RepositoryError> {
        let Some(held) = self.held.take().filter(|held| Instant::now() < held.until) else { return Ok(()) };
        let path = self.path(held.term.saturating_add(1));
        Ok(self.create(&path, FREE).await?)
    }

    async fn wait(&mut self) -> Result<(), RepositoryError> {
        let Some(newest) = self.newest().await? else { return self.take(1).await };
        let now = Instant::now();
        let seen = if let Some(seen) = self.seen.take().filter(|seen| seen.path == newest.path) {
            seen
        } else {
            let free = self.is_free(&newest.path).await?;
            Seen { path: newest.path, since: now, free }
        };
        // A quarter more than any holder counts: clocks do not run alike.
        let over = seen.free || now.duration_since(seen.since) > self.lease + self.lease / 4;
        self.seen = Some(seen);
        if over { self.take(newest.term.saturating_add(1)).await } else { Ok(()) }
    }

    async fn is_free(&self, path: &str) -> Result<bool, RepositoryError> {
        match self.store.get(path, LIMIT).await {
            Ok(content) => Ok(content == FREE),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes a term, unless somebody else does.
    async fn take(&mut self, term: u64) -> Result<(), RepositoryError> {
        let began = Instant::now();
        let path = self.path(term);
        match self.create(&path, HELD).await {
            Ok(()) => {}
            Err(error) if error.is_already_exists() => {
                self.held = None;
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        }
        if !self.exclusive {
            tokio::time::sleep(self.lease / 10).await;
        }
        // Whoever was held up for long may have created a term that others have left behind and deleted.
        let Some(newest) = self.newest().await? else {
            self.held = None;
            return Ok(());
        };
        if newest.path != path {
            self.held = None;
            self.store.delete(&path).await?;
            return Ok(());
        }
        self.held = Some(Held { term, path, until: began + self.lease, renew: began + self.lease / 3 });
        for older in newest.older {
            self.store.delete(&older).await?;
        }
        Ok(())
    }

    fn path(&self, term: u64) -> String {
        if self.exclusive { format!("{PREFIX}{term:020}") } else { format!("{PREFIX}{term:020}-{}", Ulid::generate()) }
    }

    async fn create(&self, path: &str, content: &'static [u8]) -> Result<(), StoreError> {
        let content = Bytes::from_static(content);
        if self.exclusive { self.store.put_if_absent(path, content).await } else { self.store.put(path, content).await }
    }

    async fn newest(&self) -> Result<Option<Newest>, RepositoryError> {
        let mut all: Vec<(u64, String)> = Vec::new();
        for object in self.store.list_sorted(FOLDER).await? {
            let digits = object.path.strip_prefix(PREFIX).and_then(|name| name.get(..20));
            if let Some(term) = digits.and_then(|digits| digits.parse().ok()) {
                all.push((term, object.path));
            }
        }
        let Some(term) = all.iter().map(|(term, _)| *term).max() else { return Ok(None) };
        let counts = all.iter().filter(|(own, _)| *own == term).map(|(_, path)| path.clone()).min();
        let own = self.held.as_ref().map(|held| held.path.clone());
        // The one before stays: whoever creates it late finds it there.
        let older =
            all.into_iter().filter(|(other, path)| other.saturating_add(1) < term && Some(path) != own.as_ref());
        let older = older.map(|(_, path)| path).collect();
        Ok(counts.map(|path| Newest { term, path, older }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_mins(1);

    fn candidate(store: &Store, exclusive: bool) -> Candidate {
        Candidate { store: store.clone(), exclusive, lease: LEASE, held: None, seen: None }
    }

    /// Lets time pass in steps of a sixth of a lease; those who are `awake` take their turns. Never do two lead.
    async fn pass(all: &mut [&mut Candidate], awake: &[bool], sixths: usize) -> Vec<usize> {
        let mut led = Vec::new();
        for _ in 0..sixths {
            for (one, _) in all.iter_mut().zip(awake).filter(|(_, awake)| **awake) {
                one.turn().await.unwrap();
            }
            let leading: Vec<usize> = (0..all.len()).filter(|one| all[*one].leads()).collect();
            assert!(leading.len() <= 1, "{leading:?} lead");
            led.extend(leading.first());
            tokio::time::sleep(LEASE / 6).await;
        }
        led
    }

    #[tokio::test(start_paused = true)]
    async fn one_leads_as_long_as_it_lives_and_another_follows_within_two_leases() {
        for exclusive in [true, false] {
            let store = Store::memory();
            let (mut first, mut second) = (candidate(&store, exclusive), candidate(&store, exclusive));
            let led = pass(&mut [&mut first, &mut second], &[true, true], 100).await;
            assert_eq!(led, vec![0; 100], "{exclusive}");
            assert!(store.list_sorted(FOLDER).await.unwrap().len() <= 3, "terms pile up");
            // As after kill -9.
            let led = pass(&mut [&mut first, &mut second], &[false, true], 12).await;
            assert!(second.leads() && led.last() == Some(&1), "{led:?}");
            // The first one was only asleep: it finds out.
            let led = pass(&mut [&mut first, &mut second], &[true, true], 50).await;
            assert_eq!(led, vec![1; 50]);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_resigns_is_followed_at_once() {
        let store = Store::memory();
        let (mut first, mut second) = (candidate(&store, true), candidate(&store, true));
        pass(&mut [&mut first, &mut second], &[true, true], 5).await;
        first.resign().await.unwrap();
        assert!(!first.leads());
        assert_eq!(pass(&mut [&mut first, &mut second], &[false, true], 1).await, [1]);
    }

    /// Suspended right before its term's creation, for so long that the term was left behind and deleted.
    #[tokio::test(start_paused = true)]
    async fn a_creation_that_comes_late_leads_nobody() {
        let store = Store::memory();
        let (mut first, mut second) = (candidate(&store, true), candidate(&store, true));
        assert!(first.turn().await.unwrap());
        let late = first.held.as_ref().map(|held| held.term + 1).unwrap();
        pass(&mut [&mut first, &mut second], &[false, true], 60).await;
        assert!(second.leads());
        first.take(late).await.unwrap();
        assert!(!first.leads());
        assert!(second.turn().await.unwrap());
        let led = pass(&mut [&mut first, &mut second], &[true, true], 30).await;
        assert_eq!(led, vec![1; 30]);
    }

    /// Many seeds: who is awake and when, at random; two never lead.
    #[tokio::test(start_paused = true)]
    async fn two_never_lead_whoever_sleeps() {
        for seed in 0..200 {
            let store = Store::memory();
            let (mut a, mut b, mut c) = (candidate(&store, true), candidate(&store, true), candidate(&store, true));
            let mut random = testing::random::Prng::new(seed);
            for _ in 0..30 {
                let awake = [random.percent(70), random.percent(70), random.percent(70)];
                let sixths = usize::try_from(random.between(1, 12)).unwrap();
                pass(&mut [&mut a, &mut b, &mut c], &awake, sixths).await;
            }
        }
    }
}
