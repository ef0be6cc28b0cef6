//! Znodes as lines.

use engine::znode::Znode;
pub use engine::znode_json::{ZnodeJson, acl, json};

use crate::output;

/// `world:anyone:cdrwa, …`.
pub fn acl_text(node: &Znode) -> String {
    if node.acl.is_none() {
        return "unknown".to_owned();
    }
    let entries: Vec<String> =
        acl(node).iter().map(|entry| format!("{}:{}:{}", entry.scheme, entry.id, entry.perms)).collect();
    output::plain(&entries.join(", "))
}

/// The last name of a path; `/` for the root.
pub fn name(node: &Znode) -> String {
    let start = node.path.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
    let name = node.path.get(start..).unwrap_or_default();
    if name.is_empty() { "/".to_owned() } else { zk_format::path::display(name).to_string() }
}

#[cfg(test)]
mod tests {
    use zk_format::{Acl, AclList, Stat};

    use super::*;

    fn node(path: &[u8]) -> Znode {
        let acl = AclList::encode(&[Acl { perms: 1, scheme: b"ip".to_vec(), id: b"10.0.0.1".to_vec() }]);
        Znode { path: path.to_vec(), data: None, acl: Some(acl), stat: Stat::default(), kind_known: true }
    }

    #[test]
    fn a_path_that_is_no_text_keeps_its_bytes() {
        assert_eq!(json(&node(b""), false).path_base64, None);
        assert_eq!(json(&node("/é".as_bytes()), false).path_base64, None);
        let odd = json(&node(b"/a\xff"), false);
        assert_eq!((odd.path.as_str(), odd.path_base64.as_deref()), ("/a\\xff", Some("L2H/")));
    }

    #[test]
    fn null_data_is_said_and_not_left_out() {
        let value = serde_json::to_value(json(&node(b"/a"), true)).unwrap();
        assert!(value["data"].is_null() && value.get("data").is_some());
        assert!(serde_json::to_value(json(&node(b"/a"), false)).unwrap().get("data").is_none());
        assert_eq!(acl_text(&node(b"/a")), "ip:10.0.0.1:r");
    }
}
