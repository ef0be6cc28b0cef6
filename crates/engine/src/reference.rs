//! How a person names a snapshot: id, prefix, `latest`, `latest~2`, `@time`, `zxid:0x…`, each with `:/path`.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use zk_format::{Zxid, path};

use crate::error::{EngineError, ErrorKind};

/// A snapshot as somebody wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SnapshotRef {
    /// `latest` and `latest~n`: the n-th before the newest.
    Latest {
        /// Steps back.
        back: usize,
    },
    /// An id or a prefix of at least four hex digits, in lower case.
    Id(String),
    /// `@2026-11-20T10:00Z`: the newest at or before.
    At(Timestamp),
    /// `zxid:0x500000021`: the newest at or before.
    AtZxid(Zxid),
}

/// A snapshot and a place in it: `SNAPSHOT[:/path]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotPath {
    /// Which snapshot.
    pub snapshot: SnapshotRef,
    /// `""` for the root, else an absolute path.
    pub path: String,
}

/// Why an argument names no snapshot.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// None of the forms.
    #[error(
        "{given:?} names no snapshot: write an id or its first four or more digits, latest, latest~2, \
         @2026-11-20T10:00Z or zxid:0x500000021"
    )]
    Form {
        /// The argument.
        given: String,
    },
    /// Hex, but too short to be safe.
    #[error("{given:?} is too short: give at least four digits of the id")]
    Short {
        /// The argument.
        given: String,
    },
    /// The part after `:` is no absolute path.
    #[error("{given:?} is no path: a path begins with / and does not end with it")]
    Path {
        /// The path.
        given: String,
    },
}

impl FromStr for SnapshotRef {
    type Err = ReferenceError;

    fn from_str(given: &str) -> Result<Self, Self::Err> {
        let form = || ReferenceError::Form { given: given.to_owned() };
        if let Some(rest) = given.strip_prefix("latest") {
            let back = match rest.strip_prefix('~') {
                _ if rest.is_empty() => 0,
                Some(count) => count.parse().map_err(|_| form())?,
                None => return Err(form()),
            };
            return Ok(Self::Latest { back });
        }
        if let Some(time) = given.strip_prefix('@') {
            return parse_time(time).map(Self::At).ok_or_else(form);
        }
        if let Some(zxid) = given.strip_prefix("zxid:") {
            return parse_zxid(zxid).map(Self::AtZxid).ok_or_else(form);
        }
        if given.is_empty() || given.len() > 64 || !given.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(form());
        }
        if given.len() < 4 {
            return Err(ReferenceError::Short { given: given.to_owned() });
        }
        Ok(Self::Id(given.to_ascii_lowercase()))
    }
}

/// A moment: RFC 3339, or a date with or without a time, taken as UTC.
pub fn parse_time(given: &str) -> Option<Timestamp> {
    if let Ok(time) = given.parse::<Timestamp>() {
        return Some(time);
    }
    let civil = given.strip_suffix(['Z', 'z']).unwrap_or(given).parse::<DateTime>().ok()?;
    civil.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
}

/// A zxid in hex, with or without `0x`.
pub fn parse_zxid(given: &str) -> Option<Zxid> {
    let digits = given.strip_prefix("0x").or_else(|| given.strip_prefix("0X")).unwrap_or(given);
    i64::from_str_radix(digits, 16).ok().filter(|zxid| *zxid >= 0).map(Zxid)
}

impl FromStr for SnapshotPath {
    type Err = ReferenceError;

    fn from_str(given: &str) -> Result<Self, Self::Err> {
        // Times and zxids hold colons of their own; a path always begins with a slash.
        let (snapshot, path) = given.find(":/").map_or((given, ""), |at| {
            let (snapshot, path) = given.split_at(at);
            (snapshot, path.get(1..).unwrap_or(""))
        });
        let snapshot = snapshot.parse()?;
        if path == "/" || path.is_empty() {
            return Ok(Self { snapshot, path: String::new() });
        }
        if path.ends_with('/') || path.contains("//") {
            return Err(ReferenceError::Path { given: path.to_owned() });
        }
        Ok(Self { snapshot, path: path.to_owned() })
    }
}

/// The path of a node as somebody typed it: `""` and `/` are the root, one slash at the end is forgiven. Whatever a server ever
/// stored can be named, also what today's refuse to create.
pub fn node_path(given: &str) -> Result<Vec<u8>, EngineError> {
    let bytes = given.strip_suffix('/').unwrap_or(given).as_bytes();
    path::validate_stored(bytes)
        .map_err(|error| EngineError::new(ErrorKind::Usage, format!("{given:?} is no path of a znode: {error}")))?;
    Ok(bytes.to_vec())
}

/// What JSON has beside a path that is not text. Bytes that are no path name no node.
pub fn base64_bytes(given: &str) -> Result<Vec<u8>, EngineError> {
    STANDARD.decode(given).map_err(|error| {
        EngineError::new(ErrorKind::Usage, format!("{given:?} is no base64 of the path of a znode: {error}"))
    })
}

impl fmt::Display for SnapshotRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest { back: 0 } => f.write_str("latest"),
            Self::Latest { back } => write!(f, "latest~{back}"),
            Self::Id(id) => f.write_str(id),
            Self::At(time) => write!(f, "@{time}"),
            Self::AtZxid(zxid) => write!(f, "zxid:{zxid}"),
        }
    }
}

impl fmt::Display for SnapshotPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() { self.snapshot.fmt(f) } else { write!(f, "{}:{}", self.snapshot, self.path) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_what_servers_store() {
        let path = |given: &str| node_path(given).ok();
        assert_eq!((path(""), path("/"), path("/a/")), (Some(vec![]), Some(vec![]), Some(b"/a".to_vec())));
        assert_eq!(path("/\u{e000}").as_deref(), Some("/\u{e000}".as_bytes()));
        for wrong in ["a", "//", "/a//b", "/a/../b", "/.", "/a\0", "/\u{1}"] {
            assert_eq!(node_path(wrong).unwrap_err().kind, ErrorKind::Usage, "{wrong:?}");
        }
        assert_eq!(base64_bytes("L2H/").ok(), Some(b"/a\xff".to_vec()));
        assert!(base64_bytes("%").is_err());
    }

    #[test]
    fn every_form_reads_back() {
        for given in
            ["latest", "latest~2", "abcd", "0123456789abcdef", "zxid:0x500000021", "latest:/a/b", "zxid:0x5:/x"]
        {
            assert_eq!(given.parse::<SnapshotPath>().unwrap().to_string(), given);
        }
        let at: SnapshotPath = "@2026-11-20T10:00Z:/brokers".parse().unwrap();
        assert_eq!(at.snapshot, SnapshotRef::At("2026-11-20T10:00:00Z".parse().unwrap()));
        assert_eq!(at.path, "/brokers");
        assert_eq!(
            "@2026-11-20".parse::<SnapshotRef>().unwrap(),
            SnapshotRef::At("2026-11-20T00:00:00Z".parse().unwrap())
        );
    }

    #[test]
    fn what_is_no_reference_is_refused() {
        for given in ["", "latest~", "latest2", "xyz", "@yesterday", "zxid:zz", "latest:/a/", "latest:/a//b"] {
            assert!(given.parse::<SnapshotPath>().is_err(), "{given}");
        }
        assert!(matches!("abc".parse::<SnapshotRef>(), Err(ReferenceError::Short { .. })));
    }
}
