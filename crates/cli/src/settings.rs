//! What holds for this run: flags, then environment, then `zooark.toml` (its profile before its top level).
//!
//! Every layer is the same [`Layer`] of optional values, so precedence is one search for the first that speaks,
//! and `config show` can say where each value came from. Two kinds are merged instead: store options key by key.

mod file;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use secrecy::SecretString;
use serde::Deserialize;

pub use crate::settings::file::read as read_file;

use crate::args::GlobalArgs;
use crate::exit::usage;

/// One source of settings; absent values leave the word to the next.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Layer {
    /// Where the repository is.
    pub repository: Option<String>,
    /// Settings of the object store.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
    /// From the environment only: a file of settings is no place for it.
    #[serde(skip)]
    pub password: Option<SecretString>,
    /// File that holds the password.
    pub password_file: Option<PathBuf>,
    /// Command that prints the password.
    pub password_command: Option<String>,
    /// Key file used instead of a password.
    pub key_file: Option<PathBuf>,
    /// Directory of the local cache.
    pub cache_dir: Option<PathBuf>,
    /// Whether to work without a cache.
    pub no_cache: Option<bool>,
    /// KiB a second.
    pub limit_upload: Option<u32>,
    /// KiB a second.
    pub limit_download: Option<u32>,
    /// Name of the ensemble.
    pub cluster: Option<String>,
    /// Host recorded in snapshots.
    pub host: Option<String>,
    /// What `backup` reads when no source is given.
    pub source: Option<String>,
    /// Tags of new snapshots.
    pub tags: Option<Vec<String>>,
    /// Globs of what to back up.
    pub include: Option<Vec<String>>,
    /// Globs of what to leave out.
    pub exclude: Option<Vec<String>>,
    /// Share of the nodes that may vanish before a snapshot is suspect, 0 to 1.
    pub max_shrink: Option<f64>,
    /// Level of zstd, 1 to 19.
    pub compression: Option<i32>,
    /// From the environment only: credentials for ZooKeeper, as the file has them.
    #[serde(skip)]
    pub zk_auth: Option<SecretString>,
    /// File with credentials for ZooKeeper.
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
    /// Connections to a live ensemble.
    pub connections: Option<usize>,
    /// Znodes a second read from a live ensemble, at most.
    pub max_rate: Option<u32>,
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The command line.
    Flag,
    /// A variable.
    Environment,
    /// The named profile of the configuration file.
    Profile(String),
    /// The top level of the configuration file.
    File,
    /// Nobody said anything.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("flag"),
            Self::Environment => f.write_str("environment"),
            Self::Profile(name) => write!(f, "profile {name}"),
            Self::File => f.write_str("file"),
            Self::Default => f.write_str("default"),
        }
    }
}

/// The layers in order of precedence.
#[derive(Clone, Debug)]
pub struct Settings {
    layers: Vec<(Origin, Layer)>,
    /// The configuration file that was read.
    pub config_file: Option<PathBuf>,
    /// The whole environment, for the object store's own variables.
    pub environment: BTreeMap<String, String>,
}

impl Settings {
    /// Merges what was typed with this process's environment and the configuration file.
    pub fn load(global: &GlobalArgs, environment: BTreeMap<String, String>) -> anyhow::Result<Self> {
        let set = |name: &str| environment.get(name).filter(|value| !value.is_empty()).cloned();
        let config_file = global.config.clone().or_else(|| set("ZOOARK_CONFIG").map(PathBuf::from));
        let profile = global.profile.clone().or_else(|| set("ZOOARK_PROFILE"));
        let mut layers =
            vec![(Origin::Flag, flag_layer(global)), (Origin::Environment, environment_layer(&environment)?)];
        match &config_file {
            Some(path) => layers.extend(read_file(path, profile.as_deref())?),
            None => {
                if let Some(name) = profile {
                    return Err(usage(format!(
                        "profile {name} has no file to stand in: give --config FILE or set ZOOARK_CONFIG"
                    )));
                }
            }
        }
        Ok(Self { layers, config_file, environment })
    }

    /// The first layer that says something, and which it was.
    pub fn find<T>(&self, pick: impl Fn(&Layer) -> Option<T>) -> Option<(T, Origin)> {
        self.layers.iter().find_map(|(origin, layer)| pick(layer).map(|value| (value, origin.clone())))
    }

    /// The same without the origin.
    pub fn get<T>(&self, pick: impl Fn(&Layer) -> Option<T>) -> Option<T> {
        self.find(pick).map(|(value, _)| value)
    }

    /// The layers, first word first.
    pub fn layers(&self) -> impl Iterator<Item = (&Origin, &Layer)> {
        self.layers.iter().map(|(origin, layer)| (origin, layer))
    }

    /// Store options of all layers; of equal keys the stronger layer's.
    pub fn options(&self) -> BTreeMap<String, (String, Origin)> {
        let mut merged = BTreeMap::new();
        for (origin, layer) in self.layers.iter().rev() {
            for (key, value) in &layer.options {
                merged.insert(key.clone(), (value.clone(), origin.clone()));
            }
        }
        merged
    }

    /// The repository, which nearly every command needs.
    pub fn repository(&self) -> anyhow::Result<String> {
        self.get(|layer| layer.repository.clone())
            .ok_or_else(|| usage("no repository given: use --repo URL or set ZOOARK_REPOSITORY"))
    }

    /// Where the cache goes: as told, else below the user's cache directory.
    pub fn cache_dir(&self) -> Option<PathBuf> {
        if self.get(|layer| layer.no_cache).unwrap_or(false) {
            return None;
        }
        self.get(|layer| layer.cache_dir.clone()).or_else(|| self.users("XDG_CACHE_HOME", ".cache"))
    }

    /// Where what an interrupted operation has to know is kept: below the user's state directory, else the working one.
    pub fn state_dir(&self) -> PathBuf {
        self.users("XDG_STATE_HOME", ".local/state").unwrap_or_else(|| PathBuf::from(".zooark"))
    }

    /// Our folder in one of the user's own directories.
    fn users(&self, variable: &str, below_home: &str) -> Option<PathBuf> {
        let absolute = |name: &str| self.environment.get(name).map(Path::new).filter(|value| value.is_absolute());
        let own = absolute(variable).map(PathBuf::from);
        own.or_else(|| Some(absolute("HOME")?.join(below_home))).map(|directory| directory.join("zooark"))
    }
}

fn flag_layer(global: &GlobalArgs) -> Layer {
    Layer {
        repository: global.repo.clone(),
        options: global.option.iter().cloned().collect(),
        password_file: global.password_file.clone(),
        password_command: global.password_command.clone(),
        key_file: global.key_file.clone(),
        cache_dir: global.cache_dir.clone(),
        no_cache: global.no_cache.then_some(true),
        limit_upload: global.limit_upload,
        limit_download: global.limit_download,
        ..Layer::default()
    }
}

/// The variables that are settings; `ZOOARK_CONFIG`, `ZOOARK_PROFILE` and `ZOOARK_LOG` are read elsewhere.
pub const VARIABLES: [&str; 15] = [
    "ZOOARK_REPOSITORY",
    "ZOOARK_PASSWORD",
    "ZOOARK_PASSWORD_FILE",
    "ZOOARK_PASSWORD_COMMAND",
    "ZOOARK_NEW_PASSWORD",
    "ZOOARK_TO_PASSWORD",
    "ZOOARK_LIKE_PASSWORD",
    "ZOOARK_KEY_FILE",
    "ZOOARK_CACHE_DIR",
    "ZOOARK_CLUSTER",
    "ZOOARK_HOST",
    "ZOOARK_LIMIT_UPLOAD",
    "ZOOARK_LIMIT_DOWNLOAD",
    "ZOOARK_ZK_AUTH",
    "ZOOARK_ZK_AUTH_FILE",
];

fn environment_layer(environment: &BTreeMap<String, String>) -> anyhow::Result<Layer> {
    let set = |name: &str| environment.get(name).filter(|value| !value.is_empty()).cloned();
    let number = |name: &str| {
        set(name)
            .map(|value| value.parse().map_err(|_| usage(format!("{name}={value} is no number of KiB a second"))))
            .transpose()
    };
    Ok(Layer {
        repository: set("ZOOARK_REPOSITORY"),
        password: set("ZOOARK_PASSWORD").map(SecretString::from),
        password_file: set("ZOOARK_PASSWORD_FILE").map(PathBuf::from),
        password_command: set("ZOOARK_PASSWORD_COMMAND"),
        key_file: set("ZOOARK_KEY_FILE").map(PathBuf::from),
        cache_dir: set("ZOOARK_CACHE_DIR").map(PathBuf::from),
        cluster: set("ZOOARK_CLUSTER"),
        host: set("ZOOARK_HOST"),
        limit_upload: number("ZOOARK_LIMIT_UPLOAD")?,
        limit_download: number("ZOOARK_LIMIT_DOWNLOAD")?,
        zk_auth: set("ZOOARK_ZK_AUTH").map(SecretString::from),
        zk_auth_file: set("ZOOARK_ZK_AUTH_FILE").map(PathBuf::from),
        ..Layer::default()
    })
}

/// Whether the value of a store option may be shown.
pub fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    ["secret", "token", "password", "credential", "account_key", "access_key", "sas", "private"]
        .iter()
        .any(|word| key.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn flags_win_over_the_environment_and_empty_variables_say_nothing() {
        let global = GlobalArgs { repo: Some("/flag".to_owned()), ..GlobalArgs::default() };
        let variables = environment(&[("ZOOARK_REPOSITORY", "/env"), ("ZOOARK_CLUSTER", "prod"), ("ZOOARK_HOST", "")]);
        let settings = Settings::load(&global, variables).unwrap();
        assert_eq!(settings.find(|l| l.repository.clone()), Some(("/flag".to_owned(), Origin::Flag)));
        assert_eq!(settings.find(|l| l.cluster.clone()), Some(("prod".to_owned(), Origin::Environment)));
        assert_eq!(settings.find(|l| l.host.clone()), None);
    }

    #[test]
    fn the_cache_follows_the_user() {
        let of = |pairs| Settings::load(&GlobalArgs::default(), environment(pairs)).unwrap().cache_dir();
        assert_eq!(of(&[("HOME", "/h")]), Some(PathBuf::from("/h/.cache/zooark")));
        assert_eq!(of(&[("HOME", "/h"), ("XDG_CACHE_HOME", "/c")]), Some(PathBuf::from("/c/zooark")));
        assert_eq!(of(&[("XDG_CACHE_HOME", "relative")]), None);
        assert_eq!(of(&[("ZOOARK_CACHE_DIR", "/z"), ("HOME", "/h")]), Some(PathBuf::from("/z")));
    }

    #[test]
    fn what_opens_doors_is_secret() {
        for key in ["aws_secret_access_key", "AWS_SESSION_TOKEN", "azure_storage_account_key", "access_key_id"] {
            assert!(is_secret(key), "{key}");
        }
        assert!(!is_secret("endpoint") && !is_secret("region"));
    }
}
