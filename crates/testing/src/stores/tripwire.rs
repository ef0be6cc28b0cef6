//! Stands before a server and stops the first request of a kind half-way, so that a test can kill the server with
//! that request in it.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use anyhow::{Context, Result};

/// How long a test waits for the request.
const PATIENCE: Duration = Duration::from_mins(2);

/// Hands bytes on, both ways, until it is dropped.
#[derive(Debug)]
pub struct Tripwire {
    port: u16,
    sprung: Receiver<()>,
    ended: Arc<AtomicBool>,
}

impl Tripwire {
    /// Listens on a free port for a server on another; springs once, at a request that begins with these words.
    pub(super) fn start(server: u16, words: String) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let (send, sprung) = channel();
        let ended = Arc::new(AtomicBool::new(false));
        let end = Arc::clone(&ended);
        std::thread::spawn(move || {
            let armed = Arc::new((AtomicBool::new(true), words));
            for client in listener.incoming() {
                if end.load(Ordering::SeqCst) {
                    break;
                }
                let (Ok(client), armed, send) = (client, Arc::clone(&armed), send.clone()) else { continue };
                // A connection that fails ends for the client too, as without us.
                std::thread::spawn(move || hand_on(&client, server, &armed, &send).is_ok());
            }
        });
        Ok(Self { port, sprung, ended })
    }

    /// Where to speak to the server through this.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Waits until half of the request is at the server. The other half never follows.
    pub fn wait(&self) -> Result<()> {
        self.sprung.recv_timeout(PATIENCE).context("waiting for a request that springs the wire")
    }
}

impl Drop for Tripwire {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        // Wakes the listener; if nobody listens any more there is nothing to wake.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

fn hand_on(client: &TcpStream, server: u16, armed: &(AtomicBool, String), sprung: &Sender<()>) -> Result<()> {
    let mut upstream = TcpStream::connect((Ipv4Addr::LOCALHOST, server))?;
    let (mut answers, mut back) = (upstream.try_clone()?, client.try_clone()?);
    let answering = std::thread::spawn(move || {
        let copied = std::io::copy(&mut answers, &mut back);
        // The server is gone: so is the connection of the client.
        back.shutdown(Shutdown::Both).is_ok() && copied.is_ok()
    });
    let (mut client, mut buffer) = (client, vec![0; 1 << 16]);
    loop {
        let length = client.read(&mut buffer)?;
        let bytes = &buffer[..length];
        if bytes.is_empty() {
            break;
        }
        if bytes.starts_with(armed.1.as_bytes()) && armed.0.swap(false, Ordering::SeqCst) {
            upstream.write_all(&bytes[..length / 2])?;
            sprung.send(())?;
            // Both ends stay open until the server lets go.
            let _ = answering.join();
            return Ok(());
        }
        upstream.write_all(bytes)?;
    }
    Ok(upstream.shutdown(Shutdown::Write)?)
}
