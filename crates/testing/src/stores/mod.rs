//! Real object-store servers, started by a test and gone with it.
//!
//! They come from `tests/live/fetch-stores.sh`, which `make test` runs, one pinned version each. Every server binds
//! loopback on a free port, keeps its data in a folder of its own, and is killed when its handle is dropped or when
//! the thread that started it ends, however it ends.

mod azurite;
mod fake_gcs;
mod http;
mod relay;
mod tripwire;
mod versitygw;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

pub use self::tripwire::Tripwire;

use self::relay::Relay;
use crate::server::process::{Process, free_port};

/// The servers there are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// S3 over a directory: <https://github.com/versity/versitygw>.
    Versitygw,
    /// Google Cloud Storage: <https://github.com/fsouza/fake-gcs-server>.
    FakeGcs,
    /// The same, but a create overwrites what is there, as on stores that ignore the condition.
    CarelessGcs,
    /// Azure's blobs: <https://github.com/Azure/Azurite>.
    Azurite,
}

impl Kind {
    /// Name and version, as `tests/live/fetch-stores.sh` installs it.
    fn installed_as(self) -> &'static str {
        match self {
            Self::Versitygw => "versitygw-v1.8.0",
            Self::FakeGcs | Self::CarelessGcs => "fake-gcs-server-v1.52.3",
            Self::Azurite => "azurite-3.35.0",
        }
    }

    /// Where it is installed; an error says how to install it.
    fn home(self) -> Result<PathBuf> {
        let cache = match (std::env::var_os("ZOOARK_TEST_STORES"), std::env::var_os("XDG_CACHE_HOME")) {
            (Some(named), _) => PathBuf::from(named),
            (None, Some(cache)) => PathBuf::from(cache).join("zooark/stores"),
            (None, None) => {
                let home = std::env::var_os("HOME").context("finding the object-store servers: HOME is not set")?;
                PathBuf::from(home).join(".cache/zooark/stores")
            }
        };
        let home = cache.join(self.installed_as());
        if !home.join("complete").exists() {
            bail!(
                "no {} in {}: run tests/live/fetch-stores.sh (it needs Go and npm: make install-deps)",
                self.installed_as(),
                home.display()
            );
        }
        Ok(home)
    }

    /// Whether the server is there to be tested with. Where it is missing and `ZOOARK_ALLOW_MISSING_STORES` is set,
    /// it says loudly that nothing was tested.
    ///
    /// # Panics
    /// When it is missing and that is not allowed.
    pub fn is_there(self) -> bool {
        match self.home() {
            Ok(_) => true,
            Err(error) if std::env::var_os("ZOOARK_ALLOW_MISSING_STORES").is_some_and(|value| !value.is_empty()) => {
                // Not by a macro: what those print of a test that passes is kept back. A closed stderr hears nothing.
                let _ = writeln!(std::io::stderr(), "\nNOT TESTED: {error}\n");
                false
            }
            Err(error) => panic!("\nNOT TESTED, and ZOOARK_ALLOW_MISSING_STORES is not set: {error}\n"),
        }
    }
}

/// A server with a folder of its own, which goes with it.
#[derive(Debug)]
pub struct StoreServer {
    kind: Kind,
    home: PathBuf,
    folder: TempDir,
    port: u16,
    relay: Option<Relay>,
    flags: Vec<&'static str>,
    process: Option<Process>,
}

impl StoreServer {
    /// Starts a server without buckets and waits until it answers.
    pub fn start(kind: Kind) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("zooark-store-").tempdir()?;
        std::fs::create_dir(folder.path().join("data"))?;
        std::fs::create_dir(folder.path().join("accounts"))?;
        let port = free_port()?;
        let relay = match kind {
            Kind::Versitygw | Kind::Azurite => None,
            Kind::FakeGcs | Kind::CarelessGcs => Some(Relay::start(port, kind == Kind::FakeGcs)?),
        };
        let mut server = Self { kind, home: kind.home()?, folder, port, relay, flags: Vec::new(), process: None };
        server.start_again()?;
        Ok(server)
    }

    /// The port of 127.0.0.1 to speak to.
    fn public_port(&self) -> u16 {
        self.relay.as_ref().map_or(self.port, |relay| relay.port)
    }

    /// `http://127.0.0.1:port`, with what the kind of store has behind it.
    pub fn endpoint(&self) -> String {
        match self.kind {
            Kind::Versitygw | Kind::FakeGcs | Kind::CarelessGcs => format!("http://127.0.0.1:{}", self.public_port()),
            Kind::Azurite => format!("http://127.0.0.1:{}/{}", self.port, azurite::ACCOUNT),
        }
    }

    /// The scheme of this kind's URLs.
    pub fn scheme(&self) -> &'static str {
        match self.kind {
            Kind::Versitygw => "s3",
            Kind::FakeGcs | Kind::CarelessGcs => "gs",
            Kind::Azurite => "az",
        }
    }

    /// Environment variables with the credentials of who may do everything.
    pub fn environment(&self) -> Vec<(&'static str, &'static str)> {
        match self.kind {
            Kind::Versitygw => versitygw::ENVIRONMENT.to_vec(),
            Kind::FakeGcs | Kind::CarelessGcs => Vec::new(),
            Kind::Azurite => azurite::ENVIRONMENT.to_vec(),
        }
    }

    /// Settings of the store besides the credentials, as the program takes them with `--option`.
    pub fn options(&self) -> Vec<(&'static str, String)> {
        let mut options = vec![("endpoint", self.endpoint())];
        if self.relay.is_some() {
            options.push(("skip_signature", "true".to_owned()));
        }
        options
    }

    /// Makes an empty bucket, or container.
    pub fn make_bucket(&self, name: &str) -> Result<()> {
        match self.kind {
            Kind::Versitygw => versitygw::make_bucket(&self.data(), name),
            Kind::FakeGcs | Kind::CarelessGcs => fake_gcs::make_bucket(self.port, name),
            Kind::Azurite => azurite::make_container(self.port, name),
        }
        .with_context(|| format!("making bucket {name} in {}", self.kind.installed_as()))
    }

    /// Makes an account that may do nothing until something is granted to it; only versitygw has accounts.
    pub fn make_account(&self, access: &str, secret: &str) -> Result<()> {
        versitygw::make_account(&self.home, &self.endpoint(), access, secret)
    }

    /// Says who may do what in a bucket, in S3's words; only versitygw has policies.
    pub fn set_policy(&self, bucket: &str, policy: &str) -> Result<()> {
        versitygw::set_policy(&self.data(), bucket, policy).with_context(|| format!("setting the policy of {bucket}"))
    }

    /// Lets nothing in a bucket be changed or deleted, or lets it again; only versitygw locks.
    pub fn lock_bucket(&self, bucket: &str, locked: bool) -> Result<()> {
        versitygw::lock_bucket(&self.data(), bucket, locked).with_context(|| format!("locking {bucket}"))
    }

    /// As `kill -9`, and waits until it is gone.
    pub fn kill(&mut self) -> Result<()> {
        match self.process.take() {
            Some(mut process) => process.kill(),
            None => Ok(()),
        }
    }

    /// A way to the server on which the first request that begins with these words is stopped half-way.
    pub fn tripwire(&self, words: &str) -> Result<Tripwire> {
        Tripwire::start(self.port, words.to_owned())
    }

    /// Starts it over its data with these flags besides its own.
    pub fn start_with(&mut self, flags: &[&'static str]) -> Result<()> {
        flags.clone_into(&mut self.flags);
        self.start_again()
    }

    /// Starts it over its data, on the same port, after it was killed.
    pub fn start_again(&mut self) -> Result<()> {
        self.kill()?;
        let data = self.data();
        let mut command = killed_with_thread();
        match self.kind {
            Kind::Versitygw => versitygw::command(&mut command, &self.home, self.port, self.folder.path(), &self.flags),
            Kind::FakeGcs | Kind::CarelessGcs => {
                fake_gcs::command(&mut command, &self.home, self.port, self.public_port(), &data);
            }
            Kind::Azurite => azurite::command(&mut command, &self.home, self.port, &data),
        }
        let output = self.folder.path().join("output");
        let mut process = Process::start(command, self.kind.installed_as().to_owned(), &output)?;
        let port = self.port;
        process.wait_until("answering", || http::answers(port))?;
        self.process = Some(process);
        Ok(())
    }

    /// The requests it has answered, one line each, oldest first; only versitygw writes them down.
    pub fn requests(&self) -> Result<Vec<String>> {
        let text = std::fs::read_to_string(self.folder.path().join("requests"))?;
        Ok(text.lines().map(str::to_owned).collect())
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }
}

/// A command that is killed when the calling thread ends.
fn killed_with_thread() -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]).stdin(Stdio::null());
    command
}
