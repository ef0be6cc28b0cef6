//! The four-letter words: what a server says of itself.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use zk_format::Zxid;

const TIMEOUT: Duration = Duration::from_secs(5);
const LONGEST_ANSWER: u64 = 1 << 20;

/// What `srvr` says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Status {
    /// The last transaction applied.
    pub zxid: Zxid,
    /// `standalone`, `leader`, `follower` or `observer`.
    pub mode: String,
    /// Nodes in the tree.
    pub nodes: usize,
}

/// Sends one word and gives the answer.
pub fn ask(port: u16, word: &str) -> Result<String> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.write_all(word.as_bytes())?;
    let mut answer = String::new();
    stream.take(LONGEST_ANSWER).read_to_string(&mut answer)?;
    Ok(answer)
}

/// Whether the server serves clients.
pub fn ready(port: u16) -> bool {
    status(port).is_ok()
}

/// Asks `srvr`.
pub fn status(port: u16) -> Result<Status> {
    let answer = ask(port, "srvr")?;
    let field = |name: &str| {
        answer
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .map(str::trim)
            .with_context(|| format!("asking the server on port {port} for srvr: no {name} in {answer:?}"))
    };
    let Some(zxid) = field("Zxid:")?.strip_prefix("0x").and_then(|text| i64::from_str_radix(text, 16).ok()) else {
        bail!("asking the server on port {port} for srvr: its zxid is not a number in {answer:?}");
    };
    Ok(Status { zxid: Zxid(zxid), mode: field("Mode:")?.to_owned(), nodes: field("Node count:")?.parse()? })
}
