//! The effect of each kind of transaction, as `DataTree` of 3.6 to 3.9 has it; older servers differ only where their
//! own results were wrong.

use super::overlay::Place;
use super::{BaseStore, Miss, MissKind, Mode, Replay, ReplayError};
use crate::key;
use crate::path;
use crate::txn::{Body, Create, CreateKind, TxnHeader};
use crate::types::{CONTAINER_OWNER, Node, Stat, Zxid};

const TTL_OWNER: i64 = 0xff00_0000_0000_0000_u64.cast_signed();
const TTL_MASK: i64 = 0x00ff_ffff_ffff_ffff;

impl<B: BaseStore + ?Sized> Replay<'_, B> {
    pub(super) fn apply_body(
        &mut self,
        header: &TxnHeader,
        body: &Body<'_>,
        mode: Mode,
    ) -> Result<(), ReplayError<B::Error>> {
        match body {
            Body::CreateSession { timeout_ms } => {
                self.sessions.insert(header.session, Some(*timeout_ms));
                self.opened.insert(header.session);
                Ok(())
            }
            Body::CloseSession { paths } => {
                self.sessions.insert(header.session, None);
                if mode == Mode::Contained { Ok(()) } else { self.close_session(header, paths.as_deref(), mode) }
            }
            Body::Error { .. } | Body::Check { .. } => Ok(()),
            Body::Multi { parts } => {
                if body.is_failed_multi() {
                    return Ok(());
                }
                for part in parts {
                    let header = TxnHeader { kind: part.kind, ..*header };
                    self.apply_body(&header, &part.body, mode)?;
                }
                Ok(())
            }
            Body::Create(_) | Body::SetAcl { .. } if mode == Mode::Contained => {
                self.adopt_acl(header.zxid, body).map_err(ReplayError::Base)
            }
            Body::Delete { .. } | Body::SetData { .. } if mode == Mode::Contained => Ok(()),
            Body::Create(create) => self.create(header, create, mode).map_err(ReplayError::Base),
            Body::Delete { path, .. } => self.delete(header.zxid, path, mode).map_err(ReplayError::Base),
            Body::SetData { path, data, version, .. } => {
                self.set_data(header, path, *data, *version, mode).map_err(ReplayError::Base)
            }
            Body::SetAcl { path, acl, version } => {
                self.set_acl(header.zxid, path, acl, *version, mode).map_err(ReplayError::Base)
            }
        }
    }

    fn create(&mut self, header: &TxnHeader, create: &Create<'_>, mode: Mode) -> Result<(), B::Error> {
        let (zxid, path) = (header.zxid, create.path);
        let Some(parent) = key::parent(path) else {
            self.miss(zxid, path, MissKind::Exists, mode);
            return Ok(());
        };
        let parent = self.overlay.find(parent)?;
        let Some(found) = self.overlay.node(parent).map(|node| node.stat.cversion) else {
            self.miss(zxid, path, MissKind::ParentMissing, mode);
            return Ok(());
        };
        let own = self.overlay.find(path)?;
        if self.overlay.node(own).is_some() {
            self.miss(zxid, path, MissKind::Exists, mode);
            self.adopt_acl(zxid, &Body::Create(*create))?;
            if matches!(create.kind, CreateKind::Plain { .. }) {
                self.raise_parent(parent, create.parent_cversion, zxid);
            }
            return Ok(());
        }
        if create.parent_cversion != -1 && create.parent_cversion != found.wrapping_add(1) {
            self.miss(zxid, path, MissKind::ParentVersion { found, stated: create.parent_cversion }, mode);
        }
        self.raise_parent(parent, create.parent_cversion, zxid);
        let owner = match create.kind {
            CreateKind::Plain { ephemeral: true } | CreateKind::WithStat { ephemeral: true } => header.session,
            CreateKind::Plain { .. } | CreateKind::WithStat { .. } => 0,
            CreateKind::Container => CONTAINER_OWNER,
            CreateKind::Ttl { ttl_ms } => TTL_OWNER | (ttl_ms & TTL_MASK),
        };
        if matches!(create.kind, CreateKind::Plain { ephemeral: true } | CreateKind::WithStat { ephemeral: true }) {
            self.owned.entry(owner).or_default().insert(path.into());
        }
        let stat = Stat {
            czxid: zxid,
            mzxid: zxid,
            pzxid: zxid,
            ctime: header.time_ms,
            mtime: header.time_ms,
            ephemeral_owner: owner,
            ..Stat::default()
        };
        let acl = self.acl(create.acl);
        self.overlay.set(own, Some(Node { data: create.data.map(Into::into), acl: Some(acl), stat }));
        Ok(())
    }

    /// The parent's cversion only ever rises, and its pzxid with it: over a fuzzy base it may be further on already.
    fn raise_parent(&mut self, parent: Place, stated: i32, zxid: Zxid) {
        self.overlay.change(parent, |node| {
            let cversion = if stated == -1 { node.stat.cversion.wrapping_add(1) } else { stated };
            if cversion > node.stat.cversion {
                node.stat.cversion = cversion;
                node.stat.pzxid = zxid;
            }
        });
    }

    fn delete(&mut self, zxid: Zxid, path: &[u8], mode: Mode) -> Result<(), B::Error> {
        let Some(parent) = key::parent(path) else {
            self.miss(zxid, path, MissKind::HasChildren, mode);
            return Ok(());
        };
        let parent = self.overlay.find(parent)?;
        if self.overlay.node(parent).is_none() {
            self.miss(zxid, path, MissKind::ParentMissing, mode);
            return Ok(());
        }
        self.overlay.change(parent, |node| node.stat.pzxid = node.stat.pzxid.max(zxid));
        let own = self.overlay.find(path)?;
        if self.overlay.node(own).is_none() {
            self.miss(zxid, path, MissKind::Missing, mode);
            return Ok(());
        }
        // A fuzzy file can show children of a later node of the same name. A server forgets them with the node's own
        // list of children, and the log creates them again.
        let mut left: Vec<Vec<u8>> = self.overlay.base().children_of(path)?;
        while let Some(path_below) = left.pop() {
            let child = self.overlay.find(&path_below)?;
            if self.overlay.node(child).is_some() {
                self.miss(zxid, path, MissKind::HasChildren, mode);
                left.extend(self.overlay.base().children_of(&path_below)?);
                self.overlay.set(child, None);
            }
        }
        self.overlay.set(own, None);
        Ok(())
    }

    fn set_data(
        &mut self,
        header: &TxnHeader,
        path: &[u8],
        data: Option<&[u8]>,
        version: i32,
        mode: Mode,
    ) -> Result<(), B::Error> {
        let own = self.overlay.find(path)?;
        let Some(found) = self.overlay.node(own).map(|node| node.stat.version) else {
            self.miss(header.zxid, path, MissKind::Missing, mode);
            return Ok(());
        };
        if version != found.wrapping_add(1) {
            self.miss(header.zxid, path, MissKind::Version { found, stated: version }, mode);
        }
        self.overlay.change(own, |node| {
            node.data = data.map(Into::into);
            node.stat.mzxid = header.zxid;
            node.stat.mtime = header.time_ms;
            node.stat.version = version;
        });
        Ok(())
    }

    fn set_acl(&mut self, zxid: Zxid, path: &[u8], acl: &[u8], version: i32, mode: Mode) -> Result<(), B::Error> {
        let own = self.overlay.find(path)?;
        let Some(found) = self.overlay.node(own).map(|node| node.stat.aversion) else {
            self.miss(zxid, path, MissKind::Missing, mode);
            return Ok(());
        };
        if version != found.wrapping_add(1) {
            self.miss(zxid, path, MissKind::AclVersion { found, stated: version }, mode);
        }
        let acl = self.acl(acl);
        self.overlay.change(own, |node| {
            node.acl = Some(acl);
            node.stat.aversion = version;
        });
        Ok(())
    }

    /// Gives a node whose ACL id the file does not resolve the list it had when it was written: that of the very
    /// create or setACL whose zxid or version it carries.
    fn adopt_acl(&mut self, zxid: Zxid, body: &Body<'_>) -> Result<(), B::Error> {
        let (path, acl) = match body {
            Body::Create(create) => (create.path, create.acl),
            Body::SetAcl { path, acl, .. } => (*path, *acl),
            _ => return Ok(()),
        };
        let own = self.overlay.find(path)?;
        let fits = self.overlay.node(own).is_some_and(|node| {
            node.acl.is_none()
                && match body {
                    Body::SetAcl { version, .. } => node.stat.aversion == *version && node.stat.czxid < zxid,
                    _ => node.stat.czxid == zxid && node.stat.aversion == 0,
                }
        });
        if fits {
            let acl = self.acl(acl);
            self.overlay.change(own, |node| node.acl = Some(acl));
        }
        Ok(())
    }

    fn close_session(
        &mut self,
        header: &TxnHeader,
        listed: Option<&[&[u8]]>,
        mode: Mode,
    ) -> Result<(), ReplayError<B::Error>> {
        let (session, zxid) = (header.session, header.zxid);
        for path in listed.unwrap_or_default() {
            let own = self.overlay.find(path).map_err(ReplayError::Base)?;
            let owner = self.overlay.node(own).map(|node| node.stat.ephemeral_owner);
            if let Some(found) = owner
                && found != session
            {
                self.miss(zxid, path, MissKind::Owner { found }, mode);
            }
            self.delete(zxid, path, mode).map_err(ReplayError::Base)?;
        }
        let mut rest: Vec<Box<[u8]>> = self.owned.remove(&session).unwrap_or_default().into_iter().collect();
        let opened_in_range = self.opened.remove(&session);
        match self.overlay.base().ephemerals_of(session).map_err(ReplayError::Base)? {
            Some(paths) => rest.extend(paths.into_iter().map(Vec::into_boxed_slice)),
            // The list is complete: the leader made it from its own tree. And what a session opened in the range owns
            // is in the overlay.
            None if listed.is_some() || opened_in_range => {}
            None => return Err(ReplayError::SessionNodesUnknown { zxid, session }),
        }
        rest.sort_unstable();
        for path in rest {
            let own = self.overlay.find(&path).map_err(ReplayError::Base)?;
            if self.overlay.node(own).is_some_and(|node| node.stat.ephemeral_owner == session) {
                self.delete(zxid, &path, mode).map_err(ReplayError::Base)?;
            }
        }
        Ok(())
    }

    /// Nodes of the server's own are changed without transactions, so they prove nothing.
    fn miss(&mut self, zxid: Zxid, path: &[u8], kind: MissKind, mode: Mode) {
        if mode == Mode::Strict && self.first_miss.is_none() && !path::is_reserved(path) {
            self.first_miss = Some(Miss { zxid, path: path.to_vec(), kind });
        }
    }
}
