//! HTTP to an `AdminServer`: questions with their answers, bounded in time and bytes. The only place with an HTTP client.
//!
//! No proxy is used and no redirection followed: credentials go to the server that was named, and to nobody else.

use std::error::Error;
use std::fs::File;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use reqwest::{Body, Client, RequestBuilder, Response, redirect};
use serde_json::{Map, Value};
use tokio_rustls::rustls::Error as Rustls;

use super::{AdminError, AdminOptions, Transfer};
use crate::endpoint::AdminSpec;
use crate::live::explained_tls;

/// The longest answer that is no file; `stats` of a server with thousands of clients has hundreds of KB.
const MAX_ANSWER: usize = 4 << 20;
/// How much of what a server says goes into an error.
const SHOWN: usize = 200;
/// How often it is asked whether to stop.
const STOP_WITHIN: Duration = Duration::from_millis(100);

/// See the module's head.
#[derive(Debug)]
pub(super) struct Http {
    client: Client,
    scheme: &'static str,
    commands: String,
    /// Hidden from debug output by its own mark.
    credentials: Option<HeaderValue>,
    answer_time_out: Duration,
}

/// A question with credentials, or without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum As {
    Nobody,
    Ourselves,
}

impl Http {
    pub(super) fn new(spec: &AdminSpec, options: &AdminOptions) -> Result<Self, AdminError> {
        let unusable = |source| AdminError::Setup { what: "HTTP cannot be set up".to_owned(), source };
        let mut client = Client::builder()
            .no_proxy()
            .http1_only()
            .redirect(redirect::Policy::none())
            .connect_timeout(options.connect_time_out);
        client = match (&options.tls, spec.tls) {
            (Some(tls), true) => client.tls_backend_preconfigured(tls.config()),
            (None, false) => client,
            _ => return Err(unusable(None)),
        };
        let digest = options.auth.iter().find(|auth| auth.scheme == "digest");
        let credentials = digest.map(|auth| {
            let mut value = HeaderValue::from_bytes(&[b"digest ", auth.secret.as_slice()].concat()).map_err(|_| {
                // The credentials stay out of the message.
                let what =
                    "the credentials for the AdminServer have control characters, which HTTP cannot carry: change \
                            the password"
                        .to_owned();
                AdminError::Setup { what, source: None }
            })?;
            value.set_sensitive(true);
            Ok(value)
        });
        Ok(Self {
            client: client.build().map_err(|error| unusable(Some(error.into())))?,
            scheme: if spec.tls { "https" } else { "http" },
            commands: spec.commands.clone(),
            credentials: credentials.transpose()?,
            answer_time_out: options.answer_time_out,
        })
    }

    fn url(&self, host: &str, command: &str, query: Option<&str>) -> String {
        let query = query.map(|query| format!("?{query}")).unwrap_or_default();
        format!("{}://{host}{}/{command}{query}", self.scheme, self.commands)
    }

    fn with_credentials(&self, request: RequestBuilder, who: As) -> RequestBuilder {
        match &self.credentials {
            Some(credentials) if who == As::Ourselves => request.header(AUTHORIZATION, credentials),
            _ => request,
        }
    }

    /// Asks what needs no credentials, for JSON.
    pub(super) async fn ask(
        &self,
        host: &str,
        command: &str,
        query: Option<&str>,
        control: &dyn Transfer,
    ) -> Result<Map<String, Value>, AdminError> {
        let response = self.get(host, command, query, (As::Nobody, self.answer_time_out), control).await?;
        self.object(host, command, response, control).await
    }

    /// Asks, and gives the answer from its head on, whatever it is.
    pub(super) async fn get(
        &self,
        host: &str,
        command: &str,
        query: Option<&str>,
        (who, time_out): (As, Duration),
        control: &dyn Transfer,
    ) -> Result<Response, AdminError> {
        let request = self.with_credentials(self.client.get(self.url(host, command, query)), who);
        within(host, command, time_out, control, request.send()).await
    }

    /// Sends a file of so many bytes, from where it stands, with credentials.
    pub(super) async fn post(
        &self,
        host: &str,
        command: &str,
        (file, bytes): (File, u64),
        time_out: Duration,
        control: &dyn Transfer,
    ) -> Result<Response, AdminError> {
        let body = Body::from(tokio::fs::File::from_std(file));
        let request = self.client.post(self.url(host, command, None)).header(CONTENT_TYPE, "application/octet-stream");
        let request = self.with_credentials(request.header(CONTENT_LENGTH, bytes).body(body), As::Ourselves);
        within(host, command, time_out, control, request.send()).await
    }

    /// An answer that is to be a JSON object without an error in it.
    pub(super) async fn object(
        &self,
        host: &str,
        command: &str,
        mut response: Response,
        control: &dyn Transfer,
    ) -> Result<Map<String, Value>, AdminError> {
        let status = response.status().as_u16();
        let mut body = Vec::new();
        let read = async {
            while let Some(chunk) = response.chunk().await? {
                body.extend_from_slice(&chunk);
                if body.len() > MAX_ANSWER {
                    break;
                }
            }
            Ok(())
        };
        within(host, command, self.answer_time_out, control, read).await?;
        if body.len() > MAX_ANSWER {
            return Err(AdminError::answer(host, command, format!("longer than {MAX_ANSWER} bytes")));
        }
        let object = match serde_json::from_slice(&body) {
            Ok(Value::Object(object)) => Some(object),
            _ => None,
        };
        let error = object.as_ref().and_then(|object| object.get("error"));
        match (status, error) {
            (200, Some(Value::Null)) => Ok(object.unwrap_or_default()),
            (200, None) => {
                Err(AdminError::answer(host, command, format!("no answer to a command: {:?}", shown(&body))))
            }
            (_, error) => {
                let said = error.and_then(Value::as_str).map_or_else(
                    || if object.is_some() { "no reason given".to_owned() } else { shown(&body) },
                    |said| said.chars().take(SHOWN).collect(),
                );
                Err(self.refusal(host, command, status, said))
            }
        }
    }

    fn refusal(&self, host: &str, command: &str, status: u16, said: String) -> AdminError {
        let (host, command) = (host.to_owned(), command.to_owned());
        match status {
            401 | 403 => {
                let said = if self.credentials.is_none() { "no credentials were given".to_owned() } else { said };
                AdminError::Denied { host, command, status, said }
            }
            429 => AdminError::TooSoon { host, command },
            _ => AdminError::Said { host, command, status, said },
        }
    }
}

/// The beginning of what came, with nothing a terminal would act on.
fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.chars().take(SHOWN).map(|sign| if sign.is_control() { ' ' } else { sign }).collect()
}

/// Waits so long at most, and no longer than the caller wants to.
pub(super) async fn within<T>(
    host: &str,
    command: &str,
    time_out: Duration,
    control: &dyn Transfer,
    work: impl Future<Output = Result<T, reqwest::Error>>,
) -> Result<T, AdminError> {
    let mut work = pin!(tokio::time::timeout(time_out, work));
    loop {
        if control.cancelled() {
            return Err(AdminError::Stopped);
        }
        match tokio::time::timeout(STOP_WITHIN, &mut work).await {
            Err(_) => {}
            Ok(Ok(done)) => return done.map_err(|error| failed(host, command, &error)),
            Ok(Err(_)) => {
                return Err(AdminError::Silent {
                    host: host.to_owned(),
                    command: command.to_owned(),
                    waited: time_out,
                });
            }
        }
    }
}

/// Why there was no answer, or no more of it.
fn failed(host: &str, command: &str, error: &reqwest::Error) -> AdminError {
    let (host, command) = (host.to_owned(), command.to_owned());
    let cause = cause(error);
    if error.is_connect() || error.is_builder() {
        AdminError::Unreachable { host, command, cause }
    } else {
        AdminError::Lost { host, command, cause }
    }
}

/// An error of TLS, however many errors of input and output are around it: their `source` skips what they hold.
fn tls_within<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e Rustls> {
    error.downcast_ref().or_else(|| tls_within(error.downcast_ref::<io::Error>()?.get_ref()?))
}

/// The innermost cause, which is what happened; of TLS what it means.
fn cause(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        if let Some(tls) = tls_within(error) {
            return match tls {
                Rustls::InvalidMessage(_) => "the server does not speak TLS there; write admin+http://".to_owned(),
                tls => explained_tls(tls),
            };
        }
        text = error.to_string();
        next = error.source();
    }
    text
}
