//! A session with an ensemble, over one connection at a time.
//!
//! Reads are tried again on a new connection, within bounds; a write is sent once, and where its answer is lost the
//! caller is told so and must look. After a reconnect credentials come first, then watches; that something may have
//! been missed is told as [`super::Event::Missed`]. An expired session is replaced by a new one, without its ephemeral
//! nodes: whoever was waiting is told. One that holds a lock is not replaced: see [`Client::keep_session`].

mod connecting;
mod keeping;
mod operations;
mod paths;

pub use keeping::KeptSession;
pub use operations::Read;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder};
use tokio::sync::Mutex as AsyncMutex;
use zk_format::path::display;

use super::connection::{Answer, Connection};
use super::dial::{SessionKey, Watched};
use super::error::{Broken, LiveError};
use super::events::Events;
use super::frame::Request;
use super::options::ConnectOptions;
use super::wire::op;

/// How often a read is tried on a new connection before its error is told.
const READ_ATTEMPTS: usize = 4;
/// The same where an answer was waited for in vain: that has taken its time already.
const SILENT_ATTEMPTS: usize = 2;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(3);
/// A server that does not take its leave within this is left alone; the session then ends by itself.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);

/// See the module's head. Cheap to clone; all clones are one session.
#[derive(Clone, Debug)]
pub struct Client {
    inner: Arc<Inner>,
    /// The connection that alone is used, where that is asked for.
    only: Option<Arc<Connection>>,
}

#[derive(Debug)]
struct Inner {
    options: ConnectOptions,
    events: Arc<Events>,
    watched: Mutex<Watched>,
    current: Mutex<Current>,
    /// Held by whoever connects.
    connecting: AsyncMutex<()>,
}

#[derive(Debug, Default)]
struct Current {
    connection: Option<Arc<Connection>>,
    session: SessionKey,
    read_only: bool,
    /// Connections there have been.
    connections: u64,
    /// The place in the list of hosts to try next.
    next_host: usize,
    closed: bool,
    /// Whether there must be no other session after this one.
    only_this: bool,
    /// Times that no server could be reached, and what they said the last time.
    unreachable: u64,
    causes: String,
}

impl Current {
    /// The connection, if it has not ended.
    fn alive(&self) -> Option<Arc<Connection>> {
        self.connection.clone().filter(|connection| connection.broken().is_none())
    }
}

/// What an operation is about, for errors.
#[derive(Clone, Copy, Debug)]
pub(crate) struct About<'a> {
    pub operation: &'static str,
    pub path: &'a [u8],
}

impl About<'_> {
    fn path(self) -> String {
        display(self.path).to_string()
    }

    fn expired(self) -> LiveError {
        LiveError::SessionExpired { operation: self.operation, path: self.path() }
    }

    fn gone(self) -> LiveError {
        LiveError::SessionGone { operation: self.operation, path: self.path() }
    }

    fn lost(self, host: &str, source: Broken) -> LiveError {
        LiveError::Lost { operation: self.operation, path: self.path(), host: host.to_owned(), source }
    }
}

impl Client {
    /// Opens a session with the first server that takes it.
    pub async fn connect(options: ConnectOptions) -> Result<Self, LiveError> {
        let client = Self {
            inner: Arc::new(Inner {
                options,
                events: Arc::default(),
                watched: Mutex::default(),
                current: Mutex::default(),
                connecting: AsyncMutex::default(),
            }),
            only: None,
        };
        client.connection(About { operation: "connect", path: b"" }).await?;
        Ok(client)
    }

    /// How it connects.
    pub fn options(&self) -> &ConnectOptions {
        &self.inner.options
    }

    /// What its watches told.
    pub fn events(&self) -> &Events {
        &self.inner.events
    }

    /// The server it is, or was last, connected to; empty before the first.
    pub fn host(&self) -> String {
        self.current().connection.as_ref().map(|connection| connection.host().to_owned()).unwrap_or_default()
    }

    /// Connections there have been: grows when one was lost and replaced.
    pub fn connections(&self) -> u64 {
        self.current().connections
    }

    /// The session's id.
    pub fn session_id(&self) -> i64 {
        self.current().session.id
    }

    /// Whether the server has no quorum.
    pub fn is_read_only(&self) -> bool {
        self.current().read_only
    }

    /// The newest transaction that any answer named.
    pub fn last_zxid(&self) -> i64 {
        let current = self.current();
        current.connection.as_ref().map_or(current.session.last_zxid, |connection| connection.last_zxid())
    }

    /// Waits until the present connection has ended.
    pub async fn disconnected(&self) {
        let connection = self.current().connection.clone();
        if let Some(connection) = connection {
            connection.ended().await;
        }
    }

    /// Breaks the present connection, as a failing network does; the next operation resumes the session.
    pub fn disconnect(&self) {
        if let Some(connection) = &self.current().connection {
            connection.end(&Broken::Io("disconnected on request".to_owned()));
        }
    }

    /// Breaks the present connection and makes no other: the session ends by its time-out.
    pub fn abandon(&self) {
        self.current().closed = true;
        self.disconnect();
    }

    /// Ends the session: its ephemeral nodes and watches go at once.
    pub async fn close(&self) {
        let connection = {
            let mut current = self.current();
            current.closed = true;
            current.connection.clone()
        };
        if let Some(connection) = connection.filter(|connection| connection.broken().is_none()) {
            // Where it does not answer the session ends by its time-out.
            let _ = tokio::time::timeout(CLOSE_WITHIN, connection.call(Request::new(op::CLOSE), 0)).await;
            connection.end(&Broken::Dropped);
        }
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        self.inner.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn watched(&self) -> MutexGuard<'_, Watched> {
        self.inner.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a request once.
    pub(crate) async fn send(&self, about: About<'_>, request: Request, expected: usize) -> Result<Answer, LiveError> {
        let limit = self.inner.options.max_request_bytes;
        if request.len() > limit {
            let bytes = request.len();
            return Err(LiveError::TooLarge { operation: about.operation, path: about.path(), bytes, limit });
        }
        let connection = self.connection(about).await?;
        connection.call(request, expected).await.map_err(|broken| about.lost(connection.host(), broken))
    }

    /// Sends a request that changes nothing, again where the connection is lost.
    pub(crate) async fn read<T>(
        &self,
        about: About<'_>,
        expected: usize,
        request: impl Fn() -> Request,
        decode: impl Fn(&Answer) -> Result<T, LiveError>,
    ) -> Result<T, LiveError> {
        let mut attempt = 1;
        let mut pauses = pauses();
        loop {
            let outcome = match self.send(about, request(), expected).await {
                Ok(answer) => decode(&answer),
                Err(error) => Err(error),
            };
            match outcome {
                Err(error) if error.is_transient() && attempt < attempts(&error) => {
                    attempt += 1;
                    tokio::time::sleep(pauses.next().unwrap_or(LONGEST_PAUSE)).await;
                }
                outcome => return outcome,
            }
        }
    }
}

fn attempts(error: &LiveError) -> usize {
    match error {
        LiveError::Lost { source: Broken::Silent(_), .. } => SILENT_ATTEMPTS,
        _ => READ_ATTEMPTS,
    }
}

/// Doubling, with jitter, so that many clients do not come back at once.
fn pauses() -> impl Iterator<Item = Duration> {
    ExponentialBuilder::default()
        .with_min_delay(FIRST_PAUSE)
        .with_max_delay(LONGEST_PAUSE)
        .with_jitter()
        .without_max_times()
        .build()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use zk_format::jute::Writer;

    use super::*;
    use crate::live::frame::framed;

    /// A server: its first connection gets a session and is lost at the first request, the second gets it again after a moment,
    /// all others are turned away. Gives its address and how many connections there were.
    async fn server() -> (String, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let dialled = Arc::new(AtomicUsize::new(0));
        let count = dialled.clone();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let number = count.fetch_add(1, Ordering::Relaxed);
                if number < 2 {
                    stream.read_exact(&mut [0; 49]).await.unwrap();
                    tokio::time::sleep(Duration::from_millis(100 * number as u64)).await;
                    let mut answer = Writer::new();
                    answer.i32(0).i32(30_000).i64(7).buffer(Some(&[1; 16])).bool(false);
                    stream.write_all(&framed(&answer.into_bytes())).await.unwrap();
                    // Until a request comes, or the client is gone.
                    let _ = stream.read_exact(&mut [0; 4]).await;
                }
            }
        });
        (address, dialled)
    }

    async fn client_of(address: String) -> Client {
        let connect_time_out = Duration::from_millis(300);
        Client::connect(ConnectOptions { hosts: vec![address], connect_time_out, ..ConnectOptions::default() })
            .await
            .unwrap()
    }

    /// A scan asks for hundreds of ACLs at once. When the server died each of them looked for a server in its turn, as
    /// long as one does alone: hours, for a scan of which nobody heard again.
    #[tokio::test]
    async fn many_requests_give_up_together() {
        let (address, dialled) = server().await;
        let client = client_of(address).await;
        let asked = (0..200).map(|_| client.get_acl(b"/a"));
        for outcome in futures::future::join_all(asked).await {
            assert!(matches!(outcome, Err(LiveError::Unreachable { .. } | LiveError::Lost { .. })), "{outcome:?}");
        }
        let dialled = dialled.load(Ordering::Relaxed);
        assert!(dialled < 60, "{dialled} connections for 200 requests");
    }

    /// While a restore dealt with a write that was lost it left the writes after that alone, of which one was connecting: it
    /// waited for that one, for ever.
    #[tokio::test]
    async fn a_request_that_nobody_polls_holds_no_other_up() {
        let (address, dialled) = server().await;
        let client = client_of(address).await;
        client.disconnect();
        let mut connecting = std::pin::pin!(client.get_acl(b"/a"));
        while dialled.load(Ordering::Relaxed) < 2 {
            assert!(futures::poll!(&mut connecting).is_pending());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let other = tokio::time::timeout(Duration::from_secs(20), client.get_acl(b"/b"));
        assert!(other.await.expect("it waits for one that nobody polls").is_err());
        // And for one that only waits for its turn.
        client.disconnect();
        let mut waiting = std::pin::pin!(client.get_acl(b"/c"));
        assert!(futures::poll!(&mut waiting).is_pending());
        let other = tokio::time::timeout(Duration::from_secs(20), client.get_acl(b"/d"));
        assert!(other.await.expect("it waits for one that nobody polls").is_err());
    }

    #[tokio::test]
    async fn what_is_bound_to_a_connection_is_lost_with_it() {
        let (address, dialled) = server().await;
        let client = client_of(address).await;
        let bound = client.on_one_connection().await.unwrap();
        client.disconnect();
        let lost = bound.delete(b"/a", -1).await.unwrap_err();
        assert!(matches!(lost, LiveError::Lost { operation: "delete", .. }), "{lost:?}");
        assert_eq!(dialled.load(Ordering::Relaxed), 1, "it has connected again");
        // Another one is made for who is not bound, and the first is lost all the same.
        let again = client.on_one_connection().await.unwrap();
        assert_eq!(dialled.load(Ordering::Relaxed), 2);
        assert!(again.current().alive().is_some());
        assert!(matches!(bound.delete(b"/a", -1).await, Err(LiveError::Lost { .. })));
    }

    /// A connection that was being made would keep the session alive, and the lock that it holds.
    #[tokio::test]
    async fn who_is_closed_while_it_connects_has_no_connection() {
        let (address, dialled) = server().await;
        let client = client_of(address).await;
        client.disconnect();
        let mut connecting = std::pin::pin!(client.get_acl(b"/a"));
        while dialled.load(Ordering::Relaxed) < 2 {
            assert!(futures::poll!(&mut connecting).is_pending());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        client.abandon();
        let lost = connecting.await.unwrap_err();
        assert!(matches!(lost, LiveError::Lost { source: Broken::Dropped, .. }), "{lost:?}");
        assert!(client.current().alive().is_none());
        assert_eq!(dialled.load(Ordering::Relaxed), 2);
    }
}
