//! One restore into an ensemble at a time: an ephemeral node `/zooark/lock` in the target, of the session that writes.
//!
//! The session is never replaced while it holds the lock, so that a restore that loses it writes nothing any more. A killed
//! restore's lock goes with its session; the next run of the same restore on the same host need not wait for that: a file of its
//! own, locked as long as the process lives, tells it that nobody is behind the name in the node any more.

use std::fs::{self, File, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use ulid::Ulid;
use zk_connect::live::{Client, Code, CreateMode, LiveError};
use zk_format::AclList;

use super::LiveRequest;
use crate::error::{EngineError, ErrorKind};
use crate::monitor::{Cancelled, Monitor};
use crate::own::OWN;

/// Longer than the session of a killed restore lives.
const PATIENCE: Duration = Duration::from_secs(45);
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// What takes its leave of a target that does not answer waits no longer.
const LEAVE_WITHIN: Duration = Duration::from_secs(3);
/// A name is a ULID.
const NAME_BYTES: u64 = 26;

/// What the node says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Says {
    /// Who holds it.
    name: String,
    program: String,
    host: String,
    snapshot: String,
    since: Timestamp,
}

/// Held until [`Lock::release`], or the end of the session.
#[derive(Debug)]
pub struct Lock {
    /// Whether there is a node: some may not create one.
    node: bool,
    /// Tells whether this process lives.
    _alive: File,
    file: PathBuf,
}

fn path() -> Vec<u8> {
    [OWN, b"/lock"].concat()
}

impl Lock {
    /// Takes it, and binds the client to its session.
    pub async fn take(
        client: &Client,
        request: &LiveRequest,
        journal: &Path,
        monitor: &dyn Monitor,
    ) -> Result<Self, TakeError> {
        let name = Ulid::generate().to_string();
        let file = journal.with_extension("lock");
        let (alive, before) = alive(&file, &name)?;
        client.keep_to_session();
        let says = Says {
            name,
            program: request.program.clone(),
            host: request.host.clone(),
            snapshot: request.snapshot.id().to_string(),
            since: request.now,
        };
        let data = serde_json::to_vec(&says).map_err(|error| EngineError::wrapping(ErrorKind::Failed, error))?;
        let (began, mut told) = (Instant::now(), false);
        loop {
            if monitor.cancelled() {
                return Err(EngineError::from(Cancelled).into());
            }
            match create(client, &data).await? {
                Tried::Held => return Ok(Self { node: true, _alive: alive, file }),
                Tried::Impossible(code) => {
                    let own = String::from_utf8_lossy(OWN);
                    monitor.note(&format!(
                        "restoring without a lock: {own} cannot be created ({code}); nothing keeps another restore away"
                    ));
                    return Ok(Self { node: false, _alive: alive, file });
                }
                Tried::Taken => {}
            }
            match holder(client).await? {
                None => continue,
                Some((Some(held), _)) if held == says => return Ok(Self { node: true, _alive: alive, file }),
                Some((Some(held), version)) if Some(&held.name) == before.as_ref() => {
                    // Of a run that is over: its file could be locked.
                    delete(client, &path(), version).await?;
                    continue;
                }
                Some((held, _)) if began.elapsed() > PATIENCE => return Err(busy(held.as_ref()).into()),
                Some(_) if told => {}
                Some(_) => {
                    monitor.note("another restore holds /zooark/lock in the target: waiting, in case it was killed");
                    told = true;
                }
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Gives it up and ends the session.
    pub async fn release(self, client: &Client) {
        let leaving = async {
            if self.node {
                // Where that fails the end of the session does it.
                let _ = delete(client, &path(), -1).await;
                let _ = delete(client, OWN, -1).await;
            }
            client.close().await;
        };
        let _ = tokio::time::timeout(LEAVE_WITHIN, leaving).await;
        // Whoever comes too late to see it waits for the session instead.
        let _ = fs::remove_file(&self.file);
    }
}

/// Why there is no lock.
#[derive(Debug)]
pub enum TakeError {
    /// The target failed.
    Target(LiveError),
    /// Anything else.
    Other(EngineError),
}

impl From<LiveError> for TakeError {
    fn from(error: LiveError) -> Self {
        Self::Target(error)
    }
}

impl From<EngineError> for TakeError {
    fn from(error: EngineError) -> Self {
        Self::Other(error)
    }
}

fn busy(held: Option<&Says>) -> EngineError {
    let who = held.map_or_else(
        || "a client that is none of ours".to_owned(),
        |held| format!("{} on {} since {} (snapshot {})", held.program, held.host, held.since, held.snapshot),
    );
    EngineError::new(
        ErrorKind::Busy,
        format!("nothing was restored: {who} holds /zooark/lock in the target; wait until that restore has ended"),
    )
}

/// Locks the file that tells whether this run lives; gives the name of the run before.
fn alive(path: &Path, name: &str) -> Result<(File, Option<String>), EngineError> {
    let failed = |error: std::io::Error| {
        EngineError::with(ErrorKind::Failed, format!("locking {} for the restore", path.display()), error)
    };
    fs::create_dir_all(path.parent().unwrap_or(Path::new("."))).map_err(failed)?;
    let mut file =
        fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let text = "nothing was restored: the same restore runs already on this host; wait until it has ended";
            return Err(EngineError::new(ErrorKind::Busy, text));
        }
        Err(TryLockError::Error(error)) => return Err(failed(error)),
    }
    let mut before = String::new();
    (&file).take(NAME_BYTES).read_to_string(&mut before).map_err(failed)?;
    file.rewind().and_then(|()| file.set_len(0)).and_then(|()| file.write_all(name.as_bytes())).map_err(failed)?;
    Ok((file, Some(before).filter(|before| !before.is_empty())))
}

enum Tried {
    Held,
    Taken,
    Impossible(Code),
}

async fn create(client: &Client, data: &[u8]) -> Result<Tried, LiveError> {
    let world = AclList::world();
    match client.create_plain(OWN, None, &world, CreateMode::Persistent).await {
        Err(error) if error.is(Code::NODE_EXISTS) => {}
        Err(error) if error.is(Code::NO_AUTH) || error.is(Code::NO_NODE) => {
            return Ok(Tried::Impossible(error.code().unwrap_or(Code::NO_AUTH)));
        }
        // Whether it is there shows below.
        Err(error) if super::writer::is_passing(&error) => {}
        Err(error) => return Err(error),
        Ok(_) => {}
    }
    match client.create_plain(&path(), Some(data), &world, CreateMode::Ephemeral).await {
        Ok(_) => Ok(Tried::Held),
        Err(error) if error.is(Code::NO_AUTH) => Ok(Tried::Impossible(Code::NO_AUTH)),
        // Whoever ended just now took the parent along, or the answer was lost: it is looked at, and tried again.
        Err(error) if error.is(Code::NODE_EXISTS) || error.is(Code::NO_NODE) => Ok(Tried::Taken),
        Err(error) if super::writer::is_passing(&error) => Ok(Tried::Taken),
        Err(error) => Err(error),
    }
}

/// What the lock says, where that is ours to read, and its version; `None` where nobody holds it.
async fn holder(client: &Client) -> Result<Option<(Option<Says>, i32)>, LiveError> {
    match client.get_data(&path()).await {
        Ok(read) => {
            let (data, stat) = read.value;
            let says = data.and_then(|data| serde_json::from_slice(&data).ok());
            Ok(Some((says, stat.version)))
        }
        Err(error) if error.is(Code::NO_NODE) => Ok(None),
        Err(error) if error.is(Code::NO_AUTH) => Ok(Some((None, -1))),
        Err(error) => Err(error),
    }
}

/// Whoever was faster did the same.
async fn delete(client: &Client, path: &[u8], version: i32) -> Result<(), LiveError> {
    match client.delete(path, version).await {
        Err(error) if error.code().is_some() => Ok(()),
        done => done,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_run_knows_that_the_one_before_is_over() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("state/restore-x.lock");
        let (first, before) = alive(&file, "01ARZ3NDEKTSV4RRFFQ69G5FAV").unwrap();
        assert_eq!(before, None);
        assert_eq!(alive(&file, "x").unwrap_err().kind, ErrorKind::Busy);
        drop(first);
        let (_second, before) = alive(&file, "01ARZ3NDEKTSV4RRFFQ69G5FAW").unwrap();
        assert_eq!(before.as_deref(), Some("01ARZ3NDEKTSV4RRFFQ69G5FAV"));
    }
}
