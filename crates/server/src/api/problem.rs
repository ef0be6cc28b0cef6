//! Errors as `application/problem+json` (RFC 9457).

use axum::Json;
use axum::body::HttpBody as _;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use engine::repository::RepositoryError;
use engine::{EngineError, ErrorKind};
use serde::Serialize;
use serde::de::DeserializeOwned;
use utoipa::ToSchema;

use crate::work::restore::NoSuchPath;

/// Why a request was not done.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Problem {
    /// `about:blank`: the status says what kind it is.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The status in words.
    pub title: String,
    /// The status.
    pub status: u16,
    /// What was wrong, and what to do.
    pub detail: String,
}

impl Problem {
    /// With a status of its own.
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        let title = status.canonical_reason().unwrap_or("error").to_owned();
        Self { kind: "about:blank", title, status: status.as_u16(), detail: detail.into() }
    }

    /// What is asked for is not there.
    pub fn missing(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    /// What is asked for makes no sense.
    pub fn wrong(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    /// What is asked for cannot be now.
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, detail)
    }

    /// It was not the request's fault.
    pub fn internal(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, detail)
    }
}

impl From<&EngineError> for Problem {
    fn from(error: &EngineError) -> Self {
        let status = match (error.downcast_ref::<RepositoryError>(), error.kind) {
            _ if error.downcast_ref::<NoSuchPath>().is_some() => StatusCode::NOT_FOUND,
            (Some(RepositoryError::NoSuchSnapshot { .. }), _) => StatusCode::NOT_FOUND,
            (Some(RepositoryError::AmbiguousSnapshot { .. } | RepositoryError::PrefixTooShort { .. }), _) => {
                StatusCode::BAD_REQUEST
            }
            (_, ErrorKind::Usage) => StatusCode::BAD_REQUEST,
            (_, ErrorKind::Refused | ErrorKind::Busy) => StatusCode::CONFLICT,
            (_, ErrorKind::Interrupted | ErrorKind::NoRepository | ErrorKind::WrongPassword) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            // The store or the ensemble, not this program, did not do what it should.
            (_, ErrorKind::Failed | ErrorKind::Damage | ErrorKind::Incomplete) => StatusCode::BAD_GATEWAY,
        };
        Self::new(status, engine::snapshots::error_chain(error))
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(self)).into_response();
        let problem = header::HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(header::CONTENT_TYPE, problem);
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer"));
        }
        response
    }
}

pub(super) async fn not_found() -> Problem {
    Problem::missing("there is nothing at this path; /openapi.json lists what there is")
}

pub(super) async fn method_not_allowed() -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this path knows other methods; /openapi.json lists them")
}

/// A body, with errors as problems.
#[derive(Debug, FromRequest)]
#[from_request(via(Json), rejection(Problem))]
pub struct Body<T>(pub T);

/// A body that may be missing.
#[derive(Debug)]
pub struct BodyOrNone<T>(pub T);

impl<T: DeserializeOwned + Default, S: Send + Sync> FromRequest<S> for BodyOrNone<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let nothing = request.body().size_hint().exact() == Some(0);
        if nothing {
            return Ok(Self(T::default()));
        }
        let Body(body) = Body::<Option<T>>::from_request(request, state).await?;
        Ok(Self(body.unwrap_or_default()))
    }
}

/// What stands behind the question mark.
#[derive(Debug, FromRequestParts)]
#[from_request(via(axum::extract::Query), rejection(Problem))]
pub struct Query<T>(pub T);

/// What stands in the path.
#[derive(Debug, FromRequestParts)]
#[from_request(via(axum::extract::Path), rejection(Problem))]
pub struct Path<T>(pub T);

impl From<JsonRejection> for Problem {
    fn from(rejection: JsonRejection) -> Self {
        // Fields that are missing or wrong are as much the sender's mistake as a broken brace.
        let status = match rejection.status() {
            StatusCode::UNPROCESSABLE_ENTITY => StatusCode::BAD_REQUEST,
            status => status,
        };
        Self::new(status, rejection.body_text())
    }
}

impl From<QueryRejection> for Problem {
    fn from(rejection: QueryRejection) -> Self {
        Self::wrong(rejection.body_text())
    }
}

impl From<PathRejection> for Problem {
    fn from(rejection: PathRejection) -> Self {
        Self::wrong(rejection.body_text())
    }
}
