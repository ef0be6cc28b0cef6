//! How a manifest stores its stack: by columns, so that what the tables have in common compresses to next to nothing and
//! each small run costs little more than its id and its pack.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::StackTable;
use crate::ids::{BlobId, PackId};
use crate::table::{TableKind, TableRoot};

/// One list per field of a table, all equally long.
#[derive(Default, Serialize, Deserialize)]
struct Columns {
    kind: Vec<TableKind>,
    height: Vec<u8>,
    /// Less the highest zxid of the table before; that is 0 before the first.
    zxid_low: Vec<i64>,
    /// Less the same table's lowest.
    zxid_high: Vec<i64>,
    chunks: Vec<u64>,
    value_blobs: Vec<u64>,
    value_bytes: Vec<u64>,
    first_key: Vec<Vec<u8>>,
    last_key: Vec<Vec<u8>>,
    refs: Vec<Vec<BlobId>>,
    tombstones: Vec<u64>,
    records: Vec<u64>,
    chunk_bytes: Vec<u64>,
    packs: Vec<Vec<PackId>>,
    root: Vec<Option<BlobId>>,
}

pub(super) fn serialize<S: Serializer>(stack: &[StackTable], serializer: S) -> Result<S::Ok, S::Error> {
    let mut columns = Columns::default();
    let mut before = 0_i64;
    for StackTable { root, packs } in stack {
        columns.kind.push(root.kind);
        columns.height.push(root.height);
        columns.zxid_low.push(root.zxid_low.wrapping_sub(before));
        columns.zxid_high.push(root.zxid_high.wrapping_sub(root.zxid_low));
        columns.chunks.push(root.chunks);
        columns.value_blobs.push(root.value_blobs);
        columns.value_bytes.push(root.value_bytes);
        columns.first_key.push(root.first_key.clone());
        columns.last_key.push(root.last_key.clone());
        columns.refs.push(root.refs.clone());
        columns.tombstones.push(root.tombstones);
        columns.records.push(root.records);
        columns.chunk_bytes.push(root.chunk_bytes);
        columns.packs.push(packs.clone());
        columns.root.push(root.root);
        before = root.zxid_high;
    }
    columns.serialize(serializer)
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<StackTable>, D::Error> {
    let columns = Columns::deserialize(deserializer)?;
    columns.tables().ok_or_else(|| D::Error::custom("the columns of a stack differ in length"))
}

impl Columns {
    /// The tables; `None` where the columns are not equally long.
    fn tables(self) -> Option<Vec<StackTable>> {
        let mut stack = Vec::with_capacity(self.root.len());
        let (mut kind, mut height) = (self.kind.into_iter(), self.height.into_iter());
        let (mut zxid_low, mut zxid_high) = (self.zxid_low.into_iter(), self.zxid_high.into_iter());
        let (mut chunks, mut chunk_bytes) = (self.chunks.into_iter(), self.chunk_bytes.into_iter());
        let (mut value_blobs, mut value_bytes) = (self.value_blobs.into_iter(), self.value_bytes.into_iter());
        let (mut first_key, mut last_key) = (self.first_key.into_iter(), self.last_key.into_iter());
        let (mut records, mut tombstones) = (self.records.into_iter(), self.tombstones.into_iter());
        let (mut refs, mut packs) = (self.refs.into_iter(), self.packs.into_iter());
        let mut before = 0_i64;
        for root in self.root {
            let low = before.wrapping_add(zxid_low.next()?);
            let high = low.wrapping_add(zxid_high.next()?);
            before = high;
            let root = TableRoot {
                kind: kind.next()?,
                root,
                height: height.next()?,
                zxid_low: low,
                zxid_high: high,
                records: records.next()?,
                tombstones: tombstones.next()?,
                chunks: chunks.next()?,
                chunk_bytes: chunk_bytes.next()?,
                value_blobs: value_blobs.next()?,
                value_bytes: value_bytes.next()?,
                first_key: first_key.next()?,
                last_key: last_key.next()?,
                refs: refs.next()?,
            };
            stack.push(StackTable { root, packs: packs.next()? });
        }
        let left = [
            kind.len(),
            height.len(),
            zxid_low.len(),
            zxid_high.len(),
            records.len(),
            tombstones.len(),
            chunks.len(),
            chunk_bytes.len(),
            value_blobs.len(),
            value_bytes.len(),
            first_key.len(),
            last_key.len(),
            refs.len(),
            packs.len(),
        ];
        left.iter().all(|left| *left == 0).then_some(stack)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_that_is_shorter_or_longer_is_refused() {
        let one = || Columns {
            kind: vec![TableKind::Base],
            height: vec![0],
            zxid_low: vec![3],
            zxid_high: vec![4],
            chunks: vec![1],
            value_blobs: vec![0],
            value_bytes: vec![0],
            first_key: vec![vec![]],
            last_key: vec![vec![1]],
            refs: vec![vec![]],
            tombstones: vec![0],
            records: vec![1],
            chunk_bytes: vec![9],
            packs: vec![vec![]],
            root: vec![None],
        };
        let stack = one().tables().unwrap();
        assert_eq!((stack.len(), stack[0].root.zxid_low, stack[0].root.zxid_high), (1, 3, 7));
        assert!(Columns { height: vec![], ..one() }.tables().is_none());
        assert!(Columns { records: vec![1, 2], ..one() }.tables().is_none());
        assert!(Columns { root: vec![], ..one() }.tables().is_none());
        assert!(Columns { root: vec![None, None], ..one() }.tables().is_none());
    }
}
