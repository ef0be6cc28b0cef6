//! Watches that fire once, as every version has them: which are set, so that a new connection can set them again.
//!
//! A watch is written down before the request that sets it is sent and crossed out when an event tells of it. One that
//! was written down and not set, as its request failed, does no harm: after a reconnect it tells at most once too often.

use std::collections::BTreeSet;

use super::frame::Request;
use super::wire::{EventKind, WatchEvent, op};

/// Bytes of paths in a frame: the official client takes as many, well below any `jute.maxbuffer` in use.
const FRAME_BYTES: usize = 128 << 10;
/// Bytes of a path in a frame besides its own.
const LENGTH_BYTES: usize = 4;

/// What a watch is for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum WatchKind {
    /// Its data is set, or it is deleted (`getData`, or `exists` of a node that is there).
    Data,
    /// It is created (`exists` of a node that is not there).
    Exists,
    /// A child comes or goes, or it is deleted (`getChildren`).
    Children,
}

/// The watches of one client, by the paths that the server has.
#[derive(Debug, Default)]
pub struct Once {
    set: BTreeSet<(WatchKind, Vec<u8>)>,
}

impl Once {
    /// Writes a watch down.
    pub fn add(&mut self, kind: WatchKind, path: &[u8]) {
        self.set.insert((kind, path.to_vec()));
    }

    /// Crosses one out.
    pub fn remove(&mut self, kind: WatchKind, path: &[u8]) {
        self.set.remove(&(kind, path.to_vec()));
    }

    /// Whether one is written down.
    pub fn holds(&self, kind: WatchKind, path: &[u8]) -> bool {
        self.set.contains(&(kind, path.to_vec()))
    }

    /// Crosses out what an event says has fired.
    pub fn fired(&mut self, event: &WatchEvent) {
        let kinds: &[WatchKind] = match event.kind {
            EventKind::DataChanged | EventKind::Created => &[WatchKind::Data, WatchKind::Exists],
            EventKind::ChildrenChanged => &[WatchKind::Children],
            EventKind::Deleted => &[WatchKind::Data, WatchKind::Exists, WatchKind::Children],
            EventKind::Session | EventKind::Other(_) => &[],
        };
        if !self.set.is_empty() {
            for kind in kinds {
                self.remove(*kind, &event.path);
            }
        }
    }

    /// Every watch, in portions that fit into a frame each.
    pub fn portions(&self) -> Vec<Vec<(WatchKind, Vec<u8>)>> {
        let mut portions = Vec::new();
        let (mut portion, mut bytes) = (Vec::new(), 0_usize);
        for (kind, path) in &self.set {
            let size = path.len().saturating_add(LENGTH_BYTES);
            if bytes.saturating_add(size) > FRAME_BYTES && !portion.is_empty() {
                portions.push(std::mem::take(&mut portion));
                bytes = 0;
            }
            bytes = bytes.saturating_add(size);
            portion.push((*kind, path.clone()));
        }
        portions.extend(Some(portion).filter(|portion| !portion.is_empty()));
        portions
    }
}

/// Paths under persistent watches, plain and recursive.
pub type Lasting<'a> = (&'a [Vec<u8>], &'a [Vec<u8>]);

/// The request that sets watches again: the server fires at once those of what changed after `last_zxid`. `lasting` are
/// known to 3.6 and later only (`setWatches2`).
pub fn set_again(last_zxid: i64, portion: &[(WatchKind, Vec<u8>)], lasting: Option<Lasting<'_>>) -> Request {
    let mut request = Request::new(if lasting.is_some() { op::SET_WATCHES2 } else { op::SET_WATCHES });
    let body = request.body();
    body.i64(last_zxid);
    for kind in [WatchKind::Data, WatchKind::Exists, WatchKind::Children] {
        let paths = || portion.iter().filter(|(of, _)| *of == kind);
        body.vector(Some(paths().count()));
        paths().for_each(|(_, path)| {
            body.ustring(Some(path));
        });
    }
    for paths in lasting.into_iter().flat_map(|(plain, recursive)| [plain, recursive]) {
        body.vector(Some(paths.len()));
        for path in paths {
            body.ustring(Some(path));
        }
    }
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: EventKind, path: &[u8]) -> WatchEvent {
        WatchEvent { kind, path: path.to_vec() }
    }

    #[test]
    fn what_fired_is_set_no_more() {
        let all = [WatchKind::Data, WatchKind::Exists, WatchKind::Children];
        for (kind, left) in [
            (EventKind::DataChanged, &[WatchKind::Children][..]),
            (EventKind::Created, &[WatchKind::Children]),
            (EventKind::ChildrenChanged, &[WatchKind::Data, WatchKind::Exists]),
            (EventKind::Deleted, &[]),
            (EventKind::Session, &all),
        ] {
            let mut once = Once::default();
            for kind in all {
                once.add(kind, b"/a");
            }
            once.add(WatchKind::Data, b"/b");
            once.fired(&event(kind, b"/a"));
            let found: Vec<WatchKind> =
                once.set.iter().filter(|(_, path)| path == b"/a").map(|(kind, _)| *kind).collect();
            assert_eq!((found.as_slice(), once.set.len()), (left, left.len() + 1), "{kind:?}");
        }
    }

    #[test]
    fn frames_are_bounded_and_every_watch_is_in_one() {
        let mut once = Once::default();
        for number in 0..10_000 {
            let path = format!("/some/node/with/a/longer/name/{number}");
            once.add(if number % 2 == 0 { WatchKind::Data } else { WatchKind::Children }, path.as_bytes());
        }
        once.add(WatchKind::Exists, &vec![b'x'; 300 << 10]);
        let portions = once.portions();
        let sent: BTreeSet<(WatchKind, Vec<u8>)> = portions.iter().flatten().cloned().collect();
        assert_eq!((sent, portions.iter().map(Vec::len).sum::<usize>()), (once.set.clone(), once.set.len()));
        for portion in &portions {
            let bytes = set_again(7, portion, None).len();
            assert!(bytes <= FRAME_BYTES + 64 || portion.len() == 1, "{bytes}");
        }
        assert!(portions.len() > 4 && Once::default().portions().is_empty());
    }

    #[test]
    fn the_opcode_is_the_one_that_the_server_needs() {
        let portion = [(WatchKind::Data, b"/d".to_vec()), (WatchKind::Children, b"/c".to_vec())];
        let frame = set_again(0x0102, &portion, None).into_frame(-8);
        let body = b"\0\0\0\0\0\0\x01\x02\0\0\0\x01\0\0\0\x02/d\0\0\0\0\0\0\0\x01\0\0\0\x02/c";
        assert_eq!(frame[4..], [&b"\xff\xff\xff\xf8\0\0\0\x65"[..], body].concat());
        let frame = set_again(0x0102, &portion, Some((&[], &[b"/".to_vec()]))).into_frame(-8);
        let lasting = b"\0\0\0\0\0\0\0\x01\0\0\0\x01/";
        assert_eq!(frame[4..], [&b"\xff\xff\xff\xf8\0\0\0\x69"[..], body, lasting].concat());
    }
}
