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
use zk_connect::live::{Client, Code, CreateMode, KeptSession, LiveError, Op};
use zk_format::AclList;

use super::LiveRequest;
use super::found::failed;
use super::writer::{failure, is_passing};
use crate::error::{EngineError, ErrorKind};
use crate::monitor::{Cancelled, Monitor};
use crate::own::OWN;

/// Longer than the session of a killed restore lives.
const PATIENCE: Duration = Duration::from_secs(45);
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// What takes its leave of a target that does not answer waits no longer.
const LEAVE_WITHIN: Duration = Duration::from_secs(3);
/// `EPHEMERALONLOCALSESSION`: the servers keep sessions to themselves, and those have no ephemeral nodes.
const EPHEMERAL_ON_LOCAL_SESSION: Code = Code(-120);
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
    /// What the node says, where there is one: some may not create it.
    says: Option<Says>,
    /// Whether somebody else held it a moment ago: what was seen of the target before may not be true any more.
    pub waited: bool,
    /// Nothing is asked of the session while the target is read back.
    _session: KeptSession,
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
    ) -> Result<Self, EngineError> {
        let failing = |error| failed(client.options(), "restoring into", error);
        let name = Ulid::generate().to_string();
        let file = file_of(journal);
        let (alive, before) = alive(&file, &name)?;
        // A session that ended while somebody was asked is replaced once more, by what this needs.
        client.exists(OWN).await.map_err(failing)?;
        let session = client.keep_session();
        let says = Says {
            name,
            program: request.program.clone(),
            host: request.host.clone(),
            snapshot: request.snapshot.id().to_string(),
            since: request.now,
        };
        let data = serde_json::to_vec(&says).map_err(|error| EngineError::wrapping(ErrorKind::Failed, error))?;
        let (began, mut waited) = (Instant::now(), false);
        let held = |says, waited| Self { says, waited, _session: session, _alive: alive, file };
        loop {
            if monitor.cancelled() {
                return Err(Cancelled.into());
            }
            match create(client, &data).await.map_err(failing)? {
                Tried::Held => return Ok(held(Some(says), waited)),
                Tried::Impossible(code) => {
                    let own = String::from_utf8_lossy(OWN);
                    monitor.note(&format!(
                        "restoring without a lock: nothing ephemeral can be created below {own} ({code}); nothing keeps another \
                         restore away"
                    ));
                    return Ok(held(None, waited));
                }
                Tried::Taken => {}
            }
            match holder(client).await.map_err(failing)? {
                None => continue,
                Some(holder) if holder.says.as_ref() == Some(&says) => return Ok(held(Some(says), waited)),
                Some(holder) if holder.says.as_ref().is_some_and(|held| Some(&held.name) == before.as_ref()) => {
                    // Of a run that is over: its file could be locked.
                    holder.remove(client).await.map_err(failing)?;
                    continue;
                }
                Some(holder) if began.elapsed() > PATIENCE => return Err(busy(holder.says.as_ref())),
                Some(_) if waited => {}
                Some(_) => {
                    monitor.note("another restore holds /zooark/lock in the target: waiting, in case it was killed");
                    waited = true;
                }
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Gives it up and ends the session.
    pub async fn release(self, client: &Client) {
        leave(client, self.says.as_ref().map(|says| says.name.as_str())).await;
        // Whoever comes too late to see it waits for the session instead.
        let _ = fs::remove_file(&self.file);
    }

    /// Ends the session of a run that has nothing to write, and takes along what a killed run of the same restore left behind.
    pub async fn leave_none(client: &Client, journal: &Path) {
        let file = file_of(journal);
        // Whoever runs at present looks after it.
        let before = file.exists().then(|| alive(&file, "").ok()).flatten().map(|(_, before)| before);
        leave(client, before.as_ref().and_then(Option::as_deref)).await;
        if before.is_some() {
            let _ = fs::remove_file(&file);
        }
    }
}

/// Removes the lock of this name and ends the session. The lock's parent goes too, unless somebody has anything there.
async fn leave(client: &Client, name: Option<&str>) {
    let leaving = async {
        if let Some(name) = name {
            // Where any of this fails the end of the session does it, or the next restore.
            if let Ok(Some(holder)) = holder(client).await
                && holder.says.as_ref().is_some_and(|says| says.name == name)
            {
                let _ = holder.remove(client).await;
            }
            let _ = client.delete(OWN, -1).await;
        }
        client.close().await;
    };
    if tokio::time::timeout(LEAVE_WITHIN, leaving).await.is_err() {
        // The session ends by its time-out, and must not be kept alive until then.
        client.abandon();
    }
}

/// The file that tells whether the run lives that this journal is of.
fn file_of(journal: &Path) -> PathBuf {
    journal.with_extension("lock")
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

/// The parent's version rises with each lock: so a lock can be told from one that came after it.
async fn create(client: &Client, data: &[u8]) -> Result<Tried, LiveError> {
    let (world, path) = (AclList::world(), path());
    let ops = [
        Op::SetData { path: OWN, data: None, version: -1 },
        Op::Create { path: &path, data: Some(data), acl: &world, mode: CreateMode::Ephemeral },
    ];
    let code = match client.multi_plain(&ops).await {
        Ok(results) => match failure(&results) {
            None => return Ok(Tried::Held),
            Some(code) => code,
        },
        // Whether it is there shows when it is looked at.
        Err(error) if is_passing(&error) => return Ok(Tried::Taken),
        Err(error) => error.code().ok_or(error)?,
    };
    match code {
        Code::NODE_EXISTS => Ok(Tried::Taken),
        Code::NO_AUTH | EPHEMERAL_ON_LOCAL_SESSION => Ok(Tried::Impossible(code)),
        // Nobody made the parent yet, or whoever ended just now took it along.
        Code::NO_NODE => match client.create_plain(OWN, None, &world, CreateMode::Persistent).await {
            Err(error) if error.is(Code::NO_AUTH) || error.is(Code::NO_NODE) => {
                Ok(Tried::Impossible(error.code().unwrap_or(Code::NO_AUTH)))
            }
            Err(error) if error.is(Code::NODE_EXISTS) || is_passing(&error) => Ok(Tried::Taken),
            Err(error) => Err(error),
            Ok(_) => Ok(Tried::Taken),
        },
        code => Ok(Tried::Impossible(code)),
    }
}

/// Who holds the lock.
struct Holder {
    /// What it says, where that is ours to read.
    says: Option<Says>,
    /// The parent's version, read before that.
    version: i32,
}

impl Holder {
    /// Deletes this lock, and none that came after it.
    async fn remove(&self, client: &Client) -> Result<(), LiveError> {
        let path = path();
        let ops = [Op::Check { path: OWN, version: self.version }, Op::Delete { path: &path, version: -1 }];
        // Whoever was faster did the same.
        match client.multi_plain(&ops).await {
            Err(error) if error.code().is_none() => Err(error),
            _ => Ok(()),
        }
    }
}

/// `None` where nobody holds it.
async fn holder(client: &Client) -> Result<Option<Holder>, LiveError> {
    let Some(parent) = client.exists(OWN).await? else { return Ok(None) };
    let version = parent.value.version;
    match client.get_data(&path()).await {
        Ok(read) => {
            let says = read.value.0.and_then(|data| serde_json::from_slice(&data).ok());
            Ok(Some(Holder { says, version }))
        }
        Err(error) if error.is(Code::NO_NODE) => Ok(None),
        Err(error) if error.is(Code::NO_AUTH) => Ok(Some(Holder { says: None, version })),
        Err(error) => Err(error),
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
