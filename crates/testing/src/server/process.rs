//! Where the jars are, and processes that do not outlive the test.

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail};

use crate::random::Prng;

/// How long a server may take to start, elect or stop on a busy machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(90);

/// The jars of one version and the workload client compiled against them.
#[derive(Clone, Debug)]
pub struct Jars {
    home: PathBuf,
}

impl Jars {
    /// Finds what `tests/live/fetch-zookeeper.sh` has fetched.
    pub fn of(version: &str) -> Result<Self> {
        let cache = match (std::env::var_os("ZOOARK_TEST_ZOOKEEPER"), std::env::var_os("XDG_CACHE_HOME")) {
            (Some(named), _) => PathBuf::from(named),
            (None, Some(cache)) => PathBuf::from(cache).join("zooark/zookeeper"),
            (None, None) => {
                let home = std::env::var_os("HOME").context("finding the cache of ZooKeeper jars: HOME is not set")?;
                PathBuf::from(home).join(".cache/zooark/zookeeper")
            }
        };
        let home = cache.join(version);
        if !home.join("complete").exists() || !home.join("classes/Workload.class").exists() {
            bail!(
                "no ZooKeeper {version} in {}: run tests/live/fetch-zookeeper.sh (it needs Java and Maven: make \
                 install-deps)",
                home.display()
            );
        }
        Ok(Self { home })
    }

    /// `java` with the class path set, in its own small heap, killed when the calling thread ends.
    pub(super) fn java(&self) -> Command {
        // The kernel sends the signal when the *thread* that forked ends: start servers on the test's own.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]);
        command.arg("-cp").arg(format!("{0}/classes:{0}/lib/*", self.home.display()));
        command.stdin(Stdio::null());
        command
    }
}

/// A child that is killed when dropped.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    what: String,
    output: PathBuf,
}

impl Process {
    /// Starts it with its output in a file, which errors then quote.
    pub fn start(mut command: Command, what: String, output: &Path) -> Result<Self> {
        let file = File::options().create(true).append(true).open(output)?;
        command.stdout(file.try_clone()?).stderr(file);
        let child = command
            .spawn()
            .with_context(|| format!("starting {what}: setpriv and what it runs must be on the PATH"))?;
        Ok(Self { child, what, output: output.to_owned() })
    }

    /// Waits for a condition, and no longer than the process lives.
    pub fn wait_until(&mut self, condition: &str, mut holds: impl FnMut() -> bool) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        while !holds() {
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended ({status}) before it was {condition}\n{}", self.what, self.output_tail());
            }
            if Instant::now() > end {
                bail!("{} was not {condition} within {PATIENCE:?}\n{}", self.what, self.output_tail());
            }
            std::thread::sleep(POLL);
        }
        Ok(())
    }

    /// As `kill -9`, and waits until it is gone.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// As `kill`, and waits until it is gone.
    pub fn terminate(&mut self) -> Result<()> {
        self.signal("TERM")?;
        let child = &mut self.child;
        wait_until(PATIENCE, || child.try_wait().is_ok_and(|status| status.is_some()))
            .with_context(|| format!("stopping {}", self.what))
    }

    /// Sends a signal by its name.
    pub fn signal(&mut self, name: &str) -> Result<()> {
        let sent = Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status()?;
        if !sent.success() {
            bail!("sending {name} to {}: kill failed ({sent})", self.what);
        }
        Ok(())
    }

    /// Whether it has not ended.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_none())
    }

    /// The last lines it printed.
    pub fn output_tail(&self) -> String {
        let text = std::fs::read(&self.output).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const POLL: Duration = Duration::from_millis(20);

/// Looks again and again until the condition holds.
pub fn wait_until(patience: Duration, mut holds: impl FnMut() -> bool) -> Result<()> {
    let end = Instant::now() + patience;
    while !holds() {
        if Instant::now() > end {
            bail!("waited {patience:?} in vain");
        }
        std::thread::sleep(POLL);
    }
    Ok(())
}

/// A port of 127.0.0.1 that nothing listens on just now, below those that the system gives to outgoing connections: one of
/// them may not take the port of a server while that is stopped.
pub fn free_port() -> Result<u16> {
    static NEXT: OnceLock<Mutex<Prng>> = OnceLock::new();
    let clock = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.subsec_nanos();
    let seed = u64::from(std::process::id()) << 32 | u64::from(clock);
    let next = NEXT.get_or_init(|| Mutex::new(Prng::new(seed)));
    for _ in 0..1000 {
        let port = next.lock().unwrap_or_else(PoisonError::into_inner).between(10_000, 32_000);
        if TcpListener::bind((Ipv4Addr::LOCALHOST, u16::try_from(port)?)).is_ok() {
            return Ok(u16::try_from(port)?);
        }
    }
    bail!("no free port between 10000 and 32000")
}
