//! Every way an operation ends badly, sorted by what the caller can do about it.

use std::error::Error;
use std::fmt;

use crate::monitor::Cancelled;

/// What the caller should do; each has an exit code of its own on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// It failed; the text says why.
    Failed,
    /// The request makes no sense as written.
    Usage,
    /// Some data could not be read, or differences remain.
    Incomplete,
    /// The repository or a source file is damaged.
    Damage,
    /// A safety check said no.
    Refused,
    /// There is no repository at that place.
    NoRepository,
    /// Another process holds what is needed.
    Busy,
    /// The password or key opens no slot.
    WrongPassword,
    /// The caller asked to stop.
    Interrupted,
}

type Cause = Box<dyn Error + Send + Sync>;

/// An error with its kind; the text names the operation, the object and the next step.
#[derive(Debug)]
pub struct EngineError {
    /// What to do about it.
    pub kind: ErrorKind,
    said: Said,
}

#[derive(Debug)]
enum Said {
    Here {
        text: String,
        cause: Option<Cause>,
    },
    /// The error of a library of ours that says it all.
    There(Cause),
}

impl EngineError {
    /// An error of this kind without a cause.
    pub fn new(kind: ErrorKind, text: impl Into<String>) -> Self {
        Self { kind, said: Said::Here { text: text.into(), cause: None } }
    }

    /// The same with its cause, which stays out of the text.
    pub fn with(kind: ErrorKind, text: impl Into<String>, cause: impl Into<Cause>) -> Self {
        Self { kind, said: Said::Here { text: text.into(), cause: Some(cause.into()) } }
    }

    /// An error that already says what was done to what, and what to do next.
    pub fn wrapping(kind: ErrorKind, error: impl Error + Send + Sync + 'static) -> Self {
        Self { kind, said: Said::There(Box::new(error)) }
    }
}

impl EngineError {
    /// The wrapped error, where it is one of this type.
    pub fn downcast_ref<E: Error + 'static>(&self) -> Option<&E> {
        match &self.said {
            Said::There(error) => error.downcast_ref(),
            Said::Here { .. } => None,
        }
    }
}

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.said {
            Said::Here { text, .. } => f.write_str(text),
            Said::There(error) => error.fmt(f),
        }
    }
}

impl Error for EngineError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.said {
            Said::Here { cause, .. } => cause.as_ref().map(|cause| &**cause as &(dyn Error + 'static)),
            Said::There(error) => error.source(),
        }
    }
}

impl From<Cancelled> for EngineError {
    fn from(cancelled: Cancelled) -> Self {
        Self::with(ErrorKind::Interrupted, "stopped before the end; nothing half-written is visible", cancelled)
    }
}
