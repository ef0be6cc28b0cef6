//! Object stores over HTTP, and memory, through the `object_store` crate.
//!
//! That crate's own retries are switched off: they would hide requests from the counters and could turn our own
//! success into an unexplained `AlreadyExists`.

use std::error::Error as StdError;
use std::time::SystemTime;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use object_store::client::{HttpError, HttpErrorKind};
use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutOptions};

use super::driver::{Driver, ObjectInfo, Part, Piece};
use super::error::{Operation, StoreError, StoreErrorKind};

/// A bucket, or a prefix of one.
#[derive(Debug)]
pub(super) struct Bucket {
    store: Box<dyn ObjectStore>,
    prefix: Path,
    /// Whether the store answers "the last n bytes" in one request.
    tail_in_one_request: bool,
}

impl Bucket {
    pub(super) fn new(store: Box<dyn ObjectStore>, prefix: Path, tail_in_one_request: bool) -> Self {
        Self { store, prefix, tail_in_one_request }
    }

    fn full(&self, path: &str) -> Path {
        self.prefix.parts().chain(Path::from(path).parts()).collect()
    }

    fn info(&self, meta: &ObjectMeta) -> ObjectInfo {
        let full = meta.location.as_ref();
        let path = full.strip_prefix(self.prefix.as_ref()).unwrap_or(full).trim_start_matches('/').to_owned();
        ObjectInfo { path, size: meta.size, modified: SystemTime::from(meta.last_modified) }
    }

    /// Where the last bytes are; `None` where there are none, of which no store can be asked for a range.
    async fn tail_range(&self, path: &str, length: u64) -> Result<Option<GetRange>, StoreError> {
        let size = self.store.head(&self.full(path)).await.map_err(|e| classify(Operation::Get, path, e))?.size;
        Ok((size > 0).then(|| GetRange::Bounded(size.saturating_sub(length)..size)))
    }

    async fn read(&self, path: &str, part: Part) -> Result<Piece, StoreError> {
        let fail = |e| classify(Operation::Get, path, e);
        let range = match &part {
            Part::Whole { .. } => None,
            Part::Range(range) if range.is_empty() => return Ok(nothing()),
            Part::Range(range) => Some(GetRange::Bounded(range.clone())),
            Part::Tail(length) if self.tail_in_one_request => Some(GetRange::Suffix(*length)),
            Part::Tail(length) => match self.tail_range(path, *length).await? {
                None => return Ok(nothing()),
                range => range,
            },
        };
        let options = GetOptions { range, ..GetOptions::default() };
        let mut answer = self.store.get_opts(&self.full(path), options).await.map_err(fail);
        if let (Part::Tail(length), Err(e)) = (&part, &answer)
            && self.tail_in_one_request
            && matches!(e.kind, StoreErrorKind::Throttled | StoreErrorKind::TooShort | StoreErrorKind::Other)
        {
            // Some servers fail when asked for more last bytes than there are.
            let range = self.tail_range(path, *length).await?;
            if range.is_none() {
                return Ok(nothing());
            }
            let options = GetOptions { range, ..GetOptions::default() };
            answer = self.store.get_opts(&self.full(path), options).await.map_err(fail);
        }
        let answer = answer?;
        let object_size = answer.meta.size;
        if let Part::Whole { limit } = part
            && object_size > limit
        {
            return Err(StoreError::new(StoreErrorKind::TooLarge { size: object_size, limit }, Operation::Get, path));
        }
        // The body is read up to what was asked for: a server may send more than it announced.
        let expected = match &part {
            Part::Whole { .. } => object_size,
            Part::Range(range) => range.end.saturating_sub(range.start),
            Part::Tail(length) => object_size.min(*length),
        };
        let mut body = answer.into_stream();
        let mut bytes = Vec::with_capacity(usize::try_from(expected.min(64 << 20)).unwrap_or(0));
        while let Some(more) = body.next().await {
            bytes.extend_from_slice(&more.map_err(fail)?);
            if bytes.len() as u64 > expected {
                return Err(StoreError::new(
                    StoreErrorKind::TooLarge { size: bytes.len() as u64, limit: expected },
                    Operation::Get,
                    path,
                ));
            }
        }
        if (bytes.len() as u64) < expected {
            return Err(StoreError::new(StoreErrorKind::TooShort, Operation::Get, path));
        }
        Ok(Piece { bytes: bytes.into(), object_size })
    }
}

/// What there is to read of an empty object.
fn nothing() -> Piece {
    Piece { bytes: Bytes::new(), object_size: 0 }
}

impl Driver for Bucket {
    fn get<'a>(&'a self, path: &'a str, part: Part) -> BoxFuture<'a, Result<Piece, StoreError>> {
        self.read(path, part).boxed()
    }

    fn put<'a>(&'a self, path: &'a str, bytes: Bytes, create: bool) -> BoxFuture<'a, Result<(), StoreError>> {
        async move {
            let operation = if create { Operation::Create } else { Operation::Put };
            let mode = if create { PutMode::Create } else { PutMode::Overwrite };
            let options = PutOptions { mode, ..PutOptions::default() };
            let written = self.store.put_opts(&self.full(path), bytes.into(), options).await;
            written.map(|_| ()).map_err(|e| classify(operation, path, e))
        }
        .boxed()
    }

    fn list<'a>(&'a self, prefix: &'a str) -> BoxStream<'a, Result<ObjectInfo, StoreError>> {
        let full = self.full(prefix);
        let found = self.store.list(Some(&full));
        found.map(move |meta| meta.map(|m| self.info(&m)).map_err(|e| classify(Operation::List, prefix, e))).boxed()
    }

    fn delete<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<(), StoreError>> {
        async move {
            match self.store.delete(&self.full(path)).await.map_err(|e| classify(Operation::Delete, path, e)) {
                Err(e) if e.kind == StoreErrorKind::NotFound => Ok(()),
                // A conflict: the store keeps it, as for a time that was set.
                Err(e) if e.kind == StoreErrorKind::AlreadyExists => {
                    Err(StoreError::new(StoreErrorKind::Permission, Operation::Delete, path).because(e))
                }
                other => other,
            }
        }
        .boxed()
    }

    fn head<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<ObjectInfo, StoreError>> {
        async move {
            let meta = self.store.head(&self.full(path)).await.map_err(|e| classify(Operation::Head, path, e))?;
            Ok(self.info(&meta))
        }
        .boxed()
    }
}

fn classify(operation: Operation, path: &str, error: object_store::Error) -> StoreError {
    use object_store::Error as E;
    let kind = match &error {
        E::NotFound { source, .. } if is_about_the_bucket(&source.to_string()) => StoreErrorKind::NoBucket,
        E::NotFound { .. } => StoreErrorKind::NotFound,
        E::AlreadyExists { .. } | E::Precondition { .. } => StoreErrorKind::AlreadyExists,
        // Known credentials without the right, or credentials that are not known: the answer's code tells.
        E::PermissionDenied { source, .. } if is_about_credentials(&source.to_string()) => StoreErrorKind::Auth,
        E::PermissionDenied { .. } => StoreErrorKind::Permission,
        E::Unauthenticated { .. } => StoreErrorKind::Auth,
        E::NotSupported { .. } | E::NotImplemented { .. } => StoreErrorKind::Unsupported,
        E::InvalidPath { .. } | E::UnknownConfigurationKey { .. } => StoreErrorKind::Invalid,
        other => classify_cause(other),
    };
    StoreError::new(kind, operation, path).because(error)
}

/// What the crate calls generic is told apart by the cause: its HTTP error, or the status in its text.
fn classify_cause(error: &(dyn StdError + 'static)) -> StoreErrorKind {
    let mut cause = Some(error);
    let mut text = String::new();
    while let Some(e) = cause {
        text = e.to_string();
        if is_about_credentials(&text) {
            return StoreErrorKind::Auth;
        }
        if let Some(http) = e.downcast_ref::<HttpError>() {
            return match http.kind() {
                HttpErrorKind::Connect => StoreErrorKind::Unreachable,
                HttpErrorKind::Timeout => StoreErrorKind::TimedOut,
                HttpErrorKind::Request | HttpErrorKind::Interrupted => StoreErrorKind::Throttled,
                _ => StoreErrorKind::Other,
            };
        }
        cause = e.source();
    }
    let status = text.split("status code: ").nth(1).and_then(|rest| rest.get(..3)).and_then(|s| s.parse().ok());
    match status {
        Some(429_u16 | 408 | 500 | 502 | 503 | 504) => StoreErrorKind::Throttled,
        Some(507) => StoreErrorKind::Full,
        Some(416) => StoreErrorKind::TooShort,
        Some(501) => StoreErrorKind::Unsupported,
        // A DELETE goes as one of many, and its refusal comes within an answer that is none.
        _ if text.contains("(code: AccessDenied)") || text.contains("(code: MethodNotAllowed)") => {
            StoreErrorKind::Permission
        }
        Some(405) => StoreErrorKind::Unsupported,
        // Most often a region that is not the store's.
        Some(400) if text.contains("AuthorizationHeaderMalformed") => StoreErrorKind::Invalid,
        _ if is_about_the_bucket(&text) => StoreErrorKind::NoBucket,
        _ if text.contains("InternalError") || text.contains("SlowDown") => StoreErrorKind::Throttled,
        _ if text.contains("anted range") || text.contains("InvalidRange") => StoreErrorKind::TooShort,
        _ => StoreErrorKind::Other,
    }
}

/// Whether the answer says that not the object but its bucket or container is absent.
fn is_about_the_bucket(text: &str) -> bool {
    ["NoSuchBucket", "ContainerNotFound"].iter().any(|sign| text.contains(sign))
}

/// Whether a text is about who asks, not about what they may do: the answer of a store that does not know them, or a
/// client that got no credentials to sign with. Where none are configured it asks the cloud's metadata service, which
/// is not there on other hosts: repeating that would only delay the answer.
fn is_about_credentials(text: &str) -> bool {
    const SIGNS: [&str; 12] = [
        "SignatureDoesNotMatch",
        "InvalidAccessKeyId",
        "InvalidToken",
        "ExpiredToken",
        "RequestTimeTooSkewed",
        "AuthenticationFailed",
        "failed to authenticate",
        "token request",
        "token response",
        "169.254.169.254",
        "Error performing CreateSession",
        "Invalid Access Key",
    ];
    SIGNS.iter().any(|sign| text.contains(sign))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The words of real answers: versitygw's and S3's to a DELETE that a policy forbids.
    #[test]
    fn a_refused_delete_is_a_matter_of_rights() {
        let text = "DeleteObjects request failed for key prod/packs/x: Access Denied. (code: AccessDenied)";
        let error = object_store::Error::Generic { store: "S3", source: text.into() };
        assert_eq!(classify(Operation::Delete, "packs/x", error).kind, StoreErrorKind::Permission);
    }
}
