//! The directory as it is found, and what follows from that.

use std::path::PathBuf;

use repository::restored::MAX_NAME;
use zk_connect::DataDirSpec;
use zk_connect::datadir::marker::Marker;
use zk_connect::datadir::target::TargetDirs;
use zk_connect::endpoint::LogDir;

use super::choice;
use super::decide::{Next, next};
use super::{Decision, OnceRequest, OnceSummary};
use crate::error::{EngineError, ErrorKind};
use crate::reference::parse_zxid;
use crate::restore::{target_dirs, target_error};

/// The directory as it was found.
#[derive(Debug)]
pub(super) struct Place {
    pub dirs: TargetDirs,
    pub marker: Option<Marker>,
    /// What lies in both `version-2`.
    entries: Vec<PathBuf>,
}

impl Place {
    pub fn look(request: &OnceRequest) -> Result<Self, EngineError> {
        let names = [("--cluster", &request.cluster), ("--member", &request.member)];
        if let Some((flag, _)) = names.iter().find(|(_, name)| name.is_empty() || name.len() > MAX_NAME) {
            return Err(EngineError::new(ErrorKind::Usage, format!("{flag} needs a name of 1 to {MAX_NAME} bytes")));
        }
        let (dirs, _) = target_dirs(&request.target)?;
        let marker = Marker::read(&dirs).map_err(|error| target_error(&error))?;
        let entries = dirs.occupied().map_err(|error| target_error(&error))?.entries;
        Ok(Self { dirs, marker, entries })
    }

    pub fn next(&self, request: &OnceRequest) -> Result<Next, EngineError> {
        next(self.marker.as_ref(), !self.entries.is_empty(), request.number, &choice::asked(request))
    }

    /// The directories as asked for. A restored file that is alone there has no log elsewhere: no server has used it yet.
    pub fn target(&self, request: &OnceRequest) -> DataDirSpec {
        let zxids = self.marker.iter().flat_map(|marker| marker.earlier.iter().chain([&marker.file_zxid]));
        let mut own = zxids.filter_map(|zxid| parse_zxid(zxid)).map(|zxid| self.dirs.restored_file(zxid));
        let alone = own.any(|own| self.entries == [own]);
        let mut target = request.target.clone();
        if alone && target.log == LogDir::Unsaid {
            target.log = LogDir::Same;
        }
        target
    }

    pub fn left_alone(
        &self,
        request: &OnceRequest,
        decision: Decision,
        reason: String,
        note: Option<String>,
    ) -> OnceSummary {
        OnceSummary { notes: note.into_iter().collect(), ..self.summary(request, decision, reason) }
    }

    pub fn summary(&self, request: &OnceRequest, decision: Decision, reason: String) -> OnceSummary {
        OnceSummary {
            decision,
            reason,
            number: request.number,
            cluster: request.cluster.clone(),
            member: request.member.clone(),
            data_dir: self.dirs.data.clone(),
            snapshot_id: self.marker.as_ref().map(|marker| marker.snapshot.clone()),
            file_zxid: self.marker.as_ref().map(|marker| marker.file_zxid.clone()),
            notes: Vec::new(),
            dry_run: request.dry_run,
            restore: None,
        }
    }
}
