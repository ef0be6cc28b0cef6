//! Who asks, and whether they may.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::limits::{Pace, too_many};
use super::problem::Problem;
use crate::daemon::Daemon;
use crate::tokens::Role;

/// The roles of who asks, for what depends on more than the path.
#[derive(Clone, Debug)]
pub struct Roles(pub Vec<Role>);

impl Roles {
    /// Whether one of them allows it.
    pub fn allow(&self, asked: Role) -> bool {
        self.0.iter().any(|role| role.allows(asked))
    }
}

/// What it takes to be let through.
#[derive(Clone, Debug)]
pub(super) struct Door {
    pub daemon: Arc<Daemon>,
    pub role: Role,
    /// How many may knock in vain.
    pub strangers: Pace,
}

/// Lets a request through only where its token has the role.
pub(super) async fn need(State(door): State<Door>, mut request: Request, next: Next) -> Response {
    let Door { daemon, role, strangers } = door;
    match roles(&daemon, &request) {
        Err(_) if !strangers.take() => too_many("too many requests a second without a token that counts"),
        Err(problem) => problem.into_response(),
        Ok(roles) if !roles.allow(role) => {
            let detail = format!("this needs a token with the role {}", role.name());
            Problem::new(StatusCode::FORBIDDEN, detail).into_response()
        }
        Ok(roles) => {
            request.extensions_mut().insert(roles);
            next.run(request).await
        }
    }
}

fn roles(daemon: &Daemon, request: &Request) -> Result<Roles, Problem> {
    let headers = request.headers();
    let host = host(request);
    same_origin(headers, host)?;
    let holding = daemon.holding();
    let unauthorized = |detail: &str| Problem::new(StatusCode::UNAUTHORIZED, detail);
    let Some(given) = headers.get(header::AUTHORIZATION) else {
        let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
        let near = peer.is_some_and(|ConnectInfo(address)| address.ip().to_canonical().is_loopback());
        if near && holding.config.auth.allow_loopback_without_token && names_this_machine(host) {
            return Ok(Roles(vec![Role::Admin]));
        }
        return Err(unauthorized("this needs a token: send the header `Authorization: Bearer TOKEN`"));
    };
    let token = given.to_str().ok().and_then(|text| text.split_once(' '));
    let token = token.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, token)| token.trim());
    let roles = holding.tokens.roles(token.unwrap_or_default());
    if roles.is_empty() { Err(unauthorized("nobody has this token")) } else { Ok(Roles(roles)) }
}

/// The name that was asked: a header, or what stands before the path.
fn host(request: &Request) -> &str {
    let header = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    header.or_else(|| request.uri().authority().map(axum::http::uri::Authority::as_str)).unwrap_or_default()
}

/// A page of another site may make a browser ask; it is not answered.
fn same_origin(headers: &HeaderMap, host: &str) -> Result<(), Problem> {
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    let of = |scheme: &[u8]| origin.as_bytes().strip_prefix(scheme).is_some_and(|rest| rest == host.as_bytes());
    if of(b"http://") || of(b"https://") {
        return Ok(());
    }
    Err(Problem::new(StatusCode::FORBIDDEN, "this comes from a page of another site"))
}

/// A name of another site may be made to lead here; without a token only this machine's own names count.
fn names_this_machine(host: &str) -> bool {
    let name = host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
    let name = name.map_or(host, |(name, _)| name);
    matches!(name, "localhost" | "127.0.0.1" | "[::1]")
}
