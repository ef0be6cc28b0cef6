//! Walks the sections of a snapshot file from header to end mark, over however much of the file is there.
//!
//! The file is read by one thread while another walks what has arrived ([`Walker::resume`]), so the walker keeps its
//! place and starts an item over when the bytes ended inside it. It touches each node once: checks its lengths and
//! name, adds it to the checksum and the digest, finds its parent, and keeps 16 bytes about it.
//!
//! Servers write depth first, so the parent of a node is nearly always the last node one level up; nodes whose
//! parent is not are put in a group of their own whose parent is found after the sort ([`NO_NODE`]).

#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::collections::{BTreeMap, HashMap};

use simd_adler32::Adler32;

use super::entry::{Entry, STAT_BYTES, entry_path};
use super::{END_MARK, MAGIC, ReadLimits, Section, Session, SnapProblem, VERSION, WORLD_ACL_ID};
use crate::digest::RunningDigest;
use crate::jute::{JuteError, Reader};
use crate::path::{self, PathProblem};
use crate::types::AclList;

/// No node, no group, no ACL list.
pub(crate) const NO_NODE: u32 = u32::MAX;
const HEADER_BYTES: usize = 16;

/// Nodes with one parent, all of them unless another group has the same parent path.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Group {
    /// Index of the parent in file order, or [`NO_NODE`] where it is still to be found.
    pub parent: u32,
    /// Index of the first of them.
    pub first: u32,
    /// How many they are.
    pub count: u32,
}

/// Whether a walk is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Progress {
    /// More bytes are needed.
    More,
    /// The nodes are over; the first seal starts at this offset.
    End(usize),
}

#[derive(Clone, Copy, Debug)]
enum State {
    Header,
    SessionCount,
    Sessions(u32),
    AclCount,
    Acls(u32),
    Nodes,
    Done,
}

/// The last node seen at a depth, and the group it is in.
#[derive(Clone, Copy, Debug)]
struct Frame {
    node: u32,
    group: u32,
}

/// See the module's head.
pub(crate) struct Walker {
    limits: ReadLimits,
    state: State,
    position: usize,
    frames: Vec<Frame>,
    acl_ids: HashMap<i64, u32>,
    interned: HashMap<AclList, u32>,
    last_acl: (i64, u32),
    digest: RunningDigest,
    /// Of everything before the walker's place.
    pub adler: Adler32,
    pub sessions: Vec<Session>,
    /// Distinct lists; the first is `world:anyone`.
    pub acls: Vec<AclList>,
    /// In file order.
    pub entries: Vec<Entry>,
    /// The group of each entry; the root's is [`NO_NODE`].
    pub group_of: Vec<u32>,
    pub groups: Vec<Group>,
    /// ACL ids that the table lacks, with how many nodes name them.
    pub unresolved: BTreeMap<i64, u32>,
}

impl Walker {
    pub(crate) fn new(limits: ReadLimits) -> Self {
        let world = AclList::world();
        Self {
            limits,
            state: State::Header,
            position: 0,
            frames: Vec::new(),
            acl_ids: HashMap::from([(WORLD_ACL_ID, 0)]),
            interned: HashMap::from([(world.clone(), 0)]),
            last_acl: (WORLD_ACL_ID, 0),
            digest: RunningDigest::default(),
            adler: Adler32::new(),
            sessions: Vec::new(),
            acls: vec![world],
            entries: Vec::new(),
            group_of: Vec::new(),
            groups: Vec::new(),
            unresolved: BTreeMap::new(),
        }
    }

    /// The digest of the nodes so far.
    pub(crate) const fn digest(&self) -> i64 {
        self.digest.sum()
    }

    /// Walks on over `file`, which starts with all bytes given before. `whole` says that no more will come.
    pub(crate) fn resume(&mut self, file: &[u8], whole: bool) -> Result<Progress, SnapProblem> {
        let start = self.position;
        let result = self.walk(file, whole);
        self.adler.write(file.get(start..self.position).unwrap_or_default());
        result
    }

    fn walk(&mut self, file: &[u8], whole: bool) -> Result<Progress, SnapProblem> {
        loop {
            if matches!(self.state, State::Done) {
                return Ok(Progress::End(self.position));
            }
            let section = self.section();
            let mut reader = Reader::at(file.get(self.position..).unwrap_or_default(), self.position as u64);
            match self.item(file, &mut reader) {
                Ok(()) => {
                    self.position = usize::try_from(reader.position()).unwrap_or(usize::MAX);
                }
                Err(Fault::Jute(JuteError::Truncated { .. })) if !whole => return Ok(Progress::More),
                Err(Fault::Jute(JuteError::Truncated { .. })) => {
                    return Err(SnapProblem::unsealed(file.len() as u64, section));
                }
                Err(Fault::Jute(jute)) => return Err(SnapProblem::Length { section, jute }),
                Err(Fault::Problem(problem)) => return Err(problem),
            }
        }
    }

    const fn section(&self) -> Section {
        match self.state {
            State::Header => Section::Header,
            State::SessionCount | State::Sessions(_) => Section::Sessions,
            State::AclCount | State::Acls(_) => Section::Acls,
            State::Nodes | State::Done => Section::Nodes,
        }
    }

    /// Takes one item. Nothing is kept of one that the bytes end in.
    #[inline]
    fn item<'a>(&mut self, file: &'a [u8], reader: &mut Reader<'a>) -> Result<(), Fault> {
        match self.state {
            State::Nodes => return self.node(file, reader),
            State::Header => {
                check_header(reader)?;
                self.state = State::SessionCount;
            }
            State::SessionCount => self.state = State::Sessions(count(reader)?),
            State::Sessions(0) => self.state = State::AclCount,
            State::Sessions(left) => {
                self.sessions.push(Session { id: reader.i64()?, timeout_ms: reader.i32()? });
                self.state = State::Sessions(left.saturating_sub(1));
            }
            State::AclCount => self.state = State::Acls(count(reader)?),
            State::Acls(0) => self.state = State::Nodes,
            State::Acls(left) => {
                self.acl(reader)?;
                self.state = State::Acls(left.saturating_sub(1));
            }
            State::Done => {}
        }
        Ok(())
    }

    fn acl(&mut self, reader: &mut Reader<'_>) -> Result<(), Fault> {
        let offset = reader.position();
        let id = reader.i64()?;
        let list = AclList::read(reader)?;
        if list.is_null() {
            return Err(Fault::Problem(SnapProblem::NullAclList { offset }));
        }
        if id == WORLD_ACL_ID {
            // The server answers this id without looking at its table.
            return Ok(());
        }
        let next = small(self.acls.len())?;
        let index = *self.interned.entry(list).or_insert_with_key(|list| {
            self.acls.push(list.clone());
            next
        });
        self.acl_ids.insert(id, index);
        Ok(())
    }

    #[inline]
    fn node<'a>(&mut self, file: &'a [u8], reader: &mut Reader<'a>) -> Result<(), Fault> {
        if reader.rest().starts_with(&END_MARK) {
            reader.take(END_MARK.len())?;
            if self.entries.is_empty() {
                return Err(Fault::Problem(SnapProblem::NoRoot { offset: self.position as u64 }));
            }
            self.state = State::Done;
            return Ok(());
        }
        let offset = reader.position();
        let Some(path) = reader.buffer_up_to(self.limits.path_bytes)? else {
            return Err(bad_path(offset, b"", PathProblem::Null));
        };
        let data = reader.buffer_up_to(self.limits.data_bytes)?;
        let acl_id = reader.i64()?;
        let stat = reader.array::<STAT_BYTES>()?;

        let index = small(self.entries.len())?;
        let group = self.place(file, offset, path, index)?;
        let acl = self.acl_index(acl_id);
        self.digest.add(path, data, stat);
        self.entries.push(Entry::new(offset, acl, small(path.len())?, is_ephemeral(stat)));
        self.group_of.push(group);
        Ok(())
    }

    /// Finds the group of the node that comes next, and makes it the last of its depth.
    #[inline]
    fn place(&mut self, file: &[u8], offset: u64, path: &[u8], index: u32) -> Result<u32, Fault> {
        let Some(slash) = path.iter().rposition(|&byte| byte == b'/') else {
            if !path.is_empty() {
                return Err(bad_path(offset, path, PathProblem::Relative));
            }
            if index != 0 {
                return Err(Fault::Problem(SnapProblem::Duplicate { offset, path: Vec::new() }));
            }
            self.frames.push(Frame { node: 0, group: NO_NODE });
            return Ok(NO_NODE);
        };
        if index == 0 {
            return Err(Fault::Problem(SnapProblem::NoRoot { offset }));
        }
        let (parent, name) = path.split_at_checked(slash).unwrap_or_default();
        let name = name.get(1..).unwrap_or_default();
        path::validate_stored_name(name).map_err(|why| bad_path(offset, path, why))?;

        let depth = depth(path);
        let sibling = self.frames.get(depth).copied();
        let group = match sibling {
            Some(frame) if is_child_of(self.path_of(file, frame.node), parent) => {
                if let Some(group) = self.groups.get_mut(frame.group as usize) {
                    group.count = group.count.saturating_add(1);
                }
                frame.group
            }
            _ => {
                let above = self.frames.get(depth.saturating_sub(1)).map_or(NO_NODE, |frame| frame.node);
                let found = above != NO_NODE && self.path_of(file, above) == parent;
                let group = small(self.groups.len())?;
                self.groups.push(Group { parent: if found { above } else { NO_NODE }, first: index, count: 1 });
                group
            }
        };
        if depth >= self.frames.len() {
            self.frames.resize(depth.saturating_add(1), Frame { node: NO_NODE, group: NO_NODE });
        }
        if let Some(frame) = self.frames.get_mut(depth) {
            *frame = Frame { node: index, group };
        }
        Ok(group)
    }

    fn path_of<'a>(&self, file: &'a [u8], node: u32) -> &'a [u8] {
        self.entries.get(node as usize).map_or(b"", |&entry| entry_path(file, entry))
    }

    #[inline]
    fn acl_index(&mut self, id: i64) -> u32 {
        if self.last_acl.0 == id && self.last_acl.1 != NO_NODE {
            return self.last_acl.1;
        }
        let index = self.acl_ids.get(&id).copied().unwrap_or(NO_NODE);
        if index == NO_NODE {
            let nodes = self.unresolved.entry(id).or_default();
            *nodes = nodes.saturating_add(1);
        }
        self.last_acl = (id, index);
        index
    }
}

enum Fault {
    Jute(JuteError),
    Problem(SnapProblem),
}

impl From<JuteError> for Fault {
    fn from(error: JuteError) -> Self {
        Self::Jute(error)
    }
}

#[cold]
fn bad_path(offset: u64, path: &[u8], why: PathProblem) -> Fault {
    Fault::Problem(SnapProblem::BadPath { offset, path: shortened(path), why })
}

/// As much of a path as an error shows.
pub(crate) fn shortened(path: &[u8]) -> Vec<u8> {
    path.get(..path.len().min(200)).unwrap_or_default().to_vec()
}

/// Whether `path` is a name and a slash longer than `parent`.
#[inline]
fn is_child_of(path: &[u8], parent: &[u8]) -> bool {
    path.strip_prefix(parent).and_then(|rest| rest.strip_prefix(b"/")).is_some_and(|name| !name.contains(&b'/'))
}

#[expect(clippy::naive_bytecount, reason = "paths are short, and the compiler vectorises this")]
fn depth(path: &[u8]) -> usize {
    path.iter().filter(|&&byte| byte == b'/').count()
}

fn is_ephemeral(stat: &[u8; STAT_BYTES]) -> bool {
    let owner = stat.get(44..52).and_then(|bytes| <[u8; 8]>::try_from(bytes).ok()).map_or(0, i64::from_be_bytes);
    owner != 0 && crate::types::OwnerKind::of(owner).is_ephemeral()
}

fn small(count: usize) -> Result<u32, Fault> {
    match u32::try_from(count) {
        Ok(count) if count <= Entry::MAX_PATH_LEN => Ok(count),
        _ => Err(Fault::Problem(SnapProblem::TooManyNodes)),
    }
}

/// A count of items. How many there are shows while they are read: a file still being written has a count first.
fn count(reader: &mut Reader<'_>) -> Result<u32, JuteError> {
    let offset = reader.position();
    let length = reader.i32()?;
    u32::try_from(length).map_err(|_| JuteError::BadLength { offset, length })
}

fn check_header(reader: &mut Reader<'_>) -> Result<(), Fault> {
    let start = reader.rest();
    let header = reader.array::<HEADER_BYTES>();
    let found = start.first_chunk::<4>().copied().unwrap_or(MAGIC);
    if found != MAGIC {
        let problem =
            if is_before_version_3(start) { SnapProblem::BeforeVersion3 } else { SnapProblem::BadMagic { found } };
        return Err(Fault::Problem(problem));
    }
    let mut fields = Reader::new(header?);
    fields.i32()?;
    let version = fields.i32()?;
    if version != VERSION {
        return Err(Fault::Problem(SnapProblem::UnknownVersion { found: version }));
    }
    Ok(())
}

/// Files before 3.0 start with the count of sessions, then the sessions, then the root's path: the empty string.
fn is_before_version_3(start: &[u8]) -> bool {
    let mut reader = Reader::new(start);
    let Ok(Some(sessions)) = reader.vector(12) else { return false };
    reader.take(sessions.saturating_mul(12)).is_ok() && reader.i32() == Ok(0)
}
