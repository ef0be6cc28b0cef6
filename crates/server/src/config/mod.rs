//! What the daemon is told: `zooark.toml` as people write it, read, completed and checked before anything starts.
//!
//! A key that nobody knows is an error with its line, and so is a value that makes no sense: a daemon that starts with half of
//! what was meant would be noticed on the day of the restore.

mod check;
mod read;
#[cfg(test)]
mod tests;
mod values;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use engine::live::{LiveSettings, USUAL_RATE};
use engine::repository::backend::StoreOptions;
use engine::repository::cache::CacheOptions;
use engine::repository::keys::Credentials;
use engine::retention::Policy;
use engine::{Access, EngineError, secrets};
use jiff::Timestamp;
use secrecy::SecretString;
use serde::Deserialize;
use zk_connect::live::{SaslUser, TlsFiles};

use crate::schedule::Schedule;

pub use self::read::{ConfigError, Surroundings, load};
pub use self::values::{Full, Lasting, OnMissed, Pattern, SpanText, SubsetText, Zone};

/// The whole file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where to listen.
    #[serde(default)]
    pub server: ServerConfig,
    /// The repository that backups go to and restores come from.
    pub repository: RepositoryConfig,
    /// Repositories that get copies.
    #[serde(default, rename = "copy")]
    pub copies: Vec<CopyConfig>,
    /// What is backed up.
    #[serde(default, rename = "cluster")]
    pub clusters: Vec<ClusterConfig>,
    /// What may be restored into.
    #[serde(default, rename = "restore_target")]
    pub restore_targets: Vec<TargetConfig>,
    /// Who may ask for what.
    #[serde(default)]
    pub auth: AuthConfig,
    /// Who is told.
    #[serde(default, rename = "notify")]
    pub notify: Vec<NotifyConfig>,
    /// Whether several daemons share the work.
    #[serde(default)]
    pub leader: LeaderConfig,
    /// The log.
    #[serde(default)]
    pub log: LogConfig,
}

/// `[server]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerConfig {
    /// Address and port of REST and the page.
    pub listen: Option<SocketAddr>,
    /// The port alone: all addresses.
    pub web_server_port: Option<u16>,
    /// Where health and metrics are served too, without tokens.
    pub metrics_listen: Option<SocketAddr>,
    /// Certificate and key, PEM.
    pub tls: Option<TlsConfig>,
    /// Where the times of the last runs and pauses are kept.
    pub state_dir: Option<PathBuf>,
    /// The longest body of a request.
    pub max_body: Option<ByteSize>,
    /// Requests a second, of everybody together.
    pub requests_per_second: Option<u32>,
    /// This host's name in snapshots.
    pub host: Option<String>,
}

/// `tls = { cert, key }`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// PEM file with the certificate and those that lead to its CA.
    pub cert: PathBuf,
    /// PEM file with its key.
    pub key: PathBuf,
}

/// Declares a table that says how a repository is opened, with keys of its own before that.
macro_rules! opening_a_repository {
    ($(#[$about:meta])* pub struct $name:ident { $($(#[$field_about:meta])* pub $field:ident: $kind:ty,)* }) => {
        $(#[$about])*
        #[derive(Clone, Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            $($(#[$field_about])* pub $field: $kind,)*
            /// A path or URL.
            pub url: String,
            /// File with its password.
            pub password_file: Option<PathBuf>,
            /// Command that prints its password.
            pub password_command: Option<String>,
            /// Its key file.
            pub key_file: Option<PathBuf>,
            /// Where the cache goes; empty for none.
            pub cache_dir: Option<PathBuf>,
            /// Settings of the object store.
            #[serde(default)]
            pub options: BTreeMap<String, String>,
            /// KiB a second; 0 for no bound.
            #[serde(default)]
            pub limit_upload: u32,
            /// KiB a second; 0 for no bound.
            #[serde(default)]
            pub limit_download: u32,
        }
    };
}

opening_a_repository! {
    /// `[repository]`
    pub struct RepositoryConfig {}
}

opening_a_repository! {
    /// `[[copy]]`
    pub struct CopyConfig {
        /// What clusters call it.
        pub name: String,
    }
}

impl CopyConfig {
    /// How it is opened.
    pub fn repository(&self) -> RepositoryConfig {
        RepositoryConfig {
            url: self.url.clone(),
            password_file: self.password_file.clone(),
            password_command: self.password_command.clone(),
            key_file: self.key_file.clone(),
            cache_dir: self.cache_dir.clone(),
            options: self.options.clone(),
            limit_upload: self.limit_upload,
            limit_download: self.limit_download,
        }
    }
}

/// How an ensemble is reached: the same keys wherever one is named.
#[derive(Clone, Debug, Default)]
pub struct LiveConfig {
    /// File with lines `digest user:password`.
    pub zk_auth_file: Option<PathBuf>,
    /// PEM file with the CAs to trust.
    pub tls_ca: Option<PathBuf>,
    /// PEM file with the client's certificate.
    pub tls_cert: Option<PathBuf>,
    /// PEM file with the key to it.
    pub tls_key: Option<PathBuf>,
    /// PKCS#12 file with certificate and key.
    pub tls_pkcs12: Option<PathBuf>,
    /// File with the password to it.
    pub tls_password_file: Option<PathBuf>,
    /// User for SASL.
    pub sasl_user: Option<String>,
    /// File with the password of that user.
    pub sasl_password_file: Option<PathBuf>,
    /// Connections to read over.
    pub connections: Option<u16>,
    /// Znodes a second; 0 for no bound.
    pub max_rate: Option<u32>,
}

impl LiveConfig {
    /// What the engine connects with; the files are read now, so that what was renewed holds from the next job on.
    pub fn settings(&self) -> Result<LiveSettings, EngineError> {
        let password = |file: &Option<PathBuf>| file.as_deref().map(secrets::password_file).transpose();
        let sasl = match (&self.sasl_user, password(&self.sasl_password_file)?) {
            (Some(name), Some(password)) => Some(SaslUser { name: name.clone(), password }),
            _ => None,
        };
        Ok(LiveSettings {
            auth: self.zk_auth_file.as_deref().map(secrets::zk_auth_file).transpose()?.unwrap_or_default(),
            sasl,
            tls: TlsFiles {
                ca: self.tls_ca.clone(),
                cert: self.tls_cert.clone(),
                key: self.tls_key.clone(),
                pkcs12: self.tls_pkcs12.clone(),
                password: password(&self.tls_password_file)?,
            },
            connections: self.connections.map(usize::from),
            max_rate: Some(self.max_rate.unwrap_or(USUAL_RATE)).filter(|rate| *rate > 0),
            unsafe_admin_servers: false,
        })
    }
}

/// Declares a table that has the keys of [`LiveConfig`] besides its own: flattened tables could not refuse unknown keys.
macro_rules! reaching_an_ensemble {
    ($(#[$about:meta])* pub struct $name:ident { $($(#[$field_about:meta])* pub $field:ident: $kind:ty,)* }) => {
        $(#[$about])*
        #[derive(Clone, Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            $($(#[$field_about])* pub $field: $kind,)*
            zk_auth_file: Option<PathBuf>,
            tls_ca: Option<PathBuf>,
            tls_cert: Option<PathBuf>,
            tls_key: Option<PathBuf>,
            tls_pkcs12: Option<PathBuf>,
            tls_password_file: Option<PathBuf>,
            sasl_user: Option<String>,
            sasl_password_file: Option<PathBuf>,
            connections: Option<u16>,
            max_rate: Option<u32>,
        }

        impl $name {
            /// How the ensemble is reached.
            pub fn live(&self) -> LiveConfig {
                LiveConfig {
                    zk_auth_file: self.zk_auth_file.clone(),
                    tls_ca: self.tls_ca.clone(),
                    tls_cert: self.tls_cert.clone(),
                    tls_key: self.tls_key.clone(),
                    tls_pkcs12: self.tls_pkcs12.clone(),
                    tls_password_file: self.tls_password_file.clone(),
                    sasl_user: self.sasl_user.clone(),
                    sasl_password_file: self.sasl_password_file.clone(),
                    connections: self.connections,
                    max_rate: self.max_rate,
                }
            }
        }
    };
}

reaching_an_ensemble! {
    /// `[[cluster]]`
    pub struct ClusterConfig {
        /// Its name in snapshots.
        pub name: String,
        /// The endpoint it is read from.
        pub source: String,
        /// When: `@every 10m` or a cron pattern.
        pub schedule: Option<Pattern>,
        /// The same as seconds between two backups.
        pub backup_interval: Option<u32>,
        /// The zone that cron patterns are in.
        #[serde(default)]
        pub time_zone: Zone,
        /// Nothing is run before.
        pub start_at: Option<Timestamp>,
        /// Each run is later than its schedule by up to this.
        pub jitter: Option<Lasting>,
        /// Whether a cluster that was never backed up is so at once.
        #[serde(default)]
        pub instant_first_backup: bool,
        /// What becomes of a run whose time passed while nothing could run.
        #[serde(default)]
        pub on_missed: OnMissed,
        /// Which backups read everything again and write a new base.
        #[serde(default)]
        pub full: Full,
        /// Tags of its snapshots.
        #[serde(default)]
        pub tags: Vec<String>,
        /// Only these nodes.
        #[serde(default)]
        pub include: Vec<String>,
        /// Not these.
        #[serde(default)]
        pub exclude: Vec<String>,
        /// Share of the nodes that may be gone before a snapshot is held back.
        pub max_shrink: Option<f64>,
        /// Whether incomplete snapshots are stored.
        #[serde(default)]
        pub allow_partial: bool,
        /// Level of zstd.
        pub compression: Option<i32>,
        /// What is kept.
        pub retention: Option<RetentionConfig>,
        /// The newest so many: `retention.keep_last`.
        pub max_copies: Option<u32>,
        /// When the repository is checked.
        pub check: Option<CheckConfig>,
        /// When its space is given back.
        pub prune: Option<PruneConfig>,
        /// From which age on the last success is too old.
        pub max_age: Option<Lasting>,
        /// Where its snapshots are copied to.
        #[serde(default)]
        pub copies: Vec<String>,
    }
}

reaching_an_ensemble! {
    /// `[[restore_target]]`
    pub struct TargetConfig {
        /// What requests call it.
        pub name: String,
        /// The ensemble.
        pub target: String,
        /// `jute.maxbuffer` of its servers.
        pub jute_maxbuffer: Option<u32>,
    }
}

/// `retention = { … }`
#[expect(clippy::struct_field_names, reason = "restic calls them so")]
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetentionConfig {
    keep_last: u32,
    keep_hourly: u32,
    keep_daily: u32,
    keep_weekly: u32,
    keep_monthly: u32,
    keep_yearly: u32,
    keep_within: SpanText,
    keep_within_hourly: SpanText,
    keep_within_daily: SpanText,
    keep_within_weekly: SpanText,
    keep_within_monthly: SpanText,
    keep_within_yearly: SpanText,
    keep_tags: Vec<String>,
}

impl ClusterConfig {
    /// When it is backed up.
    pub fn when(&self) -> Option<Schedule> {
        let interval = || Schedule::every(Duration::from_secs(self.backup_interval?.into()));
        self.schedule.as_ref().map_or_else(interval, |pattern| pattern.schedule(&self.time_zone))
    }

    /// The same for people.
    pub fn when_text(&self) -> String {
        let interval = || format!("@every {}s", self.backup_interval.unwrap_or_default());
        self.schedule.as_ref().map_or_else(interval, |pattern| pattern.text().to_owned())
    }

    /// What is kept of it; `None` where nothing is ever forgotten.
    pub fn policy(&self) -> Option<Policy> {
        let given = self.retention.clone().unwrap_or_default();
        let policy = Policy {
            last: self.max_copies.unwrap_or(given.keep_last),
            hourly: given.keep_hourly,
            daily: given.keep_daily,
            weekly: given.keep_weekly,
            monthly: given.keep_monthly,
            yearly: given.keep_yearly,
            within: given.keep_within.0,
            within_hourly: given.keep_within_hourly.0,
            within_daily: given.keep_within_daily.0,
            within_weekly: given.keep_within_weekly.0,
            within_monthly: given.keep_within_monthly.0,
            within_yearly: given.keep_within_yearly.0,
            tags: given.keep_tags.iter().map(|tag| vec![tag.clone()]).collect(),
        };
        (!policy.is_empty()).then_some(policy)
    }
}

/// `check = { … }`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckConfig {
    /// When.
    pub schedule: Pattern,
    /// Which packs are read in full; none where nothing is said.
    pub read_data_subset: Option<SubsetText>,
}

/// `prune = { … }`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PruneConfig {
    /// When.
    pub schedule: Pattern,
    /// Packs of this many bytes at most are repacked in one run.
    pub max_repack: Option<ByteSize>,
}

/// `[auth]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuthConfig {
    /// File with lines `role:token`.
    pub tokens_file: Option<PathBuf>,
    /// Whether who asks from this machine may do everything without one.
    pub allow_loopback_without_token: bool,
}

/// `[[notify]]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NotifyConfig {
    /// Where to POST.
    pub url: String,
    /// About what; everything where nothing is said.
    #[serde(default)]
    pub on: Vec<Occasion>,
    /// File with lines `Name: value`, sent along.
    pub header_file: Option<PathBuf>,
}

/// What somebody is told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Occasion {
    /// A job failed, or a snapshot is held back.
    Failure,
    /// The first success after failures.
    Recovery,
    /// The last success is older than `max_age`.
    Age,
}

/// `[leader]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LeaderConfig {
    /// Who works.
    pub mode: LeaderMode,
    /// How long the one who works may be silent.
    pub lease: Option<Lasting>,
}

/// Who works.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LeaderMode {
    /// This daemon does.
    #[default]
    None,
    /// The one that holds the lease in the repository does.
    Repository,
}

/// `[log]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// How lines look.
    pub format: LogFormat,
    /// `error`, `warn`, `info`, `debug`, or a filter as `RUST_LOG` has them.
    pub level: Option<String>,
}

/// How lines of the log look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One object a line.
    Json,
}

impl RepositoryConfig {
    /// How it is opened; secrets are read now.
    pub fn access(&self, surroundings: &Surroundings) -> Result<Access, EngineError> {
        let credentials = match (&self.key_file, &self.password_file, &self.password_command) {
            (Some(path), _, _) => Credentials::KeyFile(secrets::key_file(path)?),
            (None, Some(path), _) => Credentials::Password(secrets::password_file(path)?),
            (None, None, Some(command)) => Credentials::Password(secrets::password_command(command)?),
            (None, None, None) => match surroundings.variables.get("ZOOARK_PASSWORD").filter(|value| !value.is_empty())
            {
                Some(password) => Credentials::Password(SecretString::from(password.clone())),
                None => Credentials::None,
            },
        };
        let cache = match self.cache_dir.clone().or_else(|| surroundings.cache_dir.clone()) {
            Some(path) if !path.as_os_str().is_empty() => CacheOptions::at(path),
            _ => CacheOptions::none(),
        };
        let bound = |limit: u32| Some(limit).filter(|limit| *limit > 0);
        Ok(Access {
            location: self.url.clone(),
            store: StoreOptions {
                options: self.options.clone(),
                environment: surroundings.variables.clone(),
                limit_upload: bound(self.limit_upload),
                limit_download: bound(self.limit_download),
                ..StoreOptions::default()
            },
            credentials,
            cache,
        })
    }
}

impl ServerConfig {
    /// Where to listen.
    pub fn address(&self) -> SocketAddr {
        let all = |port| SocketAddr::from(([0, 0, 0, 0], port));
        self.listen
            .unwrap_or_else(|| self.web_server_port.map_or_else(|| SocketAddr::from(([127, 0, 0, 1], 8088)), all))
    }
}
