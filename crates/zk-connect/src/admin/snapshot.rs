//! The whole tree of a server as one snapshot file: taken, kept without a name, checked, read.

use std::fs::File;
use std::io::{self, Write as _};
use std::time::Instant;

use rustix::fs::fstatvfs;
use zk_format::Zxid;
use zk_format::file_snap::{Compression, ReadLimits};
use zk_format::load::{self, Loaded};
use zk_format::tree::FlatTree;

use super::http::{As, within};
use super::{Admin, AdminError, ServerInfo, Transfer};

const COMMAND: &str = "snapshot";
/// What tells how a file is compressed.
const START_BYTES: usize = 8;
/// Of the free room in the folder, so much is left to others.
const ROOM_LEFT: u64 = 16 << 20;

/// A snapshot file that a server handed out.
#[derive(Debug)]
pub struct Streamed {
    /// The server, as it was before.
    pub server: ServerInfo,
    /// Bytes of the file, as they came.
    pub bytes: u64,
    /// The zxid at which the server began to write it.
    begin: Zxid,
    file: File,
    compression: Compression,
}

/// Asks one of the servers for all it has. The server writes a snapshot file of its own, too.
pub async fn snapshot(admin: &Admin, control: &dyn Transfer) -> Result<Streamed, AdminError> {
    of(admin, admin.choose(control).await?, control).await
}

/// Asks this one.
pub(super) async fn of(admin: &Admin, server: ServerInfo, control: &dyn Transfer) -> Result<Streamed, AdminError> {
    let host = server.host.clone();
    let time_out = admin.options.snapshot_time_out;
    let response = admin.http.get(&host, COMMAND, Some("streaming=true"), (As::Ourselves, time_out), control).await?;
    let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let (begin, announced) = (header("last_zxid"), header("snapshot_size"));
    let begin = begin.and_then(|text| i64::from_str_radix(text.strip_prefix("0x")?, 16).ok()).map(Zxid);
    let begin = begin.filter(|begin| begin.0 >= 0);
    let announced = announced.and_then(|text| text.parse::<u64>().ok());
    let (Some(begin), Some(announced), 200) = (begin, announced, response.status().as_u16()) else {
        // Servers answer some of what they do not do with status 200.
        admin.http.object(&host, COMMAND, response, control).await?;
        let what = "no snapshot: it lacks the headers last_zxid and snapshot_size";
        return Err(AdminError::answer(&host, COMMAND, what));
    };
    if announced > admin.options.max_bytes {
        return Err(AdminError::TooLarge { host, bytes: announced, limit: admin.options.max_bytes });
    }
    let mut keep = Keep::open(admin, &host, announced)?;
    control.begin(announced);
    keep.fill(response, control).await?;
    Ok(Streamed { server, bytes: announced, begin, compression: keep.compression()?, file: keep.file })
}

impl Streamed {
    /// Reads the file, and judges whether it is the state at one zxid.
    pub fn load(self) -> Result<Loaded, AdminError> {
        self.tree().map(load::alone)
    }

    /// Reads the file: its seals and its nodes.
    pub fn tree(self) -> Result<FlatTree, AdminError> {
        let Self { server: ServerInfo { host, .. }, begin, file, compression, .. } = self;
        let tree = FlatTree::read_open(&file, begin, compression, &ReadLimits::default())
            .map_err(|source| AdminError::Snapshot { host: host.clone(), source })?;
        let digest = tree.stated_digest().map(|stated| stated.zxid);
        if let Some(end) = digest.max(tree.last_zxid()).filter(|end| *end < begin) {
            return Err(AdminError::Backwards { host, begin, end });
        }
        Ok(tree)
    }
}

/// A file without a name, being filled.
struct Keep<'a> {
    file: File,
    host: &'a str,
    admin: &'a Admin,
    announced: u64,
    arrived: u64,
    start: Vec<u8>,
}

impl<'a> Keep<'a> {
    fn open(admin: &'a Admin, host: &'a str, announced: u64) -> Result<Self, AdminError> {
        let unusable = |what: &str, source| keeping(admin, host, what.to_owned(), source);
        let file = tempfile::tempfile_in(&admin.options.folder)
            .map_err(|source| unusable("no file can be made there", Some(source)))?;
        let room = fstatvfs(&file).map_err(|source| unusable("its free room is not known", Some(source.into())))?;
        let free = room.f_bavail.saturating_mul(room.f_frsize);
        if free < announced.saturating_add(ROOM_LEFT) {
            let what = format!("{announced} bytes are needed and {free} are free");
            return Err(keeping(admin, host, what, None));
        }
        Ok(Self { file, host, admin, announced, arrived: 0, start: Vec::new() })
    }

    /// Takes in all of it, as many bytes as were announced.
    async fn fill(&mut self, mut response: reqwest::Response, control: &dyn Transfer) -> Result<(), AdminError> {
        let time_out = self.admin.options.silence_time_out;
        let (mut since, mut lately) = (Instant::now(), 0u64);
        while let Some(chunk) = within(self.host, COMMAND, time_out, control, response.chunk()).await? {
            let length = chunk.len() as u64;
            self.arrived = self.arrived.saturating_add(length);
            if self.arrived > self.announced {
                return Err(self.length());
            }
            self.put(&chunk)?;
            control.moved(length);
            lately = lately.saturating_add(length);
            if since.elapsed() >= time_out {
                // A trickle is as good as nothing.
                if lately < self.admin.options.least_bytes {
                    let (host, command) = (self.host.to_owned(), COMMAND.to_owned());
                    let cause = format!("no more than {lately} bytes came in {:.1} s", time_out.as_secs_f64());
                    return Err(AdminError::Lost { host, command, cause });
                }
                (since, lately) = (Instant::now(), 0);
            }
        }
        if self.arrived < self.announced { Err(self.length()) } else { Ok(()) }
    }

    fn put(&mut self, chunk: &[u8]) -> Result<(), AdminError> {
        let missing = START_BYTES.saturating_sub(self.start.len());
        self.start.extend(chunk.iter().take(missing));
        let written = self.file.write_all(chunk);
        written.map_err(|source| keeping(self.admin, self.host, "it cannot be written".to_owned(), Some(source)))
    }

    fn compression(&self) -> Result<Compression, AdminError> {
        Compression::of_start(&self.start).ok_or_else(|| {
            let what = format!("no snapshot: it begins with {:02x?} and not with ZKSN", self.start);
            AdminError::answer(self.host, COMMAND, what)
        })
    }

    fn length(&self) -> AdminError {
        AdminError::Length { host: self.host.to_owned(), announced: self.announced, arrived: self.arrived }
    }
}

fn keeping(admin: &Admin, host: &str, what: String, source: Option<io::Error>) -> AdminError {
    AdminError::Keeping { host: host.to_owned(), folder: admin.options.folder.clone(), what, source }
}
