//! Whether a new state can be trusted to be the next one of its cluster.
//!
//! A wiped, rolled-back or wrong ensemble is stored, but held back: it never becomes `latest` and displaces
//! nothing until somebody says that it is right. The comparison is with the last snapshot that was itself
//! trusted, never with another suspect.

use zk_format::Zxid;

use crate::identity::Identity;

/// Share of the nodes that may disappear between two backups, unless told otherwise.
pub const DEFAULT_MAX_SHRINK: f64 = 0.5;

/// What is compared of the two states.
#[derive(Debug)]
pub struct Compared<'a> {
    /// Highest zxid of the last trusted snapshot.
    pub zxid_before: Zxid,
    /// Highest zxid now.
    pub zxid_now: Zxid,
    /// Nodes before.
    pub nodes_before: u64,
    /// Nodes now.
    pub nodes_now: u64,
    /// Share of the nodes that may disappear, 0 to 1.
    pub max_shrink: f64,
    /// Signs before and now, where the tree was read whole. The log of the same history needs none.
    pub identities: Option<(&'a Identity, &'a Identity)>,
}

/// Every reason to hold the state back; none if it can be trusted.
pub fn reasons(compared: &Compared<'_>, czxid_now: impl Fn(&[u8]) -> Option<i64>) -> Vec<String> {
    let mut reasons = Vec::new();
    let (before, now) = (compared.zxid_before, compared.zxid_now);
    if now < before {
        reasons.push(format!(
            "its zxid {now} is below {before}, the last one backed up: rolled back, wiped or another ensemble"
        ));
    }
    if let Some((before, now)) = compared.identities {
        reasons.extend(before.contradiction(now, czxid_now).map(|why| format!("another ensemble: {why}")));
    }
    #[expect(clippy::cast_precision_loss, reason = "a share needs no more")]
    let kept = compared.nodes_now as f64 / compared.nodes_before.max(1) as f64;
    if kept < 1.0 - compared.max_shrink {
        reasons.push(format!(
            "it has {} nodes where there were {}; more than {:.0} % are gone (--max-shrink)",
            compared.nodes_now,
            compared.nodes_before,
            compared.max_shrink * 100.0
        ));
    }
    reasons
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compared(zxid_now: i64, nodes_now: u64) -> Compared<'static> {
        let (zxid_before, zxid_now) = (Zxid(100), Zxid(zxid_now));
        Compared { zxid_before, zxid_now, nodes_before: 1000, nodes_now, max_shrink: 0.5, identities: None }
    }

    #[test]
    fn each_sign_alone_is_enough() {
        assert!(reasons(&compared(100, 500), |_| None).is_empty());
        assert!(reasons(&compared(99, 1000), |_| None)[0].contains("0x63 is below 0x64"));
        assert!(reasons(&compared(101, 499), |_| None)[0].contains("499 nodes"));
        assert_eq!(reasons(&compared(1, 3), |_| None).len(), 2);
        let before = Identity { oldest: vec![(b"/a".to_vec(), 1)], ..Identity::default() };
        let state = Compared { identities: Some((&before, &before)), ..compared(101, 1000) };
        assert!(reasons(&state, |_| None)[0].starts_with("another ensemble"));
        assert!(reasons(&state, |_| Some(1)).is_empty());
    }
}
