//! The four-letter words of a running server, as far as a backup of its files needs them.

use std::io::{Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use zk_format::Zxid;

use super::frame::Stream;

/// An answer longer than this is not one of a `ZooKeeper` server (`srvr` answers about 200 bytes).
const MAX_ANSWER: u64 = 64 * 1024;

/// Why a server did not tell its state.
#[derive(Debug, thiserror::Error)]
pub enum FourLetterError {
    /// The host name has no address.
    #[error("asking {server} for its zxid: the name does not resolve; check `srvr=host:port`")]
    Resolve {
        /// As given.
        server: String,
        /// The resolver's error.
        source: std::io::Error,
    },
    /// The connection failed or timed out.
    #[error("asking {server} for its zxid: no answer; check that the server runs and listens there")]
    Io {
        /// As given.
        server: String,
        /// The socket's error.
        source: std::io::Error,
    },
    /// The server answered, but not with its state.
    #[error(
        "asking {server} for its zxid: it answered {answer:?}; allow the word with \
         `4lw.commands.whitelist=srvr` or leave `srvr=` out"
    )]
    Answer {
        /// As given.
        server: String,
        /// The beginning of what came back.
        answer: String,
    },
}

/// What `srvr` says of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerState {
    /// Last transaction this server has applied.
    pub zxid: Zxid,
    /// `leader`, `follower`, `observer` or `standalone`.
    pub mode: String,
    /// As the server prints it, with its build.
    pub version: String,
    /// Znodes, as counted by the server.
    pub nodes: Option<u64>,
    /// Client connections, this one among them.
    pub connections: Option<u64>,
}

/// Sends `srvr` and reads the answer.
pub fn srvr(server: &str, time_out: Duration) -> Result<ServerState, FourLetterError> {
    let answer = ask(server, "srvr", time_out)?;
    parse_srvr(&answer).ok_or_else(|| FourLetterError::Answer {
        server: server.to_owned(),
        answer: answer.chars().take(120).collect(),
    })
}

/// Sends `srvr` over a stream of whatever kind; `None` where the answer is another.
pub(super) async fn srvr_over(stream: &mut dyn Stream) -> std::io::Result<Option<ServerState>> {
    stream.write_all(b"srvr").await?;
    stream.flush().await?;
    let mut answer = Vec::new();
    match stream.take(MAX_ANSWER).read_to_end(&mut answer).await {
        // Servers take no leave of TLS.
        Err(error) if error.kind() != std::io::ErrorKind::UnexpectedEof => return Err(error),
        _ => {}
    }
    Ok(parse_srvr(&String::from_utf8_lossy(&answer)))
}

fn parse_srvr(answer: &str) -> Option<ServerState> {
    let field = |name: &str| {
        answer.lines().find_map(|line| line.strip_prefix(name)).map(|rest| rest.trim_start_matches(':').trim())
    };
    let zxid = i64::from_str_radix(field("Zxid")?.trim_start_matches("0x"), 16).ok()?;
    Some(ServerState {
        zxid: Zxid(zxid),
        mode: field("Mode").unwrap_or("unknown").to_owned(),
        version: field("Zookeeper version").unwrap_or("unknown").to_owned(),
        nodes: field("Node count").and_then(|count| count.parse().ok()),
        connections: field("Connections").and_then(|count| count.parse().ok()),
    })
}

fn ask(server: &str, word: &str, time_out: Duration) -> Result<String, FourLetterError> {
    let resolve = |source| FourLetterError::Resolve { server: server.to_owned(), source };
    let io = |source| FourLetterError::Io { server: server.to_owned(), source };
    let mut last = std::io::Error::new(std::io::ErrorKind::NotFound, "no address");
    for address in server.to_socket_addrs().map_err(resolve)? {
        match TcpStream::connect_timeout(&address, time_out) {
            Ok(mut stream) => {
                stream.set_read_timeout(Some(time_out)).map_err(io)?;
                stream.set_write_timeout(Some(time_out)).map_err(io)?;
                stream.write_all(word.as_bytes()).map_err(io)?;
                let mut answer = Vec::new();
                stream.take(MAX_ANSWER).read_to_end(&mut answer).map_err(io)?;
                return Ok(String::from_utf8_lossy(&answer).into_owned());
            }
            Err(error) => last = error,
        }
    }
    Err(io(last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn srvr_of_3_4_and_3_9_is_read() {
        let answer = "Zookeeper version: 3.9.4-7246445, built on 2025\nLatency min/avg/max: 0/0.0/0\nZxid: 0x500000021\n\
                      Mode: follower\nNode count: 7\n";
        let state = parse_srvr(answer).unwrap();
        assert_eq!(state.zxid, Zxid(0x5_0000_0021));
        assert_eq!((state.mode.as_str(), state.nodes), ("follower", Some(7)));
        assert!(parse_srvr("srvr is not executed because it is not in the whitelist.").is_none());
    }
}
