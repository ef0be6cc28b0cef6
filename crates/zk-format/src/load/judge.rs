//! How sure a replayed state is: the rules, apart from the reading.

use super::{Consistency, Note, Proof};
use crate::replay::{DigestVerdict, Miss};
use crate::types::Zxid;

/// What is known once the logs have been replayed.
#[derive(Debug)]
pub(crate) struct Evidence<'a> {
    /// The zxid in the name of the file.
    pub(crate) snapshot: Zxid,
    /// Where its writing ended at the latest, if anything tells.
    pub(crate) end: Option<Zxid>,
    /// Where its own digest shows it to be exact.
    pub(crate) own_digest: Option<Zxid>,
    /// What its digest trailer speaks of.
    pub(crate) digest_trailer: Option<Zxid>,
    /// The last transaction applied.
    pub(crate) reached: Zxid,
    /// The last transaction that changed nodes.
    pub(crate) last_change: Option<Zxid>,
    /// The first end of a session, opened before the file, that lists no nodes and lies where the file may still have
    /// been being written.
    pub(crate) unlisted_close: Option<Zxid>,
    /// Whether the file itself states where its writing ended.
    pub(crate) end_stated: bool,
    pub(crate) verdict: DigestVerdict,
    pub(crate) first_miss: Option<&'a Miss>,
    /// Epoch changes within what was replayed.
    pub(crate) boundaries: &'a [(Zxid, Zxid)],
}

/// Whether the state is one state, what shows it, and what to say about it.
pub(crate) fn judge(evidence: &Evidence<'_>) -> (Consistency, Proof, Vec<Note>) {
    let Evidence { snapshot, end, own_digest, reached, last_change, verdict, first_miss, .. } = *evidence;
    let mut notes = Vec::new();
    if verdict.ascii {
        notes.push(Note::AsciiDigest);
    }
    let settled = match end {
        Some(end) if reached >= end => true,
        _ => own_digest.is_some_and(|own| reached >= own),
    };
    if !settled {
        notes.push(match end.or(own_digest) {
            Some(end) => Note::NotReached { snapshot, end, reached },
            None => Note::Unsettled { snapshot },
        });
    }
    // A digest that held proves the whole tree, whatever came before it.
    let proven = verdict.last_match.filter(|_| verdict.holds()).or(own_digest.filter(|_| !verdict.fails()));
    let raced = verdict.last_mismatch.filter(|_| verdict.fails());
    let race = raced.is_some() && raced == evidence.digest_trailer;
    // An epoch that begins after the last proof is proven by transactions behind it that change something and fit.
    let open_epoch = evidence.boundaries.iter().rev().find(|(_, first)| Some(*first) > proven);
    let fits_after = |first: Zxid| first_miss.is_none() && last_change.is_some_and(|change| change >= first);
    let epochs_proven = open_epoch.is_none_or(|&(_, first)| fits_after(first));
    if let Some(&(before, first)) = open_epoch
        && !epochs_proven
    {
        notes.push(Note::EpochUnproven { before, first });
    }
    // Where the file was fuzzy a miss says nothing; where its end is known, misses are only counted behind it.
    let contradicted = proven.is_none() && first_miss.is_some_and(|miss| end.is_some_and(|end| miss.zxid > end));
    if let Some(miss) = first_miss
        && (contradicted || !epochs_proven)
    {
        notes.push(Note::Miss(miss.clone()));
    }
    let unlisted = evidence.unlisted_close.filter(|_| proven.is_none());
    notes.extend(unlisted.map(|zxid| Note::UnlistedClose { zxid }));
    let lossy = unlisted.is_some() && evidence.end_stated;
    let replayed = first_miss.is_none() && last_change.is_some();
    match raced {
        Some(zxid) if race => notes.push(Note::DigestRace { zxid }),
        Some(zxid) => notes.push(Note::DigestMismatch { zxid, replay_holds: replayed }),
        None => {}
    }
    let mismatch_stands = raced.is_some() && !race && !replayed;
    if !settled || !epochs_proven || contradicted || mismatch_stands || lossy {
        return (Consistency::Fuzzy, Proof::None, notes);
    }
    let proof = match (proven, open_epoch) {
        (Some(_), None) => Proof::Digest,
        _ if replayed => Proof::Replay,
        _ => Proof::None,
    };
    (Consistency::Exact, proof, notes)
}

#[cfg(test)]
mod tests;
