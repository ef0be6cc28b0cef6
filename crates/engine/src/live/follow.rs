//! A live ensemble that is followed: scanned once, and from then on read where its watch says that it changed.

use std::time::{Duration, Instant};

use repository::manifest::{self, Manifest};
use zk_connect::endpoint::LiveSpec;
use zk_connect::live::scan::{AclMemory, Changes, ScanOptions, Told, Watching};
use zk_format::Zxid;

use super::{LiveSettings, Scanned, known_acls, pressing, stream, told};
use crate::backup::{Read, Whole, stored_acl_zxid};
use crate::error::EngineError;
use crate::filter::Filter;
use crate::monitor::Monitor;
use crate::own::is_read;
use crate::repo::Repo;

/// What changed since the parent snapshot.
#[derive(Debug)]
pub struct Followed {
    /// The nodes.
    pub changes: Changes,
    /// Every ACL is from this state or a later one.
    pub acl_zxid: Zxid,
    /// Whether the parent is the state at one zxid.
    pub from_exact: bool,
}

/// An ensemble that is followed.
pub struct Following<'a> {
    repo: &'a Repo,
    spec: &'a LiveSpec,
    settings: &'a LiveSettings,
    filter: &'a Filter,
    monitor: &'a dyn Monitor,
    /// How often everything is read.
    every: Duration,
    watching: Option<Watching>,
    /// The snapshot that is the state which the watch continues.
    base: Option<String>,
    scanned: Instant,
}

impl<'a> Following<'a> {
    /// Nothing is connected before the first read.
    pub fn new(
        repo: &'a Repo,
        (spec, settings, filter): (&'a LiveSpec, &'a LiveSettings, &'a Filter),
        every: Duration,
        monitor: &'a dyn Monitor,
    ) -> Self {
        let (watching, base, scanned) = (None, None, Instant::now());
        Self { repo, spec, settings, filter, monitor, every, watching, base, scanned }
    }

    /// Reads what changed since `parent`, or everything where that cannot be known.
    pub fn read(&mut self, parent: Option<&Manifest>) -> Result<Read, EngineError> {
        let base = self.base.take();
        let known = AclMemory::default();
        let mut reason = None;
        if let (Some(parent), Some(base)) = (parent, base) {
            if parent.id.to_string() != base {
                reason = Some("another backup of this cluster came between");
            } else if self.scanned.elapsed() < self.every {
                match self.changes(parent, &known)? {
                    Ok(followed) => return Ok(Read::Watch(Box::new(followed))),
                    Err(why) => reason = Some(why),
                }
            }
        }
        if let Some(reason) = reason {
            self.monitor.note(&format!("scanning everything: {reason}"));
        }
        let whole = Whole::Scanned(self.scan(parent)?);
        Ok(Read::Full { whole: Box::new(whole), reason: reason.map(ToOwned::to_owned) })
    }

    fn changes(&mut self, parent: &Manifest, known: &AclMemory) -> Result<Result<Followed, &'static str>, EngineError> {
        let Some(watching) = self.watching.as_mut() else { return Ok(Err("there is no watch")) };
        let wanted = |path: &[u8]| is_read(self.filter, path);
        let options = pressing(self.settings, known, &wanted);
        let outcome = told(self.spec, None, self.monitor, |control| {
            self.repo.block_on(watching.changes(&ScanOptions { control, ..options }))
        })?;
        let changes = match outcome {
            Told::Lost(why) => return Ok(Err(why)),
            Told::Changes(changes) => changes,
        };
        // Nodes that may not be read fire no watches either.
        if !changes.unreadable.is_empty() {
            return Ok(Err("some nodes may not be read, and their changes are not told"));
        }
        let fields = &parent.body.fields;
        let from_exact = fields.consistency == manifest::Consistency::Exact;
        let acl_zxid = stored_acl_zxid(fields).unwrap_or(Zxid(fields.zxid_low));
        Ok(Ok(Followed { changes, acl_zxid, from_exact }))
    }

    fn scan(&mut self, parent: Option<&Manifest>) -> Result<Scanned, EngineError> {
        let connect = self.settings.connect(self.spec)?;
        let known = parent.map_or_else(|| Ok(AclMemory::default()), |parent| known_acls(self.repo, parent))?;
        let wanted = |path: &[u8]| is_read(self.filter, path);
        let options = pressing(self.settings, &known, &wanted);
        let expected = parent.map(|parent| parent.body.fields.nodes);
        let began = Instant::now();
        let (repo, watching) = (self.repo, &mut self.watching);
        let mut spool = stream::spool()?;
        let outcome = told(self.spec, expected, self.monitor, |control| {
            repo.block_on(async {
                let watching = match watching {
                    Some(watching) => watching,
                    None => watching.insert(Watching::begin(&connect).await?),
                };
                watching.scan(&ScanOptions { control, ..options }, &mut spool).await
            })
        });
        drop(known);
        match outcome.and_then(|seen| Scanned::new(spool, seen, self.filter)) {
            Ok(scanned) => {
                self.scanned = began;
                Ok(scanned)
            }
            Err(error) => {
                self.leave();
                Err(error)
            }
        }
    }

    /// What was read last is snapshot `id` now, and whole.
    pub fn stored(&mut self, id: Option<String>) {
        if let Some(watching) = &mut self.watching {
            watching.stored();
        }
        self.base = id;
    }

    /// Takes what the watch told so far, so that it takes little memory.
    pub fn gather(&mut self) {
        let wanted = |path: &[u8]| is_read(self.filter, path);
        if let Some(watching) = &mut self.watching {
            watching.gather(&wanted);
        }
    }

    /// Ends the session.
    pub fn leave(&mut self) {
        if let Some(watching) = self.watching.take() {
            self.repo.block_on(watching.close());
        }
    }
}
