//! Every operation as a function.

use zk_format::AclList;
use zk_format::jute::{JuteError, Reader};

use super::{About, Client};
use crate::live::code::Code;
use crate::live::connection::Answer;
use crate::live::error::LiveError;
use crate::live::frame::Request;
use crate::live::once::WatchKind;
use crate::live::wire::{
    CreateMode, NodeStat, Op, OpResult, decode_multi, encode_multi, op, read_strings, write_create,
};

/// Taken for an answer whose size nothing tells.
const USUAL_ANSWER: usize = 512;

/// What was read, and the server's newest transaction at that moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read<T> {
    /// What was asked for.
    pub value: T,
    /// The state it was read from.
    pub zxid: i64,
}

impl Client {
    /// A node's data and stat. Null and empty differ.
    pub async fn get_data(&self, path: &[u8]) -> Result<Read<(Option<Vec<u8>>, NodeStat)>, LiveError> {
        self.get_data_of(path, USUAL_ANSWER).await
    }

    /// The same of a node known to have about so many bytes, which count against the bound on what is under way.
    pub async fn get_data_of(
        &self,
        path: &[u8],
        expected: usize,
    ) -> Result<Read<(Option<Vec<u8>>, NodeStat)>, LiveError> {
        let about = About { operation: "getData", path };
        self.simple_read(about, op::GET_DATA, expected, Some(false), data_and_stat).await
    }

    /// The same, and a watch that tells once that the data was set or the node deleted. It outlives connections.
    pub async fn watch_data(
        &self,
        path: &[u8],
        expected: usize,
    ) -> Result<Read<(Option<Vec<u8>>, NodeStat)>, LiveError> {
        let about = About { operation: "getData", path };
        self.watching(WatchKind::Data, path, self.simple_read(about, op::GET_DATA, expected, Some(true), data_and_stat))
            .await
    }

    /// A node's stat.
    pub async fn exists(&self, path: &[u8]) -> Result<Option<Read<NodeStat>>, LiveError> {
        let about = About { operation: "exists", path };
        none_where_absent(self.simple_read(about, op::EXISTS, 128, Some(false), NodeStat::read).await)
    }

    /// The same, and a watch that tells once that the node was created, or, where it is there, that its data was set or it
    /// was deleted. It outlives connections.
    pub async fn watch_exists(&self, path: &[u8]) -> Result<Option<Read<NodeStat>>, LiveError> {
        let about = About { operation: "exists", path };
        let on_wire = self.on_wire(path);
        self.events().once().add(WatchKind::Exists, &on_wire);
        let found = self.simple_read(about, op::EXISTS, 128, Some(true), NodeStat::read).await;
        let kind = match &found {
            Ok(_) => Some(WatchKind::Data),
            Err(error) if error.is(Code::NO_NODE) => None,
            Err(_) => {
                self.events().once().remove(WatchKind::Exists, &on_wire);
                None
            }
        };
        if let Some(kind) = kind {
            let mut once = self.events().once();
            // Where it has fired meanwhile it is not set any more.
            if once.holds(WatchKind::Exists, &on_wire) {
                once.remove(WatchKind::Exists, &on_wire);
                once.add(kind, &on_wire);
            }
        }
        none_where_absent(found)
    }

    /// A node's ACL and stat. Without ADMIN permission the server may hide digests (`user:x`).
    pub async fn get_acl(&self, path: &[u8]) -> Result<Read<(AclList, NodeStat)>, LiveError> {
        let about = About { operation: "getACL", path };
        self.simple_read(about, op::GET_ACL, 256, None, |body| Ok((AclList::read(body)?, NodeStat::read(body)?))).await
    }

    /// The names of a node's children, in the server's order, and the node's stat.
    pub async fn get_children(&self, path: &[u8]) -> Result<Read<(Vec<Vec<u8>>, NodeStat)>, LiveError> {
        let about = About { operation: "getChildren", path };
        self.simple_read(about, op::GET_CHILDREN2, USUAL_ANSWER, Some(false), names_and_stat).await
    }

    /// The same, and a watch that tells once that a child came or went or the node was deleted. It outlives connections.
    pub async fn watch_children(&self, path: &[u8]) -> Result<Read<(Vec<Vec<u8>>, NodeStat)>, LiveError> {
        let about = About { operation: "getChildren", path };
        let read = self.simple_read(about, op::GET_CHILDREN2, USUAL_ANSWER, Some(true), names_and_stat);
        self.watching(WatchKind::Children, path, read).await
    }

    /// Writes a watch down while it is set, and crosses it out where that failed.
    async fn watching<T>(
        &self,
        kind: WatchKind,
        path: &[u8],
        read: impl Future<Output = Result<T, LiveError>>,
    ) -> Result<T, LiveError> {
        let on_wire = self.on_wire(path);
        self.events().once().add(kind, &on_wire);
        let outcome = read.await;
        if outcome.is_err() {
            self.events().once().remove(kind, &on_wire);
        }
        outcome
    }

    /// Reads in one frame, answered together at one state (3.6 and later): only [`Op::GetData`] and
    /// [`Op::GetChildren`]; each part fails on its own. `expected` is about how many bytes the answer will have.
    pub async fn multi_read(&self, ops: &[Op<'_>], expected: usize) -> Result<Read<Vec<OpResult>>, LiveError> {
        let about = About { operation: "multiRead", path: ops.first().map_or(&[], Op::path) };
        let request = || self.multi_request(op::MULTI_READ, ops, true);
        self.read(about, expected, request, |answer| self.decode(about, answer, |body| decode_multi(body, ops.len())))
            .await
    }

    /// Waits until the server has everything that was committed when it was asked; gives its zxid.
    pub async fn sync(&self, path: &[u8]) -> Result<i64, LiveError> {
        let about = About { operation: "sync", path };
        let request = || {
            let mut request = Request::new(op::SYNC);
            request.body().ustring(Some(&self.on_wire(path)));
            request
        };
        Ok(self.read(about, 64, request, |answer| self.decode(about, answer, |_| Ok(()))).await?.zxid)
    }

    /// Whom the server takes this session for: scheme and id (3.7 and later).
    pub async fn who_am_i(&self) -> Result<Vec<(Vec<u8>, Vec<u8>)>, LiveError> {
        let about = About { operation: "whoAmI", path: b"" };
        let decode = |body: &mut Reader<'_>| {
            let count = body.vector(8)?.unwrap_or(0);
            (0..count)
                .map(|_| {
                    Ok((body.ustring()?.unwrap_or_default().to_vec(), body.ustring()?.unwrap_or_default().to_vec()))
                })
                .collect::<Result<Vec<_>, JuteError>>()
        };
        let read = self.read(about, 256, || Request::new(op::WHO_AM_I), |answer| self.decode(about, answer, decode));
        Ok(read.await?.value)
    }

    /// Sets a persistent watch that tells of every change below a node, or of the node and its children alone (3.6 and
    /// later). It is set again after a reconnect.
    pub async fn add_watch(&self, path: &[u8], recursive: bool) -> Result<(), LiveError> {
        let about = About { operation: "addWatch", path };
        let on_wire = self.on_wire(path);
        let request = || {
            let mut request = Request::new(op::ADD_WATCH);
            request.body().ustring(Some(&on_wire)).i32(i32::from(recursive));
            request
        };
        self.read(about, 64, request, |answer| self.decode(about, answer, |_| Ok(()))).await?;
        let mut watched = self.watched();
        let paths = if recursive { &mut watched.recursive } else { &mut watched.plain };
        if !paths.contains(&on_wire) {
            paths.push(on_wire);
        }
        Ok(())
    }

    /// Creates a node; gives its path, with the counter where the mode appends one, and its stat.
    pub async fn create(
        &self,
        path: &[u8],
        data: Option<&[u8]>,
        acl: &AclList,
        mode: CreateMode,
    ) -> Result<(Vec<u8>, NodeStat), LiveError> {
        let (path, stat) = self.create_with(path, data, acl, mode, false).await?;
        Ok((path, stat.unwrap_or_default()))
    }

    /// The same with the opcode that 3.4 knows, which gives no stat.
    pub async fn create_plain(
        &self,
        path: &[u8],
        data: Option<&[u8]>,
        acl: &AclList,
        mode: CreateMode,
    ) -> Result<Vec<u8>, LiveError> {
        Ok(self.create_with(path, data, acl, mode, true).await?.0)
    }

    async fn create_with(
        &self,
        path: &[u8],
        data: Option<&[u8]>,
        acl: &AclList,
        mode: CreateMode,
        plain: bool,
    ) -> Result<(Vec<u8>, Option<NodeStat>), LiveError> {
        let about = About { operation: "create", path };
        let opcode = mode.opcode(plain);
        let mut request = Request::new(opcode);
        write_create(request.body(), &self.on_wire(path), data, acl, mode);
        let answer = self.send(about, request, 128).await?;
        let created = self.decode(about, &answer, |body| {
            let path = body.ustring()?.unwrap_or_default().to_vec();
            let stat = if opcode == op::CREATE { None } else { Some(NodeStat::read(body)?) };
            Ok((path, stat))
        })?;
        let (path, stat) = created.value;
        Ok((self.relative(&path).unwrap_or(path), stat))
    }

    /// Sets a node's data, where it has this version; −1 for any.
    pub async fn set_data(&self, path: &[u8], data: Option<&[u8]>, version: i32) -> Result<NodeStat, LiveError> {
        let about = About { operation: "setData", path };
        let mut request = Request::new(op::SET_DATA);
        request.body().ustring(Some(&self.on_wire(path))).buffer(data).i32(version);
        let answer = self.send(about, request, 128).await?;
        Ok(self.decode(about, &answer, NodeStat::read)?.value)
    }

    /// Sets a node's ACL, where its ACL has this version; −1 for any.
    pub async fn set_acl(&self, path: &[u8], acl: &AclList, version: i32) -> Result<NodeStat, LiveError> {
        let about = About { operation: "setACL", path };
        let mut request = Request::new(op::SET_ACL);
        request.body().ustring(Some(&self.on_wire(path))).raw(&acl.0).i32(version);
        let answer = self.send(about, request, 128).await?;
        Ok(self.decode(about, &answer, NodeStat::read)?.value)
    }

    /// Deletes a node, where it has this version; −1 for any.
    pub async fn delete(&self, path: &[u8], version: i32) -> Result<(), LiveError> {
        let about = About { operation: "delete", path };
        let mut request = Request::new(op::DELETE);
        request.body().ustring(Some(&self.on_wire(path))).i32(version);
        let answer = self.send(about, request, 64).await?;
        self.decode(about, &answer, |_| Ok(())).map(|_| ())
    }

    /// Fails unless the node has this version; −1 where it need only be there.
    pub async fn check(&self, path: &[u8], version: i32) -> Result<(), LiveError> {
        match self.multi(&[Op::Check { path, version }]).await?.as_slice() {
            [OpResult::Failed(code)] => Err(self.refused(About { operation: "check", path }, *code)),
            _ => Ok(()),
        }
    }

    /// Writes and checks as one transaction: all of them happen or none. Where one fails, every part's result is
    /// [`OpResult::Failed`], with [`Code::OK`] for those before it.
    pub async fn multi(&self, ops: &[Op<'_>]) -> Result<Vec<OpResult>, LiveError> {
        self.multi_with(ops, false).await
    }

    /// The same with the opcode for creating that 3.4 knows.
    pub async fn multi_plain(&self, ops: &[Op<'_>]) -> Result<Vec<OpResult>, LiveError> {
        self.multi_with(ops, true).await
    }

    async fn multi_with(&self, ops: &[Op<'_>], plain: bool) -> Result<Vec<OpResult>, LiveError> {
        let about = About { operation: "multi", path: ops.first().map_or(&[], Op::path) };
        let request = self.multi_request(op::MULTI, ops, plain);
        let answer = self.send(about, request, ops.len().saturating_mul(96)).await?;
        let mut results = self.decode(about, &answer, |body| decode_multi(body, ops.len()))?.value;
        for result in &mut results {
            if let OpResult::Created(path, _) = result
                && let Some(relative) = self.relative(path)
            {
                *path = relative;
            }
        }
        Ok(results)
    }

    fn multi_request(&self, opcode: i32, ops: &[Op<'_>], plain: bool) -> Request {
        let mut request = Request::new(opcode);
        encode_multi(request.body(), ops, plain, |path| self.on_wire(path));
        request
    }

    /// A request that is a path and, where the opcode has that, whether to set a watch that fires once.
    async fn simple_read<T>(
        &self,
        about: About<'_>,
        opcode: i32,
        expected: usize,
        watch: Option<bool>,
        decode: impl Fn(&mut Reader<'_>) -> Result<T, JuteError>,
    ) -> Result<Read<T>, LiveError> {
        let request = || {
            let mut request = Request::new(opcode);
            request.body().ustring(Some(&self.on_wire(about.path)));
            if let Some(watch) = watch {
                request.body().bool(watch);
            }
            request
        };
        self.read(about, expected, request, |answer| self.decode(about, answer, &decode)).await
    }

    fn decode<T>(
        &self,
        about: About<'_>,
        answer: &Answer,
        decode: impl Fn(&mut Reader<'_>) -> Result<T, JuteError>,
    ) -> Result<Read<T>, LiveError> {
        if answer.code != 0 {
            let code = Code(answer.code);
            if code == Code::SESSION_EXPIRED {
                return Err(about.expired());
            }
            return Err(self.refused(about, code));
        }
        let value = decode(&mut answer.body()).map_err(|source| LiveError::Answer {
            operation: about.operation,
            path: about.path(),
            host: self.host(),
            source,
        })?;
        Ok(Read { value, zxid: answer.zxid })
    }

    fn refused(&self, about: About<'_>, code: Code) -> LiveError {
        LiveError::Server { operation: about.operation, path: about.path(), host: self.host(), code }
    }
}

fn data_and_stat(body: &mut Reader<'_>) -> Result<(Option<Vec<u8>>, NodeStat), JuteError> {
    Ok((body.buffer()?.map(<[u8]>::to_vec), NodeStat::read(body)?))
}

fn names_and_stat(body: &mut Reader<'_>) -> Result<(Vec<Vec<u8>>, NodeStat), JuteError> {
    Ok((read_strings(body)?, NodeStat::read(body)?))
}

fn none_where_absent<T>(outcome: Result<T, LiveError>) -> Result<Option<T>, LiveError> {
    match outcome {
        Err(error) if error.is(Code::NO_NODE) => Ok(None),
        outcome => outcome.map(Some),
    }
}
