//! Which of several daemons works, where that is settled in the repository: this one asks for the lease, renews it, and gives it
//! up when it ends.

use std::sync::Arc;
use std::time::Duration;

use engine::EngineError;
use engine::repository::leader::{Candidate, SHORTEST};

use crate::config::LeaderMode;
use crate::daemon::{Daemon, Leading};

/// How long a silent holder is waited for where nothing else is configured.
const USUAL: Duration = Duration::from_mins(1);
/// Turns in each lease: a few may fail before it is lost.
const TURNS: u32 = 6;

/// Runs until the daemon stops; returns at once where nothing is to be settled.
pub async fn run(daemon: Arc<Daemon>) {
    let config = daemon.holding().config.leader.clone();
    if config.mode == LeaderMode::None {
        return;
    }
    let lease = config.lease.map_or(USUAL, |lease| lease.0).max(SHORTEST);
    let mut candidate = None;
    while !daemon.is_stopping() {
        let led = daemon.is_leading();
        let (kept, turned) = turn(&daemon, candidate, lease, false).await;
        candidate = kept;
        if let Err(error) = turned {
            tracing::warn!("the lease was not looked after: {}", engine::snapshots::error_chain(&error));
        }
        let until = candidate.as_ref().and_then(Candidate::until);
        daemon.lead(until.map_or(Leading::Not, |until| Leading::Until(until.into_std())));
        if daemon.is_leading() != led {
            tracing::info!(leading = daemon.is_leading(), "the lease in the repository");
        }
        tokio::time::sleep(lease / TURNS).await;
    }
    // Who follows should not begin what is still being done here.
    while daemon.jobs.is_any_active() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    daemon.lead(Leading::Not);
    let (_, resigned) = turn(&daemon, candidate, lease, true).await;
    if let Err(error) = resigned {
        tracing::warn!("the lease was not given up, others wait until it is over: {error}");
    }
}

/// One turn, on a thread that may block; the candidate comes back.
async fn turn(
    daemon: &Arc<Daemon>,
    candidate: Option<Candidate>,
    lease: Duration,
    resign: bool,
) -> (Option<Candidate>, Result<(), EngineError>) {
    let holding = daemon.holding();
    let work = move || {
        let repo = match holding.repos.primary() {
            Ok(repo) => repo,
            Err(error) => return (candidate, Err(error)),
        };
        let candidate = candidate.map_or_else(|| repo.block_on(repo.repository().candidate(lease)), Ok);
        let mut candidate = match candidate {
            Ok(candidate) => candidate,
            Err(error) => return (None, Err(error.into())),
        };
        let turned =
            if resign { repo.block_on(candidate.resign()) } else { repo.block_on(candidate.turn()).map(|_| ()) };
        (Some(candidate), turned.map_err(EngineError::from))
    };
    tokio::task::spawn_blocking(work).await.unwrap_or((None, Ok(())))
}
