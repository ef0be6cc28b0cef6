//! From a host name to a connection that is ready for requests: address, socket, TLS, handshake, credentials, watches.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use zk_format::jute::Reader;

use super::code::Code;
use super::connection::Connection;
use super::error::{Broken, LiveError};
use super::events::Events;
use super::frame::{Request, Stream, framed, read_frame};
use super::once::set_again;
use super::options::ConnectOptions;
use super::sasl::{self, SaslUser};
use super::wire::{AnswerHeader, ConnectAnswer, ConnectRequest, WatchEvent, op, xid};

/// A handshake's answers are small.
const MAX_FIRST_FRAME: usize = 64 << 10;

/// The session as far as it is known.
#[derive(Clone, Debug, Default)]
pub struct SessionKey {
    pub id: i64,
    pub password: Vec<u8>,
    pub last_zxid: i64,
}

/// Paths, as the server has them, under recursive and plain persistent watches.
#[derive(Clone, Debug, Default)]
pub struct Watched {
    pub plain: Vec<Vec<u8>>,
    pub recursive: Vec<Vec<u8>>,
}

impl Watched {
    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.plain.is_empty() && self.recursive.is_empty()
    }
}

/// Why a server was not taken.
#[derive(Debug)]
pub enum Refusal {
    /// Another server may be better, or this one later.
    Next(String),
    /// Another server may be better; this one will not change its mind.
    Lasting(String),
    /// The session to resume is over.
    Expired,
    /// No server will do.
    Never(LiveError),
}

impl From<Broken> for Refusal {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Tls(why) => Self::Lasting(why),
            other => Self::Next(other.to_string()),
        }
    }
}

/// A connection and the session it serves.
pub struct Dialled {
    pub connection: Connection,
    pub session: SessionKey,
    pub read_only: bool,
}

/// Connects to one server; its name is resolved each time.
pub async fn dial(
    host: &str,
    options: &ConnectOptions,
    session: &SessionKey,
    watched: &Watched,
    events: &Arc<Events>,
) -> Result<Dialled, Refusal> {
    let limit = options.server_time_out;
    match tokio::time::timeout(limit, attempt(host, options, session, watched, events)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Refusal::Next(format!(
            "no answer within {:.1} s; a firewall, or a server that hangs",
            limit.as_secs_f64()
        ))),
    }
}

async fn attempt(
    host: &str,
    options: &ConnectOptions,
    session: &SessionKey,
    watched: &Watched,
    events: &Arc<Events>,
) -> Result<Dialled, Refusal> {
    let mut stream = open(host, options).await?;
    let answer = greet(&mut *stream, options, session).await?;
    if session.id != 0 && (answer.timeout_ms <= 0 || answer.session != session.id) {
        return Err(Refusal::Expired);
    }
    if answer.timeout_ms <= 0 {
        return Err(Refusal::Next("it gave no session; its clock or its set-up is wrong".to_owned()));
    }
    if answer.read_only && !options.allow_read_only {
        return Err(Refusal::Next("it is read-only: it has lost its quorum".to_owned()));
    }
    let session_time_out = Duration::from_millis(u64::try_from(answer.timeout_ms).unwrap_or_default());
    let mut talk =
        Talk { stream: &mut *stream, patience: options.server_time_out, last_zxid: session.last_zxid, events };
    if let Some(user) = &options.sasl {
        authenticate_sasl(&mut talk, host, user).await?;
    }
    for info in &options.auth {
        authenticate(&mut talk, host, info).await?;
    }
    set_watches(&mut talk, watched).await?;
    let last_zxid = talk.last_zxid;
    let connection = Connection::start(host.to_owned(), stream, options, session_time_out, last_zxid, events.clone());
    let session = SessionKey { id: answer.session, password: answer.password, last_zxid };
    Ok(Dialled { connection, session, read_only: answer.read_only })
}

/// The way to a server, with TLS where it is asked for, and nothing said yet.
pub async fn open(host: &str, options: &ConnectOptions) -> Result<Box<dyn Stream>, Refusal> {
    let socket = socket(host).await?;
    // Requests are gathered before they are written.
    socket.set_nodelay(true).map_err(Broken::from)?;
    Ok(match &options.tls {
        Some(tls) => Box::new(tls.wrap(host, socket).await?),
        None => Box::new(socket),
    })
}

async fn socket(host: &str) -> Result<TcpStream, Refusal> {
    let addresses = tokio::net::lookup_host(host)
        .await
        .map_err(|error| Refusal::Next(format!("the name does not resolve ({error})")))?;
    let mut last = "the name has no address".to_owned();
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(socket) => return Ok(socket),
            Err(error) => last = error.to_string(),
        }
    }
    Err(Refusal::Next(last))
}

async fn greet(
    stream: &mut dyn Stream,
    options: &ConnectOptions,
    session: &SessionKey,
) -> Result<ConnectAnswer, Refusal> {
    let none = [0; 16];
    let request = ConnectRequest {
        last_zxid: session.last_zxid,
        timeout_ms: i32::try_from(options.session_time_out.as_millis()).unwrap_or(i32::MAX),
        session: session.id,
        password: if session.id == 0 { &none } else { &session.password },
        read_only: options.allow_read_only,
    };
    let mut stream = stream;
    stream.write_all(&framed(&request.encode())).await.map_err(refused)?;
    stream.flush().await.map_err(refused)?;
    let frame = read_frame(&mut stream, MAX_FIRST_FRAME, options.server_time_out).await.map_err(refused)?;
    ConnectAnswer::decode(&frame)
        .map_err(|error| Refusal::Next(format!("it does not answer as a ZooKeeper server does ({error})")))
}

/// What it means that the handshake came to no end.
fn refused(broken: impl Into<Broken>) -> Refusal {
    match broken.into() {
        Broken::Closed => Refusal::Next(
            "it closed the connection during the handshake: it has no quorum, has too many connections from here \
             (maxClientCnxns), is behind what this session saw, or wants TLS (zk+tls://) or another certificate"
                .to_owned(),
        ),
        other => other.into(),
    }
}

async fn authenticate(talk: &mut Talk<'_>, host: &str, info: &super::AuthInfo) -> Result<(), Refusal> {
    let mut request = Request::new(op::AUTH);
    request.body().i32(0).ustring(Some(info.scheme.as_bytes())).buffer(Some(&info.secret));
    let answer = talk.ask(request, xid::AUTH).await?;
    if answer.code == 0 {
        return Ok(());
    }
    Err(Refusal::Never(LiveError::AuthFailed { host: host.to_owned(), scheme: info.scheme.clone() }))
}

/// DIGEST-MD5: an empty token asks for a challenge, and the server's last word proves that it knows the password.
async fn authenticate_sasl(talk: &mut Talk<'_>, host: &str, user: &SaslUser) -> Result<(), Refusal> {
    let failed = || Refusal::Never(LiveError::AuthFailed { host: host.to_owned(), scheme: "sasl".to_owned() });
    let challenge = token(talk, b"", 1).await?.ok_or_else(failed)?;
    let response = sasl::respond(&challenge, user)
        .map_err(|why| Refusal::Lasting(format!("SASL does not work with it: {why}")))?;
    // Servers tell of wrong credentials, or only close the connection.
    let verdict = match token(talk, response.text.as_bytes(), 2).await {
        Err(Broken::Closed) => return Err(failed()),
        outcome => outcome?.ok_or_else(failed)?,
    };
    if verdict == response.expected.as_bytes() {
        return Ok(());
    }
    Err(Refusal::Lasting("it does not know our SASL password, so it is not the server that it says it is".to_owned()))
}

/// Hands a token over and gives the server's; `None` where it refuses.
async fn token(talk: &mut Talk<'_>, token: &[u8], number: i32) -> Result<Option<Vec<u8>>, Broken> {
    let mut request = Request::new(op::SASL);
    request.body().buffer(Some(token));
    let answer = talk.ask(request, number).await?;
    if answer.code != 0 {
        return Ok(None);
    }
    let unreadable = |error| Broken::Protocol(format!("an answer to SASL cannot be read: {error}"));
    let mut body = Reader::new(answer.frame.get(AnswerHeader::BYTES..).unwrap_or_default());
    Ok(Some(body.buffer().map_err(unreadable)?.unwrap_or_default().to_vec()))
}

/// Sets all watches again, those that fire once in as many frames as they take.
async fn set_watches(talk: &mut Talk<'_>, watched: &Watched) -> Result<(), Refusal> {
    // As it was when the connection was lost: answers to the first frames must not hide what changed from the next.
    let last_zxid = talk.last_zxid;
    let lasting = (!watched.is_empty()).then_some((&*watched.plain, &*watched.recursive));
    let mut portions = talk.events.once().portions();
    if portions.is_empty() && lasting.is_some() {
        portions.push(Vec::new());
    }
    for (index, portion) in portions.iter().enumerate() {
        // Persistent ones once are enough, and a frame without them is one that every version knows.
        let request = set_again(last_zxid, portion, lasting.filter(|_| index == 0));
        let answer = talk.ask(request, xid::SET_WATCHES).await?;
        if answer.code != 0 {
            return Err(Refusal::Next(format!("it did not take the watches over: {}", Code(answer.code))));
        }
    }
    Ok(())
}

/// The one talking on a connection that is not ready for others.
pub struct Talk<'a> {
    stream: &'a mut dyn Stream,
    patience: Duration,
    last_zxid: i64,
    events: &'a Events,
}

/// An answer during the handshake.
pub struct Told {
    pub code: i32,
    frame: Vec<u8>,
}

impl Talk<'_> {
    /// Sends a request and waits for the answer with its number. Notifications may come in between.
    pub async fn ask(&mut self, request: Request, number: i32) -> Result<Told, Broken> {
        self.stream.write_all(&request.into_frame(number)).await?;
        self.stream.flush().await?;
        loop {
            let frame = read_frame(&mut self.stream, MAX_FIRST_FRAME, self.patience).await?;
            let mut body = Reader::new(&frame);
            let unreadable = |error| Broken::Protocol(format!("an answer cannot be read: {error}"));
            let header = AnswerHeader::read(&mut body).map_err(unreadable)?;
            self.last_zxid = self.last_zxid.max(header.zxid);
            if header.xid == number {
                return Ok(Told { code: header.code, frame });
            }
            match header.xid {
                xid::WATCH => self.events.push(WatchEvent::read(&mut body).map_err(unreadable)?),
                xid::PING => {}
                other => return Err(Broken::Protocol(format!("an answer to request {other}, which was not sent"))),
            }
        }
    }
}
