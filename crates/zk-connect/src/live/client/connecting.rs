//! How a client comes to its connection.
//!
//! Whoever asks for a connection has it made by a task of its own. A future that holds the turn to connect, or waits for it,
//! may be left alone for a while by whoever polls it, as futures in a window are while the answer to one of them is dealt
//! with; if that needs a connection too, both would wait for ever.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::{About, Client, LONGEST_PAUSE, pauses};
use crate::live::connection::Connection;
use crate::live::dial::{Dialled, Refusal, SessionKey, Watched, dial};
use crate::live::error::{Broken, LiveError};

/// Why there is no connection.
enum NoConnection {
    /// The client was closed, or the program is about to end.
    Closed,
    Expired,
    /// The session was to be the only one.
    Gone,
    Unreachable {
        waited: Duration,
        causes: String,
    },
    Never(LiveError),
}

impl Client {
    /// A client of the same session that uses the present connection alone, or one made now: once that has ended, whatever is
    /// sent through it is lost ([`LiveError::Lost`]). Nothing sent so reaches a server over a later connection.
    pub async fn on_one_connection(&self) -> Result<Self, LiveError> {
        let connection = self.connection(About { operation: "connect", path: b"" }).await?;
        Ok(Self { inner: self.inner.clone(), only: Some(connection) })
    }

    /// The present connection, or a new one.
    pub(super) async fn connection(&self, about: About<'_>) -> Result<Arc<Connection>, LiveError> {
        if let Some(only) = &self.only {
            return match only.broken() {
                None => Ok(only.clone()),
                Some(broken) => Err(about.lost(only.host(), broken)),
            };
        }
        if let Some(connection) = self.current().alive() {
            return Ok(connection);
        }
        // Aborted where nobody waits any more: then the next one connects.
        let mut task = JoinSet::new();
        task.spawn({
            let (client, unreachable) = (self.clone(), self.current().unreachable);
            async move { client.connect_in_turn(unreachable).await }
        });
        let made = match task.join_next().await {
            Some(Ok(made)) => made,
            Some(Err(error)) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Some(Err(_)) | None => Err(NoConnection::Closed),
        };
        made.map_err(|why| match why {
            NoConnection::Closed => about.lost("the ensemble", Broken::Dropped),
            NoConnection::Expired => about.expired(),
            NoConnection::Gone => about.gone(),
            NoConnection::Unreachable { waited, causes } => {
                LiveError::Unreachable { hosts: self.inner.options.hosts.join(","), waited, causes }
            }
            NoConnection::Never(error) => error,
        })
    }

    /// One connects, others wait and have what it made. `unreachable` is how often nobody could be reached before.
    async fn connect_in_turn(&self, unreachable: u64) -> Result<Arc<Connection>, NoConnection> {
        let asked = Instant::now();
        let _connecting = self.inner.connecting.lock().await;
        let (session, closed, only_this) = {
            let mut current = self.current();
            if let Some(connection) = current.alive() {
                return Ok(connection);
            }
            // Somebody tried while we waited: a hundred requests are not a hundred times as patient as one.
            if current.unreachable > unreachable {
                return Err(NoConnection::Unreachable { waited: asked.elapsed(), causes: current.causes.clone() });
            }
            if let Some(connection) = current.connection.take() {
                current.session.last_zxid = current.session.last_zxid.max(connection.last_zxid());
            }
            (current.session.clone(), current.closed, current.only_this)
        };
        if closed {
            return Err(NoConnection::Closed);
        }
        if only_this && session.id == 0 {
            return Err(NoConnection::Gone);
        }
        let watched = self.watched().clone();
        let started = Instant::now();
        match self.dial_any(&session, &watched).await {
            Ok(dialled) => {
                // Persistent watches replay nothing after a reconnect; of those that fire once the server was told what
                // we had seen, and has fired them.
                if session.id != 0 && !watched.is_empty() {
                    self.inner.events.missed();
                }
                self.install(dialled)
            }
            Err(Refusal::Expired) => {
                // The next operation opens a new session; this one's caller may have counted on the old.
                self.current().session = SessionKey { last_zxid: session.last_zxid, ..SessionKey::default() };
                if !watched.is_empty() {
                    self.inner.events.missed();
                }
                Err(if only_this { NoConnection::Gone } else { NoConnection::Expired })
            }
            Err(Refusal::Never(error)) => Err(NoConnection::Never(error)),
            Err(Refusal::Next(causes) | Refusal::Lasting(causes)) => {
                let mut current = self.current();
                current.unreachable += 1;
                current.causes.clone_from(&causes);
                Err(NoConnection::Unreachable { waited: started.elapsed(), causes })
            }
        }
    }

    fn install(&self, dialled: Dialled) -> Result<Arc<Connection>, NoConnection> {
        let connection = Arc::new(dialled.connection);
        let mut current = self.current();
        // Closed meanwhile: a connection would keep the session alive, which nobody ends any more.
        if current.closed {
            return Err(NoConnection::Closed);
        }
        current.connection = Some(connection.clone());
        current.session = dialled.session;
        current.read_only = dialled.read_only;
        current.connections += 1;
        Ok(connection)
    }

    /// Tries the servers in turn, with growing pauses between rounds, until the time for it is over.
    async fn dial_any(&self, session: &SessionKey, watched: &Watched) -> Result<Dialled, Refusal> {
        let options = &self.inner.options;
        let started = Instant::now();
        let mut pauses = pauses();
        loop {
            let mut causes = Vec::new();
            let mut lasting = true;
            for _ in 0..options.hosts.len() {
                let host = {
                    let mut current = self.current();
                    let host = options.hosts.get(current.next_host % options.hosts.len()).cloned().unwrap_or_default();
                    current.next_host = (current.next_host + 1) % options.hosts.len();
                    host
                };
                match dial(&host, options, session, watched, &self.inner.events).await {
                    Err(Refusal::Next(cause)) => {
                        lasting = false;
                        causes.push(format!("{host}: {cause}"));
                    }
                    Err(Refusal::Lasting(cause)) => causes.push(format!("{host}: {cause}")),
                    outcome => return outcome,
                }
            }
            let pause = pauses.next().unwrap_or(LONGEST_PAUSE);
            if lasting || started.elapsed() + pause >= options.connect_time_out {
                return Err(Refusal::Next(causes.join("; ")));
            }
            tokio::time::sleep(pause).await;
        }
    }
}
