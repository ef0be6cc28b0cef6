//! What this program itself has in an ensemble: `/zooark`, below which a restore holds its lock. Nobody backs it up over the client
//! protocol, restores it, deletes it as too much or compares it.

use zk_format::path;

use crate::filter::Filter;

/// Its root, below the chroot of the endpoint.
pub const OWN: &[u8] = b"/zooark";

/// Whether a path is [`OWN`] or below it.
pub fn is_own(path: &[u8]) -> bool {
    path::is_within(path, OWN)
}

/// Whether a node of a running ensemble is read: the filter selects it or needs it on the way.
pub fn is_read(filter: &Filter, path: &[u8]) -> bool {
    !is_own(path) && (filter.selects(path) || filter.leads_to(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_ours_is_left_out() {
        let all = Filter::default();
        assert!(!is_read(&all, b"/zooark") && !is_read(&all, b"/zooark/lock"));
        assert!(is_read(&all, b"") && is_read(&all, b"/zooarkive") && is_read(&all, b"/a/zooark"));
        let some = Filter::new(&["/a/b"], &[]).unwrap();
        assert!(is_read(&some, b"/a") && is_read(&some, b"/a/b/c") && !is_read(&some, b"/c"));
    }
}
