//! Stands before fake-gcs-server, which knows uploads of the XML API only as signed URLs, without condition and
//! without an `ETag` in the answer. A plain `PUT` is handed on as the JSON API's upload of the same object; everything
//! else passes as it is.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};

const TIMEOUT: Duration = Duration::from_secs(30);
const LONGEST_HEAD: u64 = 64 << 10;
const LONGEST_BODY: u64 = 64 << 20;

const BOUNDARY: &str = "zooark-relay-d0b1c9a84f6e";
const PARTS_BEFORE: &str = "--zooark-relay-d0b1c9a84f6e\r\nContent-Type: application/json\r\n\r\n{}\r\n\
    --zooark-relay-d0b1c9a84f6e\r\nContent-Type: application/octet-stream\r\n\r\n";
const PARTS_AFTER: &str = "\r\n--zooark-relay-d0b1c9a84f6e--\r\n";

/// Hands requests on until it is dropped.
#[derive(Debug)]
pub(super) struct Relay {
    pub(super) port: u16,
    ended: Arc<AtomicBool>,
}

impl Relay {
    /// Listens on a free port for a server on another. Unless `conditions`, creates overwrite what is there, as on
    /// stores that ignore the condition.
    pub(super) fn start(server: u16, conditions: bool) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let ended = Arc::new(AtomicBool::new(false));
        let end = Arc::clone(&ended);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                if end.load(Ordering::SeqCst) {
                    break;
                }
                let Ok(client) = client else { continue };
                // The client sees a connection that ended early, as of any server that fails.
                std::thread::spawn(move || hand_on(client, server, conditions).is_ok());
            }
        });
        Ok(Self { port, ended })
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        // Wakes the listener; if nobody listens any more there is nothing to wake.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

/// One request and its answer; both connections end after it.
fn hand_on(client: TcpStream, server: u16, conditions: bool) -> Result<()> {
    client.set_read_timeout(Some(TIMEOUT))?;
    let mut reader = BufReader::new(client.try_clone()?);
    let mut lines = Vec::new();
    let mut head = (&mut reader).take(LONGEST_HEAD);
    loop {
        let mut line = String::new();
        if head.read_line(&mut line)? == 0 {
            return Ok(());
        }
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let length = header(&lines, "content-length").map_or(Ok(0), str::parse)?;
    if length > LONGEST_BODY {
        bail!("a body of {length} bytes");
    }
    let mut body = Vec::new();
    reader.take(length).read_to_end(&mut body)?;

    let uploads = lines[0].starts_with("PUT ");
    if uploads {
        lines[0] = as_json_upload(&lines, conditions)?;
        body = [PARTS_BEFORE.as_bytes(), &body, PARTS_AFTER.as_bytes()].concat();
        lines.retain(|line| !is_header(line, "content-length") && !is_header(line, "content-type"));
        lines.push(format!("Content-Type: multipart/related; boundary={BOUNDARY}"));
        lines.push(format!("Content-Length: {}", body.len()));
    }
    lines.retain(|line| !is_header(line, "connection"));
    let mut upstream = TcpStream::connect((Ipv4Addr::LOCALHOST, server))?;
    upstream.set_read_timeout(Some(TIMEOUT))?;
    write!(upstream, "{}\r\nConnection: close\r\n\r\n", lines.join("\r\n"))?;
    upstream.write_all(&body)?;
    let mut answer = Vec::new();
    upstream.read_to_end(&mut answer)?;
    if uploads && let Some(at) = answer.windows(2).position(|two| two == b"\r\n") {
        answer.splice(at..at, *b"\r\nETag: \"unknown\"");
    }
    let mut client = client;
    client.write_all(&answer)?;
    Ok(client.shutdown(Shutdown::Both)?)
}

/// `PUT /bucket/object` as a request line of the JSON API; the object's name is percent-encoded in both.
fn as_json_upload(lines: &[String], conditions: bool) -> Result<String> {
    let target = lines[0].split(' ').nth(1).context("a request line without a target")?;
    let (bucket, object) = target.trim_start_matches('/').split_once('/').context("an upload without a bucket")?;
    let absent = conditions && header(lines, "x-goog-if-generation-match") == Some("0");
    let condition = if absent { "&ifGenerationMatch=0" } else { "" };
    Ok(format!("POST /upload/storage/v1/b/{bucket}/o?uploadType=multipart&name={object}{condition} HTTP/1.1"))
}

fn is_header(line: &str, name: &str) -> bool {
    line.split_once(':').is_some_and(|(key, _)| key.eq_ignore_ascii_case(name))
}

fn header<'a>(lines: &'a [String], name: &str) -> Option<&'a str> {
    let line = lines.iter().skip(1).find(|line| is_header(line, name))?;
    line.split_once(':').map(|(_, value)| value.trim())
}
