//! One connection: requests go out as they come, answers are matched by their number.
//!
//! A task writes, another reads. Whatever goes wrong breaks the whole connection, and everything that waits is told
//! so: after a lost byte or a late answer nothing on it can be trusted. Requests under way are bounded in number and
//! bytes; the bound is given back when the answer arrives, also where nobody waits for it any more.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncWriteExt as _, BufReader, ReadHalf, WriteHalf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;
use zk_format::jute::Reader;

use super::error::Broken;
use super::events::Events;
use super::frame::{Request, Stream, read_frame};
use super::options::ConnectOptions;
use super::wire::{AnswerHeader, WatchEvent, op, xid};

/// Bytes that go out in one write, about.
const WRITE_BYTES: usize = 256 << 10;
const READ_BUFFER: usize = 256 << 10;
/// The bound on bytes is counted in steps of this.
const STEP_BYTES: usize = 1024;

/// An answer whose header was read.
#[derive(Debug)]
pub struct Answer {
    /// The server's newest transaction when it answered.
    pub zxid: i64,
    /// 0 or an error code.
    pub code: i32,
    frame: Vec<u8>,
    _under_way: [OwnedSemaphorePermit; 2],
}

impl Answer {
    /// What follows the header.
    pub fn body(&self) -> Reader<'_> {
        Reader::at(self.frame.get(AnswerHeader::BYTES..).unwrap_or_default(), AnswerHeader::BYTES as u64)
    }
}

struct Waiting {
    answer: oneshot::Sender<Result<Answer, Broken>>,
    under_way: [OwnedSemaphorePermit; 2],
}

#[derive(Default)]
struct Open {
    waiting: HashMap<i32, Waiting>,
    last_xid: i32,
    broken: Option<Broken>,
}

struct Shared {
    open: Mutex<Open>,
    last_zxid: AtomicI64,
    events: Arc<Events>,
    ended: tokio::sync::watch::Sender<bool>,
}

/// See the module's head. Dropping it closes the socket; the session lives on at the server.
pub struct Connection {
    host: String,
    shared: Arc<Shared>,
    outgoing: mpsc::UnboundedSender<Vec<u8>>,
    requests: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    all_bytes: u32,
    patience: Duration,
    tasks: [JoinHandle<()>; 2],
}

impl Connection {
    /// Takes over a stream on which the handshake is done.
    pub fn start(
        host: String,
        stream: Box<dyn Stream>,
        options: &ConnectOptions,
        session_time_out: Duration,
        last_zxid: i64,
        events: Arc<Events>,
    ) -> Self {
        let shared = Arc::new(Shared {
            open: Mutex::default(),
            last_zxid: AtomicI64::new(last_zxid),
            events,
            ended: tokio::sync::watch::Sender::new(false),
        });
        let (incoming, outbound) = tokio::io::split(stream);
        let (outgoing, queue) = mpsc::unbounded_channel();
        // The server is asked for a sign of life every third, so two thirds of silence are its end.
        let silence = session_time_out * 2 / 3;
        let reader = tokio::spawn(read(shared.clone(), incoming, options.max_answer_bytes, silence));
        let writer = tokio::spawn(write(shared.clone(), outbound, queue, session_time_out / 3));
        let all_bytes = u32::try_from(options.max_bytes / STEP_BYTES).unwrap_or(u32::MAX).max(1);
        Self {
            host,
            shared,
            outgoing,
            requests: Arc::new(Semaphore::new(options.max_requests.max(1))),
            bytes: Arc::new(Semaphore::new(all_bytes as usize)),
            all_bytes,
            patience: options.request_time_out,
            tasks: [reader, writer],
        }
    }

    /// The server.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The newest transaction that any answer named.
    pub fn last_zxid(&self) -> i64 {
        self.shared.last_zxid.load(Ordering::Relaxed)
    }

    /// How it ended, if it has.
    pub fn broken(&self) -> Option<Broken> {
        self.shared.lock().broken.clone()
    }

    /// Waits until it has ended.
    pub async fn ended(&self) {
        self.shared.ended().await;
    }

    /// Sends a request and waits for its answer. `expected` is about how many bytes that will have.
    pub async fn call(&self, request: Request, expected: usize) -> Result<Answer, Broken> {
        let steps = (request.len().saturating_add(expected) / STEP_BYTES).saturating_add(1);
        let steps = u32::try_from(steps).unwrap_or(u32::MAX).min(self.all_bytes);
        let room = async {
            let request = self.requests.clone().acquire_owned().await.ok()?;
            Some([request, self.bytes.clone().acquire_many_owned(steps).await.ok()?])
        };
        let Some(under_way) = room.await else { return Err(Broken::Dropped) };
        let (answer, answered) = oneshot::channel();
        {
            let mut open = self.shared.lock();
            if let Some(broken) = &open.broken {
                return Err(broken.clone());
            }
            let number = open.next_xid();
            open.waiting.insert(number, Waiting { answer, under_way });
            // Under the lock: numbers go out in their order. Fails only where the writer has ended, and then `broken` is
            // about to be set and this request to be answered with it.
            let _ = self.outgoing.send(request.into_frame(number));
        }
        match tokio::time::timeout(self.patience, answered).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(Broken::Dropped),
            Err(_) => {
                let silent = Broken::Silent(self.patience);
                self.shared.end(&silent);
                Err(silent)
            }
        }
    }

    /// Ends it: everything that waits fails with this.
    pub fn end(&self, why: &Broken) {
        self.shared.end(why);
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.shared.end(&Broken::Dropped);
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("host", &self.host).field("broken", &self.broken()).finish_non_exhaustive()
    }
}

impl Open {
    fn next_xid(&mut self) -> i32 {
        self.last_xid = self.last_xid.checked_add(1).unwrap_or(1);
        self.last_xid
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn ended(&self) {
        // The sender lives as long as `self`.
        let _ = self.ended.subscribe().wait_for(|ended| *ended).await;
    }

    /// The first reason is the one that is told.
    fn end(&self, why: &Broken) {
        let waiting = {
            let mut open = self.lock();
            if open.broken.is_some() {
                return;
            }
            open.broken = Some(why.clone());
            std::mem::take(&mut open.waiting)
        };
        self.ended.send_replace(true);
        for (_, waiting) in waiting {
            // Whoever waited may have gone.
            let _ = waiting.answer.send(Err(why.clone()));
        }
    }

    fn arrived(&self, frame: Vec<u8>) -> Result<(), Broken> {
        let mut body = Reader::new(&frame);
        let header = AnswerHeader::read(&mut body)
            .map_err(|error| Broken::Protocol(format!("an answer has no header: {error}")))?;
        match header.xid {
            xid::WATCH => {
                let event = WatchEvent::read(&mut body)
                    .map_err(|error| Broken::Protocol(format!("a notification cannot be read: {error}")))?;
                self.events.push(event);
                return Ok(());
            }
            xid::PING | xid::AUTH | xid::SET_WATCHES => return Ok(()),
            _ => {}
        }
        if header.zxid > 0 {
            self.last_zxid.fetch_max(header.zxid, Ordering::Relaxed);
        }
        let waiting = self.lock().waiting.remove(&header.xid);
        let Some(Waiting { answer, under_way }) = waiting else {
            return Err(Broken::Protocol(format!("an answer to request {}, which was not sent", header.xid)));
        };
        // Whoever waited may have gone.
        let _ = answer.send(Ok(Answer { zxid: header.zxid, code: header.code, frame, _under_way: under_way }));
        Ok(())
    }
}

async fn read(shared: Arc<Shared>, incoming: ReadHalf<Box<dyn Stream>>, limit: usize, silence: Duration) {
    let mut incoming = BufReader::with_capacity(READ_BUFFER, incoming);
    let reading = async {
        loop {
            match read_frame(&mut incoming, limit, silence).await {
                Ok(frame) => {
                    if let Err(why) = shared.arrived(frame) {
                        break why;
                    }
                }
                Err(why) => break why,
            }
        }
    };
    // Both halves go when it ends, and with them the socket.
    let why = tokio::select! { why = reading => why, () = shared.ended() => return };
    shared.end(&why);
}

async fn write(
    shared: Arc<Shared>,
    mut outbound: WriteHalf<Box<dyn Stream>>,
    mut queue: mpsc::UnboundedReceiver<Vec<u8>>,
    ping_every: Duration,
) {
    let writing = async {
        loop {
            let mut bytes = match tokio::time::timeout(ping_every, queue.recv()).await {
                Ok(Some(frame)) => frame,
                Ok(None) => break Broken::Dropped,
                Err(_) => Request::new(op::PING).into_frame(xid::PING),
            };
            while bytes.len() < WRITE_BYTES
                && let Ok(more) = queue.try_recv()
            {
                bytes.extend_from_slice(&more);
            }
            if let Err(error) = send(&mut outbound, &bytes).await {
                break error.into();
            }
        }
    };
    let why = tokio::select! { why = writing => why, () = shared.ended() => return };
    shared.end(&why);
}

async fn send(outbound: &mut WriteHalf<Box<dyn Stream>>, bytes: &[u8]) -> io::Result<()> {
    outbound.write_all(bytes).await?;
    outbound.flush().await
}
