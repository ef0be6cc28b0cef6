//! Stands between a client and a server and does to their bytes what networks and broken machines do.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Result;

/// How often whoever waits looks whether the proxy has gone.
const LOOK: Duration = Duration::from_millis(20);
const PIECE_BYTES: usize = 16 << 10;

/// Whose bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// What the client sends.
    Requests,
    /// What the server sends.
    Answers,
}

/// What happens to a connection once so many bytes of one side have passed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fault {
    /// Of which side.
    pub side: Side,
    /// Bytes that pass first.
    pub after: u64,
    /// What then.
    pub then: Then,
}

/// See [`Fault`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Then {
    /// Both directions end.
    Cut,
    /// Nothing of this side passes any more, and the connection stays.
    Stall,
    /// Bytes without meaning, and then the end.
    Garbage,
    /// The next four bytes, a frame's length at its boundary, are these instead.
    Length(i32),
    /// From here on so many bytes at a time, with a pause before each.
    Slow(usize, Duration),
}

/// Where the frames of a connection ended, in bytes from its start.
#[derive(Clone, Default, Debug)]
pub struct Frames {
    /// Of the client.
    pub requests: Vec<u64>,
    /// Of the server.
    pub answers: Vec<u64>,
}

#[derive(Default, Debug)]
struct Shared {
    faults: Mutex<VecDeque<Option<Fault>>>,
    frames: Mutex<Vec<Frames>>,
    severed: AtomicBool,
    ended: AtomicBool,
}

/// Hands bytes on until it is dropped.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
}

impl Proxy {
    /// Listens on a free port for a server on another.
    pub fn start(server: u16) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let shared = Arc::<Shared>::default();
        let proxy = Self { port, shared: Arc::clone(&shared) };
        std::thread::spawn(move || {
            for client in listener.incoming() {
                if shared.ended.load(Ordering::SeqCst) {
                    break;
                }
                let Ok(client) = client else { continue };
                if shared.severed.load(Ordering::SeqCst) {
                    continue;
                }
                // A server that is not there is a connection that ends.
                let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, server)) else { continue };
                let fault = lock(&shared.faults).pop_front().flatten();
                let index = {
                    let mut frames = lock(&shared.frames);
                    frames.push(Frames::default());
                    frames.len() - 1
                };
                let ways = [(Side::Requests, &client, &server), (Side::Answers, &server, &client)];
                for (side, from, to) in ways {
                    let (Ok(from), Ok(to)) = (from.try_clone(), to.try_clone()) else { continue };
                    let fault = fault.filter(|fault| fault.side == side);
                    let way = Way { shared: Arc::clone(&shared), side, index, fault };
                    std::thread::spawn(move || way.pump(from, to));
                }
            }
        });
        Ok(proxy)
    }

    /// `127.0.0.1:port`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// What becomes of the next connections, one after the other; those after them are left in peace.
    pub fn then(&self, faults: impl IntoIterator<Item = Option<Fault>>) {
        *lock(&self.shared.faults) = faults.into_iter().collect();
    }

    /// Cuts every connection, and those to come at once, until told otherwise.
    pub fn sever(&self, severed: bool) {
        self.shared.severed.store(severed, Ordering::SeqCst);
    }

    /// The connections there have been.
    pub fn frames(&self) -> Vec<Frames> {
        lock(&self.shared.frames).clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        // Wakes the listener; if nobody listens any more there is nothing to wake.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

/// One direction of one connection.
struct Way {
    shared: Arc<Shared>,
    side: Side,
    index: usize,
    fault: Option<Fault>,
}

impl Way {
    fn pump(mut self, mut from: TcpStream, mut to: TcpStream) {
        // However it ends, both sides see the end of the connection.
        let _ = self.hand_on(&mut from, &mut to);
        for stream in [from, to] {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    fn hand_on(&mut self, from: &mut TcpStream, to: &mut TcpStream) -> std::io::Result<()> {
        from.set_read_timeout(Some(LOOK))?;
        let mut passed = 0u64;
        let mut boundary = Boundary::default();
        let mut slow = None;
        let mut piece = [0; PIECE_BYTES];
        while !self.shared.ended.load(Ordering::SeqCst) && !self.shared.severed.load(Ordering::SeqCst) {
            let left = self.fault.map_or(u64::MAX, |fault| fault.after - passed);
            if left == 0 {
                match self.fault.take().map(|fault| fault.then) {
                    Some(Then::Cut) => return Ok(()),
                    Some(Then::Stall) => return self.stall(from),
                    Some(Then::Garbage) => return to.write_all(&[0xab; 4096]),
                    Some(Then::Length(length)) => {
                        from.read_exact(&mut piece[..4])?;
                        to.write_all(&length.to_be_bytes())?;
                        passed += 4;
                    }
                    Some(Then::Slow(bytes, pause)) => slow = Some((bytes, pause)),
                    None => {}
                }
                continue;
            }
            let most = slow.map_or(PIECE_BYTES, |(bytes, _)| bytes).min(usize::try_from(left).unwrap_or(PIECE_BYTES));
            let count = match from.read(&mut piece[..most.min(PIECE_BYTES)]) {
                Ok(0) => return Ok(()),
                Ok(count) => count,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => continue,
                Err(error) => return Err(error),
            };
            if let Some((_, pause)) = slow {
                std::thread::sleep(pause);
            }
            to.write_all(&piece[..count])?;
            let mut frames = lock(&self.shared.frames);
            let ends = match self.side {
                Side::Requests => &mut frames[self.index].requests,
                Side::Answers => &mut frames[self.index].answers,
            };
            boundary.passed(&piece[..count], passed, ends);
            passed += count as u64;
        }
        Ok(())
    }

    /// Until the other end goes.
    fn stall(&self, from: &mut TcpStream) -> std::io::Result<()> {
        let mut nothing = [0];
        while !self.shared.ended.load(Ordering::SeqCst) {
            match from.peek(&mut nothing) {
                Ok(0) => return Ok(()),
                Ok(_) => std::thread::sleep(LOOK),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Follows lengths to where frames end.
#[derive(Default)]
struct Boundary {
    head: Vec<u8>,
    left: u64,
}

impl Boundary {
    fn passed(&mut self, bytes: &[u8], before: u64, ends: &mut Vec<u64>) {
        for (at, byte) in (before + 1..).zip(bytes) {
            if self.left > 0 {
                self.left -= 1;
            } else {
                self.head.push(*byte);
                if let Ok(length) = self.head.as_slice().try_into().map(u32::from_be_bytes) {
                    self.head.clear();
                    self.left = u64::from(length);
                }
            }
            if self.left == 0 && self.head.is_empty() {
                ends.push(at);
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_end_where_their_lengths_say() {
        let bytes = [0, 0, 0, 2, 7, 7, 0, 0, 0, 1, 9, 0, 0, 0, 0];
        let (mut boundary, mut ends) = (Boundary::default(), Vec::new());
        for (before, byte) in (0..).zip(bytes) {
            boundary.passed(&[byte], before, &mut ends);
        }
        assert_eq!(ends, [6, 11, 15]);
    }
}
