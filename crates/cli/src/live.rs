//! How to reach a live ensemble: credentials and how hard to press it.

use std::path::PathBuf;

use engine::live::{LiveSettings, USUAL_RATE};
use engine::secrets;
use secrecy::ExposeSecret as _;
use zk_connect::live::{SaslUser, TlsFiles};

use crate::context::Context;
use crate::exit::usage;
use crate::settings::Layer;

const HEADING: &str = "Live ensembles";

/// The flags of every command that talks to servers.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = HEADING)]
pub struct LiveArgs {
    /// File with credentials for ZooKeeper, a line each: `digest user:password` [env: ZOOARK_ZK_AUTH_FILE; the lines
    /// themselves: ZOOARK_ZK_AUTH]
    #[arg(long, value_name = "FILE")]
    zk_auth_file: Option<PathBuf>,

    /// PEM file with the CAs to trust for zk+tls:// and admin+https:// [default: the system's]
    #[arg(long, value_name = "FILE")]
    tls_ca: Option<PathBuf>,

    /// PEM file with the client's certificate, and those that lead to its CA
    #[arg(long, value_name = "FILE")]
    tls_cert: Option<PathBuf>,

    /// PEM file with the key to --tls-cert, not encrypted
    #[arg(long, value_name = "FILE")]
    tls_key: Option<PathBuf>,

    /// PKCS#12 file with the client's certificate and key, and CAs to trust unless --tls-ca is given
    #[arg(long, value_name = "FILE")]
    tls_pkcs12: Option<PathBuf>,

    /// File with the password to --tls-pkcs12
    #[arg(long, value_name = "FILE")]
    tls_password_file: Option<PathBuf>,

    /// User for SASL (DIGEST-MD5)
    #[arg(long, value_name = "USER")]
    sasl_user: Option<String>,

    /// File with the password of --sasl-user
    #[arg(long, value_name = "FILE")]
    sasl_password_file: Option<PathBuf>,

    /// Connections to read over [default: one for each server that does not lead, up to 4]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=64))]
    connections: Option<u16>,

    /// Read at most this many znodes a second, an ACL that is asked for counting as ten; 0 for no bound [default: 50000,
    /// of a restore 0]
    #[arg(long, value_name = "ZNODES")]
    max_rate: Option<u32>,
}

impl LiveArgs {
    /// Flags before environment before file; credentials are read now.
    pub fn settings(&self, context: &Context) -> anyhow::Result<LiveSettings> {
        self.settings_or(context, USUAL_RATE)
    }

    /// The same with another bound on what is read where none is given.
    pub fn settings_or(&self, context: &Context, usual_rate: u32) -> anyhow::Result<LiveSettings> {
        let settings = &context.settings;
        let file = self.zk_auth_file.clone();
        let auth = match file {
            Some(file) => secrets::zk_auth_file(&file)?,
            None => settings
                .layers()
                .find_map(|(_, layer)| match (&layer.zk_auth, &layer.zk_auth_file) {
                    (Some(text), _) => Some(secrets::zk_auth(text.expose_secret(), "ZOOARK_ZK_AUTH")),
                    (None, Some(file)) => Some(secrets::zk_auth_file(file)),
                    (None, None) => None,
                })
                .transpose()?
                .unwrap_or_default(),
        };
        let file = |flag: &Option<PathBuf>, pick: fn(&Layer) -> &Option<PathBuf>| {
            flag.clone().or_else(|| settings.get(|layer| pick(layer).clone()))
        };
        let password_file = file(&self.tls_password_file, |layer| &layer.tls_password_file);
        let tls = TlsFiles {
            ca: file(&self.tls_ca, |layer| &layer.tls_ca),
            cert: file(&self.tls_cert, |layer| &layer.tls_cert),
            key: file(&self.tls_key, |layer| &layer.tls_key),
            pkcs12: file(&self.tls_pkcs12, |layer| &layer.tls_pkcs12),
            password: password_file.as_deref().map(secrets::password_file).transpose()?,
        };
        let name = self.sasl_user.clone().or_else(|| settings.get(|layer| layer.sasl_user.clone()));
        let sasl = match (name, file(&self.sasl_password_file, |layer| &layer.sasl_password_file)) {
            (None, None) => None,
            (Some(name), Some(file)) => Some(SaslUser { name, password: secrets::password_file(&file)? }),
            (Some(_), None) => return Err(usage("--sasl-user needs its password: give --sasl-password-file")),
            (None, Some(_)) => return Err(usage("--sasl-password-file is the password of nobody: give --sasl-user")),
        };
        let connections = self.connections.map(usize::from).or_else(|| settings.get(|layer| layer.connections));
        let max_rate = self.max_rate.or_else(|| settings.get(|layer| layer.max_rate));
        let max_rate = Some(max_rate.unwrap_or(usual_rate)).filter(|rate| *rate > 0);
        Ok(LiveSettings { auth, sasl, tls, connections, max_rate, unsafe_admin_servers: false })
    }
}
