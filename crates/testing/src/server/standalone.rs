//! One server: its directories, its configuration, its process.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use tempfile::TempDir;
use zk_format::Zxid;

use super::admin::{Status, ready, status};
use super::process::{Jars, Process, free_port};

/// `super:admin`, as the workload client logs in.
const SUPERUSER: &str = "super:xQJmxLMiHGwaqBvst5y6rkB6HQs=";

/// How a server is configured beyond the defaults of its version.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    /// Java system properties without `-D`: `zookeeper.digest.enabled=false`.
    pub properties: Vec<String>,
    /// Lines added to `zoo.cfg`.
    pub config: Vec<String>,
    /// Logs in a directory of their own.
    pub own_log_dir: bool,
    /// `LC_ALL` of the server, `C.UTF-8` if nothing is said.
    pub locale: Option<&'static str>,
    /// With an `AdminServer` on a port of its own, on 127.0.0.1.
    pub admin: bool,
}

impl Setup {
    /// With one more system property.
    #[must_use]
    pub fn property(mut self, property: impl Into<String>) -> Self {
        self.properties.push(property.into());
        self
    }

    /// With one more line of `zoo.cfg`.
    #[must_use]
    pub fn line(mut self, line: impl Into<String>) -> Self {
        self.config.push(line.into());
        self
    }
}

/// A server with a folder of its own, which goes with it.
#[derive(Debug)]
pub struct Server {
    version: String,
    jars: Jars,
    setup: Setup,
    folder: TempDir,
    port: u16,
    admin_port: Option<u16>,
    /// Lines of `zoo.cfg` that make it a member of an ensemble.
    members: Vec<String>,
    process: Option<Process>,
}

impl Server {
    /// Starts a standalone server and waits until it serves.
    pub fn start(version: &str, setup: Setup) -> Result<Self> {
        let mut server = Self::prepare(version, setup)?;
        server.launch()?;
        server.wait_ready()?;
        Ok(server)
    }

    /// A server that has its folders and its port, and does not run yet: [`Self::start_again`] starts it.
    pub fn prepare(version: &str, setup: Setup) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("zooark-server-").tempdir()?;
        let jars = Jars::of(version)?;
        let server = Self {
            version: version.to_owned(),
            jars,
            folder,
            port: free_port()?,
            admin_port: setup.admin.then(free_port).transpose()?,
            setup,
            members: Vec::new(),
            process: None,
        };
        fs::create_dir_all(server.data_dir())?;
        fs::create_dir_all(server.log_dir())?;
        Ok(server)
    }

    /// Makes it member `id` of an ensemble; before its first start.
    pub(super) fn join(&mut self, id: usize, members: Vec<String>) -> Result<()> {
        fs::write(self.data_dir().join("myid"), format!("{id}\n"))?;
        self.members = members;
        Ok(())
    }

    /// The version it runs.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The client port, on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `127.0.0.1:port`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// `127.0.0.1:port` of its `AdminServer`.
    ///
    /// # Panics
    /// If it was set up without.
    pub fn admin_address(&self) -> String {
        format!("127.0.0.1:{}", self.admin_port.expect("the set-up says that there is an AdminServer"))
    }

    /// `dataDir`.
    pub fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// `dataLogDir`, the data directory itself unless the set-up says otherwise.
    pub fn log_dir(&self) -> PathBuf {
        if self.setup.own_log_dir { self.folder.path().join("txnlog") } else { self.data_dir() }
    }

    /// Its `zoo.cfg`.
    pub fn config_file(&self) -> PathBuf {
        self.folder.path().join("zoo.cfg")
    }

    /// Snapshot files, by zxid, oldest first.
    pub fn snapshots(&self) -> Result<Vec<PathBuf>> {
        files(&self.data_dir().join("version-2"), "snapshot.")
    }

    /// Log files, by zxid, oldest first.
    pub fn logs(&self) -> Result<Vec<PathBuf>> {
        files(&self.log_dir().join("version-2"), "log.")
    }

    /// What it says of itself.
    pub fn status(&self) -> Result<Status> {
        status(self.port)
    }

    /// Its last zxid.
    pub fn zxid(&self) -> Result<Zxid> {
        Ok(self.status()?.zxid)
    }

    /// Starts the process and does not wait for it to serve.
    pub fn launch(&mut self) -> Result<()> {
        let members = !self.members.is_empty();
        // From 3.5 a reconfigured member keeps its members in a dynamic file that its zoo.cfg names.
        if !(members && self.config_file().exists()) {
            fs::write(self.config_file(), self.config())?;
        }
        let mut command = self.jars.java();
        for property in [
            "zookeeper.4lw.commands.whitelist=*",
            &format!("zookeeper.admin.enableServer={}", self.admin_port.is_some()),
            &format!("zookeeper.admin.serverPort={}", self.admin_port.unwrap_or_default()),
            "zookeeper.admin.serverAddress=127.0.0.1",
            "zookeeper.forceSync=no",
            &format!("zookeeper.DigestAuthenticationProvider.superDigest={SUPERUSER}"),
            // The workload waits until an idle container is gone, for which a server looks once a minute by itself.
            "znode.container.checkIntervalMs=500",
        ] {
            command.arg(format!("-D{property}"));
        }
        for property in &self.setup.properties {
            command.arg(format!("-D{property}"));
        }
        command.env("LC_ALL", self.setup.locale.unwrap_or("C.UTF-8"));
        command.arg("org.apache.zookeeper.server.quorum.QuorumPeerMain").arg(self.config_file());
        let what = format!("ZooKeeper {} on port {}", self.version, self.port);
        self.process = Some(Process::start(command, what, &self.folder.path().join("server.out"))?);
        Ok(())
    }

    /// Waits until it serves clients: for a member of an ensemble, until it has joined a quorum.
    pub fn wait_ready(&mut self) -> Result<()> {
        let port = self.port;
        self.process.as_mut().context("the server was not started")?.wait_until("serving", || ready(port))
    }

    /// Starts it after a stop or a kill, on the same directories and port.
    pub fn start_again(&mut self) -> Result<()> {
        self.launch()?;
        self.wait_ready()
    }

    /// Whether the process lives.
    pub fn is_running(&mut self) -> bool {
        self.process.as_mut().is_some_and(Process::is_running)
    }

    /// Waits until the process has ended by itself, and gives the last lines it printed.
    pub fn wait_ended(&mut self) -> Result<String> {
        let process = self.process.as_mut().context("the server was not started")?;
        super::wait_until(super::process::PATIENCE, || !process.is_running())?;
        Ok(process.output_tail())
    }

    /// The last lines it printed.
    pub fn output_tail(&self) -> String {
        self.process.as_ref().map(Process::output_tail).unwrap_or_default()
    }

    /// A program of the server's own jars, to be given its arguments; its output goes nowhere.
    pub fn java_tool(&self, class: &str) -> Command {
        let mut command = self.jars.java();
        command.arg(class).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    /// Stops the process where it is, as a machine that hangs.
    pub fn pause(&mut self) -> Result<()> {
        self.process.as_mut().context("the server was not started")?.signal("STOP")
    }

    /// As `kill -9`.
    pub fn kill9(&mut self) -> Result<()> {
        self.process.take().map_or(Ok(()), |mut process| process.kill())
    }

    /// As its stop script does.
    pub fn stop(&mut self) -> Result<()> {
        self.process.take().map_or(Ok(()), |mut process| process.terminate())
    }

    fn config(&self) -> String {
        let mut lines = vec![
            "tickTime=1000".to_owned(),
            "initLimit=20".to_owned(),
            "syncLimit=10".to_owned(),
            "maxSessionTimeout=600000".to_owned(),
            "maxClientCnxns=0".to_owned(),
            format!("dataDir={}", self.data_dir().display()),
        ];
        if self.setup.own_log_dir {
            lines.push(format!("dataLogDir={}", self.log_dir().display()));
        }
        if self.members.iter().all(|member| !member.contains(';')) {
            lines.push(format!("clientPort={}", self.port));
            lines.push("clientPortAddress=127.0.0.1".to_owned());
        }
        lines.extend(self.setup.config.iter().chain(&self.members).cloned());
        lines.join("\n") + "\n"
    }
}

/// Files of a folder whose names start so and go on with a hexadecimal zxid, oldest first.
fn files(folder: &Path, prefix: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("listing {}", folder.display()))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(rest) = name.strip_prefix(prefix) else { continue };
        let digits = rest.split('.').next().unwrap_or_default();
        if let Ok(zxid) = u64::from_str_radix(digits, 16) {
            found.push((zxid, entry.path()));
        }
    }
    found.sort();
    Ok(found.into_iter().map(|(_, path)| path).collect())
}
