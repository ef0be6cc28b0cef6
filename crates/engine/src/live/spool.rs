//! Nodes in the order of their keys, however many there are: sorted on disk, merged while they are read.
//!
//! The file has no name, so that nobody else opens it and it goes with the process; it holds what the ensemble holds,
//! in the clear, and lies where `TMPDIR` says. An entry is its length and then, as jute writes them, key, stat, ACL and
//! data. Runs of entries lie one behind the other, each sorted.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use zk_connect::live::scan::Sink;
use zk_format::jute::{JuteError, Reader, Writer};
use zk_format::{AclList, Node, NodeRef, Stat, Zxid, key};

/// Bytes of entries that are sorted at a time.
const SORT_BYTES: usize = 16 << 20;
/// Bytes of a run that are read at a time.
const READ_BYTES: usize = 64 << 10;
const LENGTH_BYTES: usize = 4;

/// Nodes being written down.
#[derive(Debug)]
pub struct Spool {
    file: Arc<File>,
    waiting: Writer,
    /// Where each waiting entry begins.
    starts: Vec<usize>,
    /// Where each run begins and ends.
    runs: Vec<(u64, u64)>,
    sort_bytes: usize,
}

impl Spool {
    /// Nothing written yet.
    pub fn new() -> io::Result<Self> {
        Self::sorting(SORT_BYTES)
    }

    fn sorting(sort_bytes: usize) -> io::Result<Self> {
        let file = Arc::new(tempfile::tempfile()?);
        Ok(Self { file, waiting: Writer::new(), starts: Vec::new(), runs: Vec::new(), sort_bytes })
    }

    /// Writes what waits as a run.
    fn write_run(&mut self) -> io::Result<()> {
        if self.starts.is_empty() {
            return Ok(());
        }
        let bytes = self.waiting.bytes();
        // A node that was read twice: the later one comes later.
        self.starts.sort_by(|a, b| key_of(bytes, *a).cmp(key_of(bytes, *b)));
        let begin = self.runs.last().map_or(0, |(_, end)| *end);
        let mut end = begin;
        let mut block = Vec::with_capacity(READ_BYTES * 2);
        for start in &self.starts {
            block.extend_from_slice(entry_at(bytes, *start));
            if block.len() >= READ_BYTES {
                self.file.write_all_at(&block, end)?;
                end += block.len() as u64;
                block.clear();
            }
        }
        self.file.write_all_at(&block, end)?;
        end += block.len() as u64;
        self.runs.push((begin, end));
        self.starts.clear();
        self.waiting.clear();
        Ok(())
    }

    /// The nodes, to be read as often as wished.
    pub fn finish(mut self) -> io::Result<Sorted> {
        self.write_run()?;
        Ok(Sorted { file: self.file, runs: self.runs })
    }
}

/// An entry with its length.
fn entry_at(bytes: &[u8], start: usize) -> &[u8] {
    let rest = bytes.get(start..).unwrap_or_default();
    let length = rest.first_chunk::<LENGTH_BYTES>().map_or(0, |length| u32::from_be_bytes(*length) as usize);
    rest.get(..LENGTH_BYTES + length).unwrap_or_default()
}

fn key_of(bytes: &[u8], start: usize) -> &[u8] {
    let entry = entry_at(bytes, start).get(LENGTH_BYTES..).unwrap_or_default();
    Reader::new(entry).buffer().ok().flatten().unwrap_or_default()
}

impl Sink for Spool {
    fn node(&mut self, node: &NodeRef<'_>) -> io::Result<()> {
        let start = self.waiting.bytes().len();
        let entry = encode(node)?;
        self.waiting.raw(&entry);
        self.starts.push(start);
        if self.waiting.bytes().len() >= self.sort_bytes { self.write_run() } else { Ok(()) }
    }

    fn clear(&mut self) {
        self.waiting.clear();
        self.starts.clear();
        self.runs.clear();
    }
}

fn encode(node: &NodeRef<'_>) -> io::Result<Vec<u8>> {
    let mut entry = Writer::new();
    entry.i32(0).buffer(Some(&key::encode(node.path)));
    write_stat(&node.stat, &mut entry);
    entry.buffer(node.acl.map(|acl| &*acl.0)).buffer(node.data);
    let mut entry = entry.into_bytes();
    let length = u32::try_from(entry.len() - LENGTH_BYTES).map_err(io::Error::other)?;
    if let Some(head) = entry.first_chunk_mut() {
        *head = length.to_be_bytes();
    }
    Ok(entry)
}

fn decode(entry: &[u8]) -> Result<Entry, JuteError> {
    let mut reader = Reader::new(entry);
    let key = reader.buffer()?.unwrap_or_default().to_vec();
    let stat = read_stat(&mut reader)?;
    let acl = reader.buffer()?.map(|list| AclList(list.into()));
    let data = reader.buffer()?.map(Arc::from);
    Ok(Entry { key, node: Node { data, acl, stat } })
}

/// Bytes of a stat.
pub(super) const STAT_BYTES: usize = 5 * 8 + 3 * 4 + 8;

pub(super) fn write_stat(stat: &Stat, to: &mut Writer) {
    let Stat { czxid, mzxid, pzxid, ctime, mtime, version, cversion, aversion, ephemeral_owner } = *stat;
    to.i64(czxid.0).i64(mzxid.0).i64(pzxid.0).i64(ctime).i64(mtime);
    to.i32(version).i32(cversion).i32(aversion).i64(ephemeral_owner);
}

pub(super) fn read_stat(from: &mut Reader<'_>) -> Result<Stat, JuteError> {
    Ok(Stat {
        czxid: Zxid(from.i64()?),
        mzxid: Zxid(from.i64()?),
        pzxid: Zxid(from.i64()?),
        ctime: from.i64()?,
        mtime: from.i64()?,
        version: from.i32()?,
        cversion: from.i32()?,
        aversion: from.i32()?,
        ephemeral_owner: from.i64()?,
    })
}

/// A node under its key.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The path's key.
    pub key: Vec<u8>,
    /// The node.
    pub node: Node,
}

/// Nodes that were written down.
#[derive(Debug)]
pub struct Sorted {
    file: Arc<File>,
    runs: Vec<(u64, u64)>,
}

impl Sorted {
    /// The nodes in the order of their keys, each once.
    pub fn read(&self) -> io::Result<Merge> {
        let mut merge = Merge { runs: Vec::new(), heads: BinaryHeap::new() };
        for (index, (at, end)) in self.runs.iter().enumerate() {
            let section = Section { file: Arc::clone(&self.file), at: *at, end: *end };
            merge.runs.push(BufReader::with_capacity(READ_BYTES, section));
            merge.pull(index)?;
        }
        Ok(merge)
    }
}

/// A part of a file.
#[derive(Debug)]
struct Section {
    file: Arc<File>,
    at: u64,
    end: u64,
}

impl Read for Section {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
        let most = buffer.len().min(left);
        let count = self.file.read_at(buffer.get_mut(..most).unwrap_or_default(), self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

/// The next entry of a run.
#[derive(Debug)]
struct Head {
    entry: Entry,
    run: usize,
}

impl Head {
    fn order(&self) -> (&[u8], usize) {
        (&self.entry.key, self.run)
    }
}

impl PartialEq for Head {
    fn eq(&self, other: &Self) -> bool {
        self.order() == other.order()
    }
}

impl Eq for Head {}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Head {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.order().cmp(&other.order())
    }
}

/// Nodes in the order of their keys.
#[derive(Debug)]
pub struct Merge {
    runs: Vec<BufReader<Section>>,
    heads: BinaryHeap<Reverse<Head>>,
}

impl Merge {
    fn pull(&mut self, run: usize) -> io::Result<()> {
        let Some(reader) = self.runs.get_mut(run) else { return Ok(()) };
        let mut length = [0; LENGTH_BYTES];
        match reader.read_exact(&mut length) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            outcome => outcome?,
        }
        let mut entry = vec![0; u32::from_be_bytes(length) as usize];
        reader.read_exact(&mut entry)?;
        let entry = decode(&entry).map_err(io::Error::other)?;
        self.heads.push(Reverse(Head { entry, run }));
        Ok(())
    }

    fn pop(&mut self) -> io::Result<Option<Entry>> {
        loop {
            let Some(Reverse(Head { entry, run })) = self.heads.pop() else { return Ok(None) };
            self.pull(run)?;
            // Of a node that was read twice the later one counts.
            if self.heads.peek().is_none_or(|next| next.0.entry.key != entry.key) {
                return Ok(Some(entry));
            }
        }
    }
}

impl Iterator for Merge {
    type Item = io::Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        self.pop().transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(spool: &mut Spool, path: &str, data: Option<&[u8]>, acl: Option<&AclList>, version: i32) {
        let stat = Stat { version, mzxid: Zxid(7), ephemeral_owner: -1, ..Stat::default() };
        spool.node(&NodeRef { path: path.as_bytes(), data, acl, stat }).unwrap();
    }

    #[test]
    fn nodes_come_back_in_order_each_once() {
        let mut spool = Spool::sorting(300).unwrap();
        let world = AclList::world();
        put(&mut spool, "/z", Some(b"before"), None, 0);
        spool.clear();
        for number in (0..100).rev() {
            put(&mut spool, &format!("/a/{number:02}"), Some(&[number; 40]), Some(&world), i32::from(number));
        }
        put(&mut spool, "", None, Some(&world), 0);
        put(&mut spool, "/a", Some(b""), None, 0);
        put(&mut spool, "/a/50", Some(b"later"), Some(&world), 1);
        let sorted = spool.finish().unwrap();
        assert!(sorted.runs.len() > 10);
        for _ in 0..2 {
            let read: Vec<Entry> = sorted.read().unwrap().collect::<Result<_, _>>().unwrap();
            let keys: Vec<&[u8]> = read.iter().map(|entry| entry.key.as_slice()).collect();
            assert!(keys.is_sorted() && keys.len() == 102 && keys[0].is_empty());
            let find = |path: &[u8]| &read.iter().find(|entry| entry.key == key::encode(path)).unwrap().node;
            assert_eq!((find(b"").data.as_deref(), find(b"/a").data.as_deref()), (None, Some(&b""[..])));
            assert_eq!((find(b"/a").acl.as_ref(), find(b"/a/07").acl.as_ref()), (None, Some(&world)));
            assert_eq!(find(b"/a/50").data.as_deref(), Some(&b"later"[..]));
            let stat = Stat { version: 7, mzxid: Zxid(7), ephemeral_owner: -1, ..Stat::default() };
            assert_eq!(find(b"/a/07").stat, stat);
        }
    }
}
