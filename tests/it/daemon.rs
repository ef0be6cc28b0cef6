//! A running daemon, and a client of its REST interface.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::run::Home;

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_mins(2);
/// A token of each role.
pub const TOKENS: &str = "read:read-read-read-read\nvalues:values-values-values\nbackup:backup-backup-backup\n\
                          restore:restore-restore-restore\nadmin:admin-admin-admin-admin\n";
/// The one that may do everything.
pub const ADMIN: &str = "admin-admin-admin-admin";

/// A daemon that ends with the test.
pub struct Daemon {
    child: Child,
    log: Receiver<String>,
    /// Every line it logged so far.
    pub logged: Vec<String>,
    /// Where it listens.
    pub address: SocketAddr,
}

/// What was answered.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: String,
    pub body: Vec<u8>,
}

impl Answer {
    /// The body.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self}"))
    }

    /// Demands this status.
    #[track_caller]
    pub fn is(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self}");
        self
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}\n{}", self.status, self.headers, String::from_utf8_lossy(&self.body))
    }
}

impl Daemon {
    /// Starts it with `daemon.toml` of this home, which listens on a port that the system chooses.
    pub fn start(home: &Home) -> Self {
        let mut process = home.process();
        process.args(["serve", "--config", "daemon.toml"]);
        process.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = process.spawn().unwrap();
        let (sender, log) = channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut daemon = Self { child, log, logged: Vec::new(), address: nowhere };
        let line = daemon.log_line("listening");
        let address = line.split("address=").nth(1).and_then(|rest| rest.split_whitespace().next());
        daemon.address = address.and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{line}"));
        daemon
    }

    /// Waits for a line of the log that has this text.
    #[track_caller]
    pub fn log_line(&mut self, text: &str) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let Ok(line) = self.log.recv_timeout(left) else {
                panic!("nothing says {text:?}:\n{}", self.logged.join("\n"));
            };
            assert!(!line.contains("panicked"), "{line}");
            self.logged.push(line.clone());
            if line.contains(text) {
                return line;
            }
        }
    }

    /// Sends a request with any headers, and gives the answer.
    pub fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<&str>) -> Answer {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut request = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
        if !headers.iter().any(|(name, _)| *name == "Host") {
            write!(request, "Host: {}\r\n", self.address).unwrap();
        }
        for (name, value) in headers {
            write!(request, "{name}: {value}\r\n").unwrap();
        }
        if let Some(body) = body {
            write!(request, "Content-Length: {}\r\n", body.len()).unwrap();
        }
        request.push_str("\r\n");
        request.push_str(body.unwrap_or_default());
        // It may answer and close before it has read a body that is too long.
        let _ = stream.write_all(request.as_bytes());
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or_else(|| panic!("{answer:?}"));
        let headers = String::from_utf8_lossy(&answer[..end]).to_lowercase();
        let mut body = answer[end + 4..].to_vec();
        if headers.contains("transfer-encoding: chunked") {
            body = unchunked(&body);
        }
        let status = headers.split_whitespace().nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
        Answer { status, headers, body }
    }

    /// The same as somebody with this token, with a JSON body where one is given.
    pub fn as_who(&self, token: &str, method: &str, path: &str, body: Option<&str>) -> Answer {
        let bearer = format!("Bearer {token}");
        self.ask(method, path, &[("Authorization", &bearer), ("Content-Type", "application/json")], body)
    }

    /// GET as one who may do everything.
    pub fn get(&self, path: &str) -> Answer {
        self.as_who(ADMIN, "GET", path, None)
    }

    /// POST as one who may do everything.
    pub fn post(&self, path: &str, body: &str) -> Answer {
        self.as_who(ADMIN, "POST", path, Some(body))
    }

    /// The same of a backup, also where retention of the one before is not over yet.
    pub fn back_up(&self, path: &str, body: &str) -> Answer {
        let end = Instant::now() + PATIENCE;
        loop {
            let answer = self.post(path, body);
            if answer.status != 409 || Instant::now() > end {
                return answer.is(202);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Asks until the answer is as wanted.
    #[track_caller]
    pub fn until(&self, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + PATIENCE;
        loop {
            let answer = self.get(path).is(200).json();
            if wanted(&answer) {
                return answer;
            }
            assert!(Instant::now() < end, "{path} stays {answer:#}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits for the end of a job, which the answer names.
    #[track_caller]
    pub fn job(&self, answer: &Answer) -> Value {
        let id = answer.json()["id"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned();
        let over = |job: &Value| !matches!(job["state"].as_str(), Some("queued" | "running"));
        self.until(&format!("/api/v1/jobs/{id}"), over)
    }

    /// What it has in memory.
    pub fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Sends it a signal by its name.
    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(std::process::Command::new("kill").args([&format!("-{name}"), &pid]).status().unwrap().success());
    }

    /// Waits for its end; its exit code.
    pub fn ended(&mut self) -> i32 {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                self.logged.extend(self.log.iter());
                return status.code().unwrap_or(-1);
            }
            assert!(Instant::now() < end, "it does not end:\n{}", self.logged.join("\n"));
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Ends it as an operator does.
    pub fn stop(mut self) -> Vec<String> {
        self.signal("TERM");
        assert_eq!(self.ended(), 0, "{}", self.logged.join("\n"));
        std::mem::take(&mut self.logged)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn unchunked(mut body: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    while let Some(end) = body.windows(2).position(|two| two == b"\r\n") {
        let size = std::str::from_utf8(&body[..end]).ok().and_then(|text| usize::from_str_radix(text, 16).ok());
        let Some(size) = size.filter(|size| *size > 0 && body.len() >= end + 4 + size) else { break };
        whole.extend_from_slice(&body[end + 2..end + 2 + size]);
        body = &body[end + 4 + size..];
    }
    whole
}
