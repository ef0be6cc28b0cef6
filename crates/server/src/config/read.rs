//! From the file and the environment to a [`Config`].

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Deserialize as _;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Deserializer};

use super::Config;
use super::check;

/// Far more than settings need; a wrong path must not be read into memory.
const LIMIT_BYTES: u64 = 1 << 20;
/// Tables whose keys are variables too.
const TABLES: [&str; 5] = ["server", "repository", "auth", "leader", "log"];

/// Why a configuration does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub String);

/// What the process was started with.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// The environment.
    pub variables: BTreeMap<String, String>,
    /// Where state goes that the file says nothing of.
    pub state_dir: PathBuf,
    /// Where caches go that the file says nothing of; nowhere where `None`.
    pub cache_dir: Option<PathBuf>,
    /// This host's name.
    pub host: String,
}

/// Reads the file, lets variables stand in for its keys, and checks all of it.
pub fn load(path: &Path, surroundings: &Surroundings) -> Result<Config, ConfigError> {
    let reading =
        |error: std::io::Error| ConfigError(format!("cannot read the configuration file {}: {error}", path.display()));
    let size = fs::metadata(path).map_err(reading)?.len();
    if size > LIMIT_BYTES {
        return Err(ConfigError(format!("{} has {size} bytes: that is no configuration file", path.display())));
    }
    let text = fs::read_to_string(path).map_err(reading)?;
    parse(&text, &path.display().to_string(), &surroundings.variables)
}

pub(super) fn parse(text: &str, name: &str, variables: &BTreeMap<String, String>) -> Result<Config, ConfigError> {
    let wrong = |error: toml::de::Error| {
        ConfigError(format!("{}: {}", place(text, name, error.span()), error.message().trim()))
    };
    let with = |variables: &mut dyn Iterator<Item = (&String, &String)>| {
        let mut root = DeTable::parse(text)?;
        for (variable, value) in variables.filter(|(_, value)| !value.is_empty()) {
            override_with(root.get_mut(), variable, value, &(0..0));
        }
        Config::deserialize(Deserializer::from(root))
    };
    let config = with(&mut variables.iter()).map_err(|error| {
        // A variable has no line: which one is wrong shows when each stands alone.
        let alone = |variable: &(&String, &String)| with(&mut std::iter::once(*variable)).is_err();
        let holds_without = with(&mut std::iter::empty()).is_ok();
        match variables.iter().find(alone).filter(|_| holds_without) {
            Some((variable, _)) => ConfigError(format!("the variable {variable}: {}", error.message().trim())),
            None => wrong(error),
        }
    })?;
    check::check(&config).map_err(|problem| ConfigError(format!("{name}: {problem}")))?;
    Ok(config)
}

/// Puts the value of `ZOOARK_<TABLE>_<KEY>` into its table. `ZOOARK_CLUSTER_<KEY>` is of the only cluster.
fn override_with<'t>(root: &mut DeTable<'t>, variable: &str, value: &'t str, span: &Range<usize>) {
    let Some(name) = variable.strip_prefix("ZOOARK_") else { return };
    let name = name.to_ascii_lowercase();
    let (table, key) = match name.as_str() {
        // As the other commands call them.
        "repository" => ("repository", "url"),
        "password_file" => ("repository", "password_file"),
        "password_command" => ("repository", "password_command"),
        "key_file" => ("repository", "key_file"),
        "cache_dir" => ("repository", "cache_dir"),
        name => match name.split_once('_') {
            Some((table, key)) if TABLES.contains(&table) || table == "cluster" => (table, key),
            _ => return,
        },
    };
    let spanned = Spanned::new(span.clone(), typed(value));
    let key = std::borrow::Cow::Owned(key.to_owned());
    if table == "cluster" {
        if let Some(DeValue::Array(clusters)) = root.get_mut("cluster").map(Spanned::get_mut)
            && let [only] = &mut **clusters
            && let DeValue::Table(only) = only.get_mut()
        {
            only.insert(Spanned::new(span.clone(), key), spanned);
        }
        return;
    }
    if !root.contains_key(table) {
        let empty = DeValue::Table(DeTable::new());
        root.insert(Spanned::new(span.clone(), table.to_owned().into()), Spanned::new(span.clone(), empty));
    }
    if let Some(DeValue::Table(table)) = root.get_mut(table).map(Spanned::get_mut) {
        table.insert(Spanned::new(span.clone(), key), spanned);
    }
}

/// A number, a truth, a list or a table where the text is one, else the text.
fn typed(value: &str) -> DeValue<'_> {
    match DeValue::parse(value).map(Spanned::into_inner) {
        Ok(
            parsed @ (DeValue::Integer(_)
            | DeValue::Boolean(_)
            | DeValue::Array(_)
            | DeValue::Table(_)
            | DeValue::Float(_)),
        ) => parsed,
        _ => DeValue::String(value.into()),
    }
}

fn place(text: &str, name: &str, span: Option<Range<usize>>) -> String {
    let start = span.map_or(0, |span| span.start.min(text.len()));
    let line = text.as_bytes().iter().take(start).filter(|byte| **byte == b'\n').count() + 1;
    format!("{name} line {line}")
}
