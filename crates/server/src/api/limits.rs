//! What keeps one client from taking everything.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::problem::Problem;

/// Requests a second where nothing else is configured.
const USUAL: u32 = 100;

/// Requests a second without a token that counts, of all strangers together: they take nothing from those who have one.
const STRANGERS: u32 = 20;

/// A bucket that fills at a rate and holds two seconds of it.
#[derive(Clone, Debug)]
pub struct Pace {
    rate: f64,
    bucket: Arc<Mutex<(f64, Instant)>>,
}

impl Pace {
    /// Full.
    pub fn new(rate: Option<u32>) -> Self {
        let rate = f64::from(rate.unwrap_or(USUAL).max(1));
        Self { rate, bucket: Arc::new(Mutex::new((2.0 * rate, Instant::now()))) }
    }

    /// For those who may ask for nothing.
    pub fn of_strangers() -> Self {
        Self::new(Some(STRANGERS))
    }

    pub(super) fn take(&self) -> bool {
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let (held, since) = *bucket;
        let held = since.elapsed().as_secs_f64().mul_add(self.rate, held).min(2.0 * self.rate);
        let enough = held >= 1.0;
        *bucket = (if enough { held - 1.0 } else { held }, Instant::now());
        enough
    }
}

pub(super) async fn pace(State(pace): State<Pace>, request: Request, next: Next) -> Response {
    if pace.take() {
        return next.run(request).await;
    }
    too_many("too many requests a second; server.requests_per_second says how many are taken")
}

/// Come back later.
pub(super) fn too_many(detail: &str) -> Response {
    let mut response = Problem::new(StatusCode::TOO_MANY_REQUESTS, detail).into_response();
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

/// Nothing that is served may be taken for something else, framed, or kept by what lies between.
pub(super) async fn no_sniffing(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_seconds_of_requests_and_no_more() {
        let pace = Pace::new(Some(10));
        let taken = (0..1000).filter(|_| pace.take()).count();
        assert!((20..25).contains(&taken), "{taken}");
    }
}
