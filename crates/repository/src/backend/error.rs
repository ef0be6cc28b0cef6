//! What can go wrong with a store, in the few kinds a caller can act on.

use std::error::Error;
use std::fmt;

/// What was being done when a store failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Opening the store from its URL.
    Open,
    /// Reading a whole object or a range of it.
    Get,
    /// Writing an object.
    Put,
    /// Writing an object that must not exist yet.
    Create,
    /// Listing objects below a prefix.
    List,
    /// Deleting an object.
    Delete,
    /// Asking for an object's size and time.
    Head,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "open",
            Self::Get => "read",
            Self::Put => "write",
            Self::Create => "create",
            Self::List => "list",
            Self::Delete => "delete",
            Self::Head => "look up",
        })
    }
}

/// Why a store refused or failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreErrorKind {
    /// There is no such object.
    NotFound,
    /// There is no such bucket or container, so there is no object in it either.
    NoBucket,
    /// The object exists already and creation was conditional on its absence.
    AlreadyExists,
    /// The credentials are known but may not do this.
    Permission,
    /// The credentials are missing, expired or wrong.
    Auth,
    /// The store asked for fewer requests, or answered with an error of its own.
    Throttled,
    /// No answer in time.
    TimedOut,
    /// No connection.
    Unreachable,
    /// The store is read-only.
    ReadOnly,
    /// The store has no room left.
    Full,
    /// The object is longer than anything that may be stored there.
    TooLarge {
        /// Size found, bytes.
        size: u64,
        /// Size allowed, bytes.
        limit: u64,
    },
    /// The object is shorter than the range asked for.
    TooShort,
    /// The disk cannot give back what is stored there, or not just now.
    Unreadable,
    /// The store cannot do this operation.
    Unsupported,
    /// The URL or an option is not valid.
    Invalid,
    /// Anything else; the source says what.
    Other,
}

impl StoreErrorKind {
    /// Whether the same request may succeed when repeated.
    pub fn is_retryable(self) -> bool {
        matches!(self, Self::Throttled | Self::TimedOut | Self::Unreachable)
    }

    fn explain(self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::NotFound => "it does not exist; check the URL, or run `zooark check`",
            Self::NoBucket => "there is no such bucket; make it first, or correct the URL",
            Self::AlreadyExists => "it exists already; another writer was first",
            Self::Permission => "permission denied; grant these credentials access to it",
            Self::Auth => "the credentials were not accepted; check keys, token, their expiry and this host's clock",
            Self::Throttled => "the store is overloaded or failing; try again later or lower the number of connections",
            Self::TimedOut => "no answer in time; check the network, or raise the time-out",
            Self::Unreachable => "the store cannot be reached; check endpoint, network and proxy",
            Self::ReadOnly => "the store is read-only; use a writable location",
            Self::Full => "no space left; free some or enlarge the store",
            Self::TooLarge { size, limit } => {
                return write!(f, "it has {size} bytes where at most {limit} are valid; run `zooark check`");
            }
            Self::TooShort => "it is shorter than its description says; run `zooark check`",
            Self::Unreadable => {
                "the disk cannot read it; check disk and cables, then restore the object from a copy of the store, or delete it \
                 and run `zooark check`"
            }
            Self::Unsupported => "the store does not support this",
            Self::Invalid => "not valid; correct the URL or the option",
            Self::Other => "the store failed",
        };
        f.write_str(text)
    }
}

/// A failed operation on a store. The text names operation, object, store and the next step; the cause is the source.
#[derive(Debug)]
pub struct StoreError {
    /// Why.
    pub kind: StoreErrorKind,
    /// What was being done.
    pub operation: Operation,
    /// Path of the object inside the repository; empty for the store itself.
    pub object: String,
    /// The store, without credentials.
    pub store: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl StoreError {
    /// An error without a cause.
    pub fn new(kind: StoreErrorKind, operation: Operation, object: &str) -> Self {
        Self { kind, operation, object: object.to_owned(), store: String::new(), source: None }
    }

    /// Adds the cause.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Adds the store's name.
    #[must_use]
    pub fn on(mut self, store: &str) -> Self {
        if self.store.is_empty() {
            store.clone_into(&mut self.store);
        }
        self
    }

    /// Whether this one object is at fault, not the store: others may well be read.
    pub fn is_of_the_object(&self) -> bool {
        matches!(self.kind, StoreErrorKind::TooShort | StoreErrorKind::TooLarge { .. } | StoreErrorKind::Unreadable)
    }

    /// Whether the object is absent.
    pub fn is_not_found(&self) -> bool {
        matches!(self.kind, StoreErrorKind::NotFound | StoreErrorKind::NoBucket)
    }

    /// Whether creation found the object there.
    pub fn is_already_exists(&self) -> bool {
        self.kind == StoreErrorKind::AlreadyExists
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {} ", self.operation)?;
        if self.object.is_empty() {
            write!(f, "store {}: ", self.store)?;
        } else {
            write!(f, "{} in {}: ", self.object, self.store)?;
        }
        self.kind.explain(f)
    }
}

impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|e| e as &(dyn Error + 'static))
    }
}
