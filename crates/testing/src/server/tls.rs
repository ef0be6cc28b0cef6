//! Keys and certificates for servers and clients, gone with their folder: made by `openssl`, and by the JDK's `keytool`
//! where it is its files that matter.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;

use super::process::free_port;
use super::standalone::Setup;

/// To every store made here.
pub const PASSWORD: &str = "storepass";

/// A certification authority and what it has signed.
#[derive(Debug)]
pub struct Authority {
    folder: TempDir,
}

/// Certificate and key of one party.
#[derive(Clone, Debug)]
pub struct Party {
    /// PKCS#12 with key and chain.
    pub store: PathBuf,
    /// PEM: the certificate.
    pub cert: PathBuf,
    /// PEM: the key.
    pub key: PathBuf,
}

impl Party {
    /// PKCS#12 with key and chain, as Java writes it.
    pub fn java_store(&self) -> Result<PathBuf> {
        let store = self.store.with_extension("java.p12");
        keytool(&["-importkeystore", "-srcstorepass", PASSWORD, "-srckeystore", text(&self.store)?], &store)?;
        Ok(store)
    }
}

impl Authority {
    /// A new one, unknown to everybody.
    pub fn new() -> Result<Self> {
        let authority = Self { folder: tempfile::Builder::new().prefix("zooark-tls-").tempdir()? };
        authority.openssl("req -x509 -subj /CN=ca -days 2 -keyout ca.key -out ca.pem", &NEW_KEY)?;
        Ok(authority)
    }

    /// PEM: its certificate.
    pub fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// PKCS#12 with its certificate alone, marked as trusted in Java's way.
    pub fn java_trust_store(&self) -> Result<PathBuf> {
        let store = self.folder.path().join("trust.p12");
        keytool(&["-importcert", "-noprompt", "-alias", "ca", "-file", text(&self.ca())?], &store)?;
        Ok(store)
    }

    /// A key and a certificate for it with these alternative names: `IP:127.0.0.1,DNS:localhost`.
    pub fn party(&self, name: &str, alternative_names: &str) -> Result<Party> {
        let at = |extension: &str| self.folder.path().join(format!("{name}.{extension}"));
        self.openssl(&format!("req -subj /CN={name} -keyout {name}.key -out {name}.csr"), &NEW_KEY)?;
        let names = if alternative_names.is_empty() { "" } else { "subjectAltName=" };
        std::fs::write(at("ext"), format!("basicConstraints=CA:FALSE\n{names}{alternative_names}\n"))?;
        let sign = "x509 -req -days 2 -CA ca.pem -CAkey ca.key -CAcreateserial";
        self.openssl(&format!("{sign} -in {name}.csr -extfile {name}.ext -out {name}.pem"), &[])?;
        let pack = "pkcs12 -export -certfile ca.pem -passout";
        self.openssl(&format!("{pack} pass:{PASSWORD} -inkey {name}.key -in {name}.pem -out {name}.p12"), &[])?;
        Ok(Party { store: at("p12"), cert: at("pem"), key: at("key") })
    }

    /// A server that speaks TLS on a port of its own, which is given as well, with that party's certificate; it wants
    /// certificates of its clients where `mutual`.
    pub fn setup(&self, setup: Setup, party: &Party, mutual: bool) -> Result<(Setup, String)> {
        let port = free_port()?;
        let property = |name: &str, value: &str| format!("zookeeper.ssl.{name}={value}");
        let setup = setup
            .property("zookeeper.serverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory")
            .property(property("keyStore.location", text(&party.store)?))
            .property(property("keyStore.password", PASSWORD))
            .property(property("keyStore.type", "PKCS12"))
            .property(property("trustStore.location", text(&self.ca())?))
            .property(property("trustStore.type", "PEM"))
            .property(property("clientAuth", if mutual { "need" } else { "none" }))
            // Clients have no address in their certificates.
            .property(property("clientHostnameVerification", "false"))
            .line(format!("secureClientPort={port}"))
            .line("secureClientPortAddress=127.0.0.1");
        Ok((setup, format!("127.0.0.1:{port}")))
    }

    /// A server whose `AdminServer` speaks TLS and nothing else, with that party's certificate: it takes those of the
    /// quorum's connections.
    pub fn admin_setup(&self, setup: Setup, party: &Party) -> Result<Setup> {
        let property = |name: &str, value: &str| format!("zookeeper.ssl.quorum.{name}={value}");
        let setup = setup
            .property("zookeeper.admin.forceHttps=true")
            .property(property("keyStore.location", text(&party.store)?))
            .property(property("keyStore.password", PASSWORD))
            .property(property("keyStore.type", "PKCS12"))
            .property(property("trustStore.location", text(&self.java_trust_store()?)?))
            .property(property("trustStore.password", PASSWORD))
            .property(property("trustStore.type", "PKCS12"));
        Ok(setup)
    }

    fn openssl(&self, line: &str, more: &[&str]) -> Result<()> {
        let mut command = Command::new("openssl");
        ran(command.current_dir(self.folder.path()).args(line.split(' ')).args(more))
    }
}

const NEW_KEY: [&str; 5] = ["-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"];

fn keytool(arguments: &[&str], store: &Path) -> Result<()> {
    let mut command = Command::new("keytool");
    command.args(["-J-XX:TieredStopAtLevel=1", "-J-XX:+UseSerialGC"]).args(arguments);
    ran(command.args(["-storetype", "PKCS12", "-storepass", PASSWORD, "-keystore"]).arg(store))
}

fn ran(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output().context("keytool and openssl must be on the PATH")?;
    if !output.status.success() {
        bail!("{command:?}: {}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("temporary folders have names in UTF-8")
}
