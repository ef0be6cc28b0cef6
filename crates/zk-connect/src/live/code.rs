//! The error codes of a server (`KeeperException.Code`).

use std::fmt;

/// A code as the server sent it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Code(pub i32);

impl Code {
    /// No error.
    pub const OK: Self = Self(0);
    /// An earlier part of the same multi failed.
    pub const RUNTIME_INCONSISTENCY: Self = Self(-2);
    /// The server could not read the request: too large, or of a newer version.
    pub const MARSHALLING: Self = Self(-5);
    /// The operation is unknown to this version.
    pub const UNIMPLEMENTED: Self = Self(-6);
    /// An argument makes no sense.
    pub const BAD_ARGUMENTS: Self = Self(-8);
    /// There is no such node.
    pub const NO_NODE: Self = Self(-101);
    /// The ACL does not allow it.
    pub const NO_AUTH: Self = Self(-102);
    /// The version is not the one that was given.
    pub const BAD_VERSION: Self = Self(-103);
    /// Ephemeral nodes have no children.
    pub const NO_CHILDREN_FOR_EPHEMERALS: Self = Self(-108);
    /// There is such a node already.
    pub const NODE_EXISTS: Self = Self(-110);
    /// The node has children.
    pub const NOT_EMPTY: Self = Self(-111);
    /// The session ended.
    pub const SESSION_EXPIRED: Self = Self(-112);
    /// The ACL is not one.
    pub const INVALID_ACL: Self = Self(-114);
    /// The credentials were refused.
    pub const AUTH_FAILED: Self = Self(-115);
    /// The session went to another server.
    pub const SESSION_MOVED: Self = Self(-118);
    /// A write in a read-only session.
    pub const NOT_READ_ONLY: Self = Self(-119);
    /// The server wants SASL first.
    pub const SASL_REQUIRED: Self = Self(-124);
    /// A quota forbids it.
    pub const QUOTA_EXCEEDED: Self = Self(-125);
    /// The server has too much to do.
    pub const THROTTLED: Self = Self(-127);

    /// What it means and what to do about it.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::OK => "it succeeded",
            Self::RUNTIME_INCONSISTENCY => "another part of the same transaction failed",
            Self::MARSHALLING => "the server could not read the request; compare its jute.maxbuffer with what was sent",
            Self::UNIMPLEMENTED => "this version of the server does not know the operation",
            Self::BAD_ARGUMENTS => "the server calls an argument bad",
            Self::NO_NODE => "there is no such node",
            Self::NO_AUTH => "its ACL does not allow it; give credentials with --zk-auth-file",
            Self::BAD_VERSION => "somebody changed the node in between",
            Self::NO_CHILDREN_FOR_EPHEMERALS => "the parent is ephemeral and cannot have children",
            Self::NODE_EXISTS => "there is such a node already",
            Self::NOT_EMPTY => "it has children",
            Self::SESSION_EXPIRED => "the session expired",
            Self::INVALID_ACL => "the server does not accept the ACL; a scheme may be unknown to it",
            Self::AUTH_FAILED => "the server refused the credentials",
            Self::SESSION_MOVED => "the session was taken over by another connection",
            Self::NOT_READ_ONLY => "the server is read-only: it has lost its quorum",
            Self::SASL_REQUIRED => "the server demands SASL; give --sasl-user",
            Self::QUOTA_EXCEEDED => "a quota forbids it",
            Self::THROTTLED => "the server is overloaded; try again later or with a lower --max-rate",
            _ => "the server reports an error without a meaning here",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (code {})", self.meaning(), self.0)
    }
}
