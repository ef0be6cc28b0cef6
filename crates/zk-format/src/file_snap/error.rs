//! What can be wrong with a snapshot file. Every case is its own variant and says where.

use std::fmt;
use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::jute::JuteError;
use crate::path::{self, PathProblem};

/// A snapshot file that could not be read.
#[derive(Debug, Error)]
#[error("snapshot file {file}: {problem}", file = file.display())]
pub struct SnapError {
    /// The file.
    pub file: PathBuf,
    /// What is wrong with it.
    pub problem: SnapProblem,
}

impl SnapError {
    /// Whether the file merely ends early: a server may still be writing it.
    pub const fn is_unsealed(&self) -> bool {
        self.problem.is_unsealed()
    }
}

/// A part of a snapshot file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Section {
    /// Magic, version and database id.
    Header,
    /// The table of sessions.
    Sessions,
    /// The table of ACL lists.
    Acls,
    /// The nodes.
    Nodes,
    /// The seal after the nodes.
    Seal,
    /// The digest trailer of 3.6 and later, with its seal.
    DigestTrailer,
    /// The last-zxid trailer of 3.9 and later, with its seal.
    LastZxidTrailer,
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Header => "the header",
            Self::Sessions => "the sessions",
            Self::Acls => "the ACL table",
            Self::Nodes => "the nodes",
            Self::Seal => "the seal",
            Self::DigestTrailer => "the digest trailer",
            Self::LastZxidTrailer => "the last-zxid trailer",
        })
    }
}

/// Where a file that is not finished ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UnsealedAt {
    /// Inside a section of the uncompressed file.
    Section(Section),
    /// Inside the compressed stream.
    CompressedStream,
}

impl fmt::Display for UnsealedAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Section(section) => section.fmt(f),
            Self::CompressedStream => f.write_str("the compressed stream"),
        }
    }
}

/// What is wrong with a snapshot file. Offsets count uncompressed bytes from the start of the file.
#[derive(Debug, Error)]
pub enum SnapProblem {
    /// The name says no zxid.
    #[error("not named snapshot.<hex zxid>, optionally .gz or .snappy: the zxid of its tree is unknown")]
    Name,
    /// The operating system could not do it.
    #[error("cannot {action} it")]
    Io {
        /// What was tried.
        action: &'static str,
        /// Its answer.
        #[source]
        source: io::Error,
    },
    /// Other bytes than `ZKSN` at the start.
    #[error("starts with {found:02x?} and not with ZKSN: not a snapshot file")]
    BadMagic {
        /// The first four bytes.
        found: [u8; 4],
    },
    /// No magic, but the layout of a server before 3.0.
    #[error(
        "unsupported: written by ZooKeeper before 3.0, whose files have no magic; let a 3.4 server upgrade it first"
    )]
    BeforeVersion3,
    /// A header version other than 2.
    #[error("unsupported: its header has version {found}, and only version 2 is known")]
    UnknownVersion {
        /// The version.
        found: i32,
    },
    /// The bytes end before the seal: the server is still writing, or the file was cut.
    #[error("not sealed: ends at byte {offset}, inside {inside}; a server still writes it, or it was cut off")]
    Unsealed {
        /// How many bytes there are.
        offset: u64,
        /// What they end in.
        inside: UnsealedAt,
    },
    /// A length or count below 0, or over the limit.
    #[error("damaged in {section}: {jute}")]
    Length {
        /// The section.
        section: Section,
        /// Which length, where.
        jute: JuteError,
    },
    /// The null list, with which no server starts.
    #[error("the ACL table has a null list at byte {offset}")]
    NullAclList {
        /// Where its entry starts.
        offset: u64,
    },
    /// A path that no server makes.
    #[error("node path {path:?} at byte {offset}: {why}", path = path::display(path).to_string())]
    BadPath {
        /// Where the node starts.
        offset: u64,
        /// Its path, at most the first 200 bytes of it.
        path: Vec<u8>,
        /// What is wrong with it.
        #[source]
        why: PathProblem,
    },
    /// The first node is not the root.
    #[error("the first node, at byte {offset}, is not the root")]
    NoRoot {
        /// Where the nodes start.
        offset: u64,
    },
    /// No node before this one is its parent.
    #[error("node {path:?} at byte {offset} comes without or before its parent", path = path::display(path).to_string())]
    NoParent {
        /// Where the node starts.
        offset: u64,
        /// Its path, at most the first 200 bytes of it.
        path: Vec<u8>,
    },
    /// Two nodes with one path.
    #[error("node {path:?} is there twice, the second time at byte {offset}", path = path::display(path).to_string())]
    Duplicate {
        /// Where the second one starts.
        offset: u64,
        /// The path, at most the first 200 bytes of it.
        path: Vec<u8>,
    },
    /// More nodes than can be numbered.
    #[error("has more than 2^31 nodes")]
    TooManyNodes,
    /// The checksum in a seal is not that of the bytes before it.
    #[error(
        "damaged: the checksum after {after} at byte {offset} is {stored:08x} and the bytes before it have {computed:08x}"
    )]
    WrongSeal {
        /// What the seal closes.
        after: Section,
        /// Where the seal starts.
        offset: u64,
        /// The checksum it has.
        stored: i64,
        /// The checksum of what was read.
        computed: u32,
    },
    /// The mark that ends a seal is not there.
    #[error("damaged: the seal after {after} does not end in its mark at byte {offset}")]
    NoSealMark {
        /// What the seal closes.
        after: Section,
        /// Where the mark should be.
        offset: u64,
    },
    /// Bytes after the seal that are no known trailer.
    #[error("{extra} bytes from byte {offset} on are no trailer of any known version")]
    UnknownTrailer {
        /// Where they start.
        offset: u64,
        /// How many there are.
        extra: u64,
    },
    /// The compressed stream is damaged.
    #[error("its {kind} stream is damaged after {offset} uncompressed bytes")]
    Compression {
        /// `gzip` or `snappy`.
        kind: &'static str,
        /// How much came out before.
        offset: u64,
        /// What the decoder says.
        #[source]
        source: io::Error,
    },
    /// Larger than accepted, or larger than its compressed form makes plausible.
    #[error("is larger than the {limit} bytes that are accepted for it; raise the limit if the file is good")]
    TooLarge {
        /// The limit in bytes.
        limit: u64,
    },
}

impl SnapProblem {
    /// See [`SnapError::is_unsealed`].
    pub const fn is_unsealed(&self) -> bool {
        matches!(self, Self::Unsealed { .. })
    }

    /// Names the file.
    pub fn in_file(self, file: impl Into<PathBuf>) -> SnapError {
        SnapError { file: file.into(), problem: self }
    }

    pub(super) const fn unsealed(offset: u64, section: Section) -> Self {
        Self::Unsealed { offset, inside: UnsealedAt::Section(section) }
    }
}
