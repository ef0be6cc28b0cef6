//! Znode paths: what the server accepts (`PathUtils.validatePath`), which nodes it keeps for itself, and how a path
//! of bytes is shown and read back.
//!
//! Inside the library the root is the empty string, as in the server's files; people see and type `/`.

#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::fmt;

use thiserror::Error;

/// The root's path.
pub const ROOT: &[u8] = b"";
/// The server's own subtree.
pub const ZOOKEEPER: &[u8] = b"/zookeeper";
/// Holds quota limits and their counters.
pub const QUOTA: &[u8] = b"/zookeeper/quota";
/// Holds the ensemble's configuration (3.5 and later); the server overwrites it when it starts.
pub const CONFIG: &[u8] = b"/zookeeper/config";
/// Name of the node below [`QUOTA`] that the server keeps counting in, without transactions.
pub const QUOTA_STATS: &[u8] = b"zookeeper_stats";

/// What is wrong with a path.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum PathProblem {
    /// It is the null string.
    #[error("it is null")]
    Null,
    /// It does not start with `/`.
    #[error("it does not start with /")]
    Relative,
    /// Two slashes in a row, or one at the end.
    #[error("it has an empty name")]
    EmptyName,
    /// A name `.` or `..`.
    #[error("it has . or .. for a name")]
    Dots,
    /// A character that the server refuses, at this byte of the path.
    #[error("the server allows no such character as at its byte {0}")]
    Character(usize),
}

/// Whether the path is `/zookeeper` or below it.
pub fn is_reserved(path: &[u8]) -> bool {
    is_within(path, ZOOKEEPER)
}

/// Whether a path is `root` or below it; `""` is the root of all.
pub fn is_within(path: &[u8], root: &[u8]) -> bool {
    path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

/// Whether the server changes this node without a transaction that says so: the configuration, rewritten at every
/// start, and the counters beside quota limits.
pub fn is_volatile(path: &[u8]) -> bool {
    path == CONFIG || path.strip_prefix(QUOTA).and_then(crate::key::split).is_some_and(|(_, name)| name == QUOTA_STATS)
}

/// Checks a path as a server does before it creates a node. The root is `""` here.
///
/// Strict as 3.9 is: U+0001–U+001F, U+007F–U+009F, surrogates and the private use area up to U+F8FF, and
/// U+FFF0–U+FFFF are refused. Bytes that are not UTF-8 are refused too, since the server would read other characters.
pub fn validate(path: &[u8]) -> Result<(), PathProblem> {
    if path.is_empty() {
        return Ok(());
    }
    let Some(names) = path.strip_prefix(b"/") else { return Err(PathProblem::Relative) };
    names.split(|&byte| byte == b'/').try_for_each(validate_shape)?;
    let text = match std::str::from_utf8(path) {
        Ok(text) => text,
        Err(error) => return Err(PathProblem::Character(error.valid_up_to())),
    };
    let refused = |(_, c): &(usize, char)| matches!(c, '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{e000}'..='\u{f8ff}' | '\u{fff0}'..);
    match text.char_indices().find(refused) {
        None => Ok(()),
        Some((at, _)) => Err(PathProblem::Character(at)),
    }
}

/// Least byte of a stored name.
const LEAST: u8 = 0x1f;

/// Checks one name as it may stand in a file: what any version lets a client create, and no more than the order of
/// nodes needs. A server that loads a file checks nothing, so neither characters nor encoding are judged here.
pub fn validate_stored_name(name: &[u8]) -> Result<(), PathProblem> {
    validate_shape(name)?;
    // Versions before 3.5 let U+001F through.
    match name.iter().position(|&byte| byte < LEAST) {
        None => Ok(()),
        Some(at) => Err(PathProblem::Character(at)),
    }
}

/// Whether a name is surely one that may stand in a file ([`validate_stored_name`]): no `/` and no byte that would have
/// to be looked at more closely. Eight bytes at a time, for it is asked of every node.
pub(crate) fn is_plain(name: &[u8]) -> bool {
    const EACH: u64 = u64::from_ne_bytes([1; 8]);
    const TOP: u64 = EACH << 7;
    // The top bits of bytes that are below a bound up to 0x80; above the lowest such byte they may be of others, too.
    let below = |word: u64, bound: u8| word.wrapping_sub(EACH * u64::from(bound)) & !word & TOP;
    let odd = |bytes: &[u8; 8]| {
        let word = u64::from_ne_bytes(*bytes);
        below(word, LEAST) | below(word ^ (EACH * u64::from(b'/')), 1)
    };
    let mut found = name.as_chunks::<8>().0.iter().fold(0, |found, bytes| found | odd(bytes));
    if let Some(last) = name.last_chunk::<8>() {
        found |= odd(last);
    } else {
        let mut padded = [b' '; 8];
        padded.iter_mut().zip(name).for_each(|(to, from)| *to = *from);
        found |= odd(&padded);
    }
    found == 0 && validate_shape(name).is_ok()
}

/// Checks a whole path as it may stand in a file or log: see [`validate_stored_name`].
pub fn validate_stored(path: &[u8]) -> Result<(), PathProblem> {
    if path.is_empty() {
        return Ok(());
    }
    let Some(names) = path.strip_prefix(b"/") else { return Err(PathProblem::Relative) };
    names.split(|&byte| byte == b'/').try_for_each(validate_stored_name)
}

fn validate_shape(name: &[u8]) -> Result<(), PathProblem> {
    match name {
        b"" => Err(PathProblem::EmptyName),
        b"." | b".." => Err(PathProblem::Dots),
        _ => Ok(()),
    }
}

/// Reads a path that a person typed: `/` is the root, one slash at the end is forgiven.
pub fn parse(text: &str) -> Result<Vec<u8>, PathProblem> {
    let trimmed = text.strip_suffix('/').unwrap_or(text);
    if trimmed.is_empty() && text.is_empty() {
        return Err(PathProblem::Relative);
    }
    validate(trimmed.as_bytes())?;
    Ok(trimmed.as_bytes().to_vec())
}

/// A path as people read it: the root as `/`, CESU-8 surrogate pairs joined, control characters and stray bytes escaped.
pub const fn display(path: &[u8]) -> DisplayPath<'_> {
    DisplayPath(path)
}

/// See [`display`].
#[derive(Clone, Copy, Debug)]
pub struct DisplayPath<'a>(&'a [u8]);

impl fmt::Display for DisplayPath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("/");
        }
        write_lossy(self.0, f)
    }
}

fn write_lossy(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    use fmt::Write as _;
    let mut rest = bytes;
    while !rest.is_empty() {
        let (text, after) = valid_prefix(rest);
        for c in text.chars() {
            if c.is_control() { write!(f, "{}", c.escape_unicode())? } else { f.write_char(c)? }
        }
        rest = if let Some((pair, after)) = surrogate_pair(after) {
            f.write_char(pair)?;
            after
        } else if let Some((byte, after)) = after.split_first() {
            write!(f, "\\x{byte:02x}")?;
            after
        } else {
            after
        };
    }
    Ok(())
}

fn valid_prefix(bytes: &[u8]) -> (&str, &[u8]) {
    let end = std::str::from_utf8(bytes).map_or_else(|error| error.valid_up_to(), str::len);
    let (head, rest) = bytes.split_at_checked(end).unwrap_or((bytes, &[]));
    (std::str::from_utf8(head).unwrap_or_default(), rest)
}

/// Decodes the six bytes that Java writes for one character beyond U+FFFF, if `bytes` starts with them.
pub fn surrogate_pair(bytes: &[u8]) -> Option<(char, &[u8])> {
    let (&[0xed, h1 @ 0xa0..=0xaf, h2 @ 0x80..=0xbf, 0xed, l1 @ 0xb0..=0xbf, l2 @ 0x80..=0xbf], rest) =
        bytes.split_first_chunk::<6>()?
    else {
        return None;
    };
    let bits = |first: u8, second: u8, mask: u8| (u32::from(first & mask) << 6) | u32::from(second & 0x3f);
    let code = 0x1_0000_u32.checked_add((bits(h1, h2, 0x0f) << 10) | bits(l1, l2, 0x0f))?;
    Some((char::from_u32(code)?, rest))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[test]
    fn plain_names_are_those_without_a_slash_that_files_may_have() {
        for len in 0..20 {
            for at in 0..len.max(1) {
                for byte in 0..=u8::MAX {
                    for around in [b'a', 0x80, 0xff] {
                        let mut name = vec![around; len];
                        name.iter_mut().skip(at).take(1).for_each(|place| *place = byte);
                        let expected = validate_stored_name(&name).is_ok() && !name.contains(&b'/');
                        assert_eq!(is_plain(&name), expected, "{name:?}");
                    }
                }
            }
        }
        assert!(!is_plain(b".") && !is_plain(b"..") && is_plain(b"..."));
    }

    #[rstest]
    #[case(b"", Ok(()))]
    #[case(b"/a/b c/\xc3\xa9", Ok(()))]
    #[case(b"/...", Ok(()))]
    #[case(b"a", Err(PathProblem::Relative))]
    #[case(b"/", Err(PathProblem::EmptyName))]
    #[case(b"/a/", Err(PathProblem::EmptyName))]
    #[case(b"/a//b", Err(PathProblem::EmptyName))]
    #[case(b"/a/./b", Err(PathProblem::Dots))]
    #[case(b"/a/..", Err(PathProblem::Dots))]
    #[case(b"/a\0", Err(PathProblem::Character(2)))]
    #[case(b"/\x1f", Err(PathProblem::Character(1)))]
    #[case(b"/\xc2\x9f", Err(PathProblem::Character(1)))]
    #[case(b"/\xee\x80\x80", Err(PathProblem::Character(1)))]
    #[case(b"/\xf0\x9f\x98\x80", Err(PathProblem::Character(1)))]
    #[case(b"/\xed\xa0\xbd\xed\xb8\x80", Err(PathProblem::Character(1)))]
    fn paths_are_judged_as_the_server_does(#[case] path: &[u8], #[case] expected: Result<(), PathProblem>) {
        assert_eq!(validate(path), expected);
    }

    #[test]
    fn stored_paths_may_hold_what_older_versions_let_through() {
        assert_eq!(validate_stored(b"/\x1f\x7f/\xff"), Ok(()));
        assert_eq!(validate_stored(b"/a\x01"), Err(PathProblem::Character(1)));
        assert_eq!(validate_stored(b"/a/../b"), Err(PathProblem::Dots));
    }

    #[test]
    fn typed_and_shown() {
        assert_eq!(parse("/").as_deref(), Ok(ROOT));
        assert_eq!(parse("/a/").as_deref(), Ok(&b"/a"[..]));
        assert_eq!(parse(""), Err(PathProblem::Relative));
        assert_eq!(display(b"").to_string(), "/");
        assert_eq!(display(b"/\xed\xa0\xbd\xed\xb8\x80\xffz").to_string(), "/\u{1f600}\\xffz");
        assert_eq!(display(b"/\x1b[2J\xed\xa0\xbd").to_string(), "/\\u{1b}[2J\\xed\\xa0\\xbd");
    }

    #[test]
    fn reserved_and_volatile_nodes() {
        assert!(is_reserved(b"/zookeeper") && is_reserved(QUOTA) && !is_reserved(b"/zookeepers"));
        assert!(is_volatile(CONFIG) && is_volatile(b"/zookeeper/quota/a/zookeeper_stats"));
        assert!(!is_volatile(b"/zookeeper/quota/a/zookeeper_limits") && !is_volatile(b"/a/zookeeper_stats"));
    }
}
