//! What the target can do, found out without changing it: a transaction whose last part always fails is refused for its
//! first part where the server does not know that, and for the last otherwise.

use zk_connect::live::{Client, Code, CreateMode, LiveError, Op, OpResult};
use zk_format::{Acl, AclList};

/// Nobody has a node of that name.
const NAME: &[u8] = b"/zooark-probe-that-is-never-created";

/// What was found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abilities {
    /// Container nodes.
    pub containers: bool,
    /// TTL nodes.
    pub ttls: bool,
    /// Whether the session is authenticated, so that nodes can be for its owner alone.
    pub own_acl: bool,
}

/// Asks for those that matter.
pub async fn probe(client: &Client, containers: bool, ttls: bool) -> Result<Abilities, LiveError> {
    let world = AclList::world();
    let unknown = [Code::UNIMPLEMENTED, Code::BAD_ARGUMENTS, Code::MARSHALLING];
    Ok(Abilities {
        own_acl: code_of(client, CreateMode::Persistent, &own_acl()).await? != Code::INVALID_ACL,
        containers: !containers || !unknown.contains(&code_of(client, CreateMode::Container, &world).await?),
        ttls: !ttls || !unknown.contains(&code_of(client, CreateMode::Ttl(60_000), &world).await?),
    })
}

/// All permissions to whoever the session belongs to; the server puts the ids in.
pub fn own_acl() -> AclList {
    AclList::encode(&[Acl { perms: zk_format::acl::ALL_PERMISSIONS, scheme: b"auth".to_vec(), id: Vec::new() }])
}

async fn code_of(client: &Client, mode: CreateMode, acl: &AclList) -> Result<Code, LiveError> {
    let ops = [Op::Create { path: NAME, data: None, acl, mode }, Op::Check { path: NAME, version: 77 }];
    match client.multi_plain(&ops).await {
        Ok(results) => Ok(match results.first() {
            Some(OpResult::Failed(code)) => *code,
            _ => Code::OK,
        }),
        // Versions that do not know an opcode close the connection.
        Err(LiveError::Lost { .. }) => Ok(Code::UNIMPLEMENTED),
        Err(error) => error.code().ok_or(error),
    }
}
