//! The official Java client, driven line by line (`tests/live/java/Workload.java`), and its view of a tree.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;
use zk_format::Acl;

use super::at_least;
use super::process::Jars;

const LONGEST_COMMAND: Duration = Duration::from_mins(5);

/// One client process; it may hold several sessions.
#[derive(Debug)]
pub struct Client {
    child: Child,
    stdin: ChildStdin,
    answers: Receiver<String>,
    folder: TempDir,
    old: bool,
}

/// A node as a client sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClientNode {
    /// czxid, mzxid, pzxid, ctime, mtime.
    pub times: [i64; 5],
    /// Data version.
    pub version: i32,
    /// Twice the persisted child version, less the number of children.
    pub cversion: i32,
    /// ACL version.
    pub aversion: i32,
    /// Session id; 0 for containers and TTL nodes too.
    pub ephemeral_owner: i64,
    /// Children.
    pub children: i32,
    /// Length and CRC-32, `None` for null.
    pub data: Option<(u32, u32)>,
    /// The ACL list.
    pub acl: Vec<Acl>,
}

impl Client {
    /// Starts the client of a version; for 3.4 that of 3.5, because 3.4's own cannot resolve addresses on
    /// Java 14 and later.
    pub fn start(version: &str) -> Result<Self> {
        let old = !at_least(version, 5);
        let mut command = Jars::of(if old { "3.5.10" } else { version })?.java();
        command.arg("-Dfile.encoding=UTF-8").arg("-Djute.maxbuffer=4194304").env("LC_ALL", "C.UTF-8");
        command.arg("Workload").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child =
            command.spawn().context("starting the workload client: setpriv and java must be on the PATH")?;
        let stdin = child.stdin.take().context("the client was started with a pipe")?;
        let stdout = child.stdout.take().context("the client was started with a pipe")?;
        let (send, answers) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                // Log lines of old versions' clients go to the same stream.
                if (line.starts_with("ok") || line.starts_with("error ")) && send.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(Self { child, stdin, answers, folder: tempfile::tempdir()?, old })
    }

    /// Starts the client and opens session `a` to a server.
    pub fn connect(version: &str, address: &str) -> Result<Self> {
        let mut client = Self::start(version)?;
        client.run(&format!("connect a {address}"))?;
        Ok(client)
    }

    /// Sends a command and waits for its answer.
    pub fn run(&mut self, command: &str) -> Result<String> {
        self.send(command)?;
        self.answer(command)
    }

    /// Sends a command and does not wait: [`Self::answer`] takes its answer.
    pub fn send(&mut self, command: &str) -> Result<()> {
        writeln!(self.stdin, "{command}")?;
        self.stdin.flush()?;
        Ok(())
    }

    /// The answer to the oldest command not answered yet.
    pub fn answer(&mut self, command: &str) -> Result<String> {
        let answer = self
            .answers
            .recv_timeout(LONGEST_COMMAND)
            .with_context(|| format!("waiting for the client to answer `{command}`"))?;
        match answer.strip_prefix("ok") {
            Some(rest) => Ok(rest.trim().to_owned()),
            None => bail!("the client's `{command}` failed: {answer}"),
        }
    }

    /// Every kind of transaction that the server's version knows, and one node with this many children.
    pub fn workload(&mut self, children: usize) -> Result<String> {
        self.run(&format!("workload a {children}{}", if self.old { " old" } else { "" }))
    }

    /// Every node that session `a` sees, by path; the root's is empty.
    pub fn dump(&mut self) -> Result<BTreeMap<Vec<u8>, ClientNode>> {
        let file = self.folder.path().join("dump");
        self.run(&format!("dump a {}", file.display()))?;
        read_dump(&file)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read_dump(file: &Path) -> Result<BTreeMap<Vec<u8>, ClientNode>> {
    let text = std::fs::read_to_string(file)?;
    text.lines()
        .map(|line| parse(line).with_context(|| format!("reading a line of the client's dump: {line}")))
        .collect()
}

fn parse(line: &str) -> Result<(Vec<u8>, ClientNode)> {
    let words: Vec<&str> = line.split(' ').collect();
    let &[path, t0, t1, t2, t3, t4, version, cversion, aversion, owner, children, data, acl] = words.as_slice() else {
        bail!("{} words, not 13", words.len());
    };
    let times = [t0.parse()?, t1.parse()?, t2.parse()?, t3.parse()?, t4.parse()?];
    let data = match data.split_once(':') {
        Some((length, crc)) => Some((length.parse()?, crc.parse()?)),
        None => None,
    };
    let acl = acl.split(',').filter(|entry| !entry.is_empty()).map(parse_acl).collect::<Result<_>>()?;
    let node = ClientNode {
        times,
        version: version.parse()?,
        cversion: cversion.parse()?,
        aversion: aversion.parse()?,
        ephemeral_owner: owner.parse()?,
        children: children.parse()?,
        data,
        acl,
    };
    Ok((if path == "-" { Vec::new() } else { unhex(path)? }, node))
}

fn parse_acl(entry: &str) -> Result<Acl> {
    let mut parts = entry.split(':');
    let (Some(perms), Some(scheme), Some(id)) = (parts.next(), parts.next(), parts.next()) else {
        bail!("an ACL entry has three parts");
    };
    Ok(Acl { perms: perms.parse()?, scheme: unhex(scheme)?, id: unhex(id)? })
}

fn unhex(text: &str) -> Result<Vec<u8>> {
    (0..text.len())
        .step_by(2)
        .map(|at| Ok(u8::from_str_radix(text.get(at..at + 2).context("hex digits come in pairs")?, 16)?))
        .collect()
}
