//! Whether the target is the ensemble that the snapshot is meant for: ids that applications keep in well-known nodes, and
//! the members that the servers name.

use std::collections::BTreeSet;

use repository::Snapshot;
use repository::codec::decode_body;
use zk_connect::live::{Client, LiveError};
use zk_format::path;

use crate::error::EngineError;
use crate::identity::{Identity, WELL_KNOWN};
use crate::repo::Repo;
use crate::snapshots;

const MOST_IDENTITY: usize = 1 << 20;
/// First-level nodes below which ids are looked for.
const MOST_CHROOTS: usize = 256;

/// What tells the target from other ensembles.
#[derive(Debug, Default)]
pub struct Target {
    /// Its well-known ids.
    identity: Identity,
    /// Its members, as `/zookeeper/config` lists them; empty where it lists none.
    members: BTreeSet<Vec<u8>>,
}

impl Target {
    /// Asks the target.
    pub async fn read(client: &Client) -> Result<Self, LiveError> {
        let first = match client.get_children(b"").await {
            Ok(read) => read.value.0,
            Err(error) if error.code().is_some() => Vec::new(),
            Err(error) => return Err(error),
        };
        let mut target = Self::default();
        let below = first.iter().filter(|name| *name != b"zookeeper").take(MOST_CHROOTS);
        let tops = below.map(|name| [b"/", name.as_slice()].concat()).chain([Vec::new()]);
        for top in tops {
            for known in WELL_KNOWN {
                let place = [top.as_slice(), known.as_bytes()].concat();
                if let Some(id) = data(client, &place).await?.filter(|id| !id.is_empty()) {
                    target.identity.ids.insert(place, id);
                }
            }
        }
        if client.options().chroot.is_empty() {
            target.members = data(client, path::CONFIG).await?.map(|config| members(&config)).unwrap_or_default();
        }
        Ok(target)
    }

    /// Why a snapshot is hardly meant for it; nothing where it has no signs of its own.
    pub fn contradicts(&self, repo: &Repo, snapshot: &Snapshot) -> Result<Vec<String>, EngineError> {
        let fields = &snapshot.manifest.body.fields;
        let stored = |snapshot: &Snapshot| -> Identity {
            decode_body::<_, MOST_IDENTITY>("identity", &snapshot.manifest.body.fields.source.identity)
                .unwrap_or_default()
        };
        let mut why = Vec::new();
        let meant = stored(snapshot);
        for (place, there) in &self.identity.ids {
            if let Some(here) = meant.ids.get(place).filter(|here| *here != there) {
                why.push(format!(
                    "{} says {:?} there and {:?} in the snapshot",
                    path::display(place),
                    String::from_utf8_lossy(there),
                    String::from_utf8_lossy(here)
                ));
            }
        }
        if why.is_empty() && !self.identity.ids.is_empty() {
            // The same ids under another name: somebody mixed up two clusters.
            let others = repo.snapshots()?.snapshots;
            let namesake =
                others.iter().filter(|other| other.manifest.body.fields.cluster != fields.cluster).find(|other| {
                    let ids = stored(other).ids;
                    let same = |(place, id): (&Vec<u8>, &Vec<u8>)| {
                        ids.get(place) == Some(id) && meant.ids.get(place) != Some(id)
                    };
                    self.identity.ids.iter().any(same)
                });
            why.extend(namesake.map(|other| {
                format!(
                    "its ids are those of cluster {:?}, and the snapshot is of {:?}",
                    other.manifest.body.fields.cluster, fields.cluster
                )
            }));
        }
        if !self.members.is_empty() && fields.source.chroot.is_empty() && !snapshots::info(snapshot).incomplete {
            let config = repo.tree(&snapshot.manifest)?.node(path::CONFIG)?.and_then(|node| node.data);
            let known = config.map(|config| members(&config)).unwrap_or_default();
            if !known.is_empty() && known.is_disjoint(&self.members) {
                why.push(format!(
                    "none of its members ({}) was one of the snapshot's ({})",
                    shown(&self.members),
                    shown(&known)
                ));
            }
        }
        Ok(why)
    }
}

async fn data(client: &Client, place: &[u8]) -> Result<Option<Vec<u8>>, LiveError> {
    match client.get_data(place).await {
        Ok(read) => Ok(read.value.0),
        Err(error) if error.code().is_some() => Ok(None),
        Err(error) => Err(error),
    }
}

/// `server.1=host:2888:3888:participant;2181` and the like: the hosts and ports.
pub(crate) fn members(config: &[u8]) -> BTreeSet<Vec<u8>> {
    let lines = config.split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"server."));
    let address = |line: &[u8]| -> Option<Vec<u8>> {
        let at = line.iter().position(|byte| *byte == b'=')?;
        let value = line.get(at + 1..)?.split(|byte| *byte == b';').next()?;
        let parts: Vec<&[u8]> = value.split(|byte| *byte == b':').collect();
        Some(parts.get(..parts.len().min(3))?.join(&b":"[..]))
    };
    lines.filter_map(address).collect()
}

fn shown(members: &BTreeSet<Vec<u8>>) -> String {
    let names: Vec<String> = members.iter().take(5).map(|name| String::from_utf8_lossy(name).into_owned()).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_their_addresses_whatever_their_role() {
        let before =
            b"server.1=zk1:2888:3888:participant;0.0.0.0:2181\nserver.2=zk2:2888:3888:observer\nversion=100000000";
        let after = b"server.1=zk1:2888:3888;2181\nversion=200000000";
        assert_eq!(members(before), [b"zk1:2888:3888".to_vec(), b"zk2:2888:3888".to_vec()].into());
        assert!(!members(before).is_disjoint(&members(after)));
        assert!(members(b"").is_empty() && members(b"version=0").is_empty());
    }
}
