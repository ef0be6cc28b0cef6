//! From the file and the environment to a [`Config`].

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Deserialize as _;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue, Deserializer};

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

/// Lists of tables whose keys are variables too, by the name in each.
const LISTS: [&str; 3] = ["cluster", "copy", "restore_target"];

/// Puts the value of `ZOOARK_<TABLE>_<KEY>` into its table. `ZOOARK_CLUSTER_<KEY>` is of the only cluster, and
/// `ZOOARK_CLUSTER_<NAME>_<KEY>` of one of several, its name in capitals with `_` for what is no letter or digit; the same holds
/// for `COPY` and `RESTORE_TARGET`.
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
        name => {
            let of = |table: &&str| name.strip_prefix(table).is_some_and(|rest| rest.starts_with('_'));
            let Some(table) = TABLES.iter().chain(&LISTS).copied().find(of) else { return };
            (table, name.get(table.len() + 1..).unwrap_or_default())
        }
    };
    let spanned = Spanned::new(span.clone(), typed(value));
    if LISTS.contains(&table) {
        if let Some(DeValue::Array(list)) = root.get_mut(table).map(Spanned::get_mut)
            && let Some((entry, key)) = entry(list, key)
        {
            entry.insert(Spanned::new(span.clone(), key.to_owned().into()), spanned);
        }
        return;
    }
    let key = std::borrow::Cow::Owned(key.to_owned());
    if !root.contains_key(table) {
        let empty = DeValue::Table(DeTable::new());
        root.insert(Spanned::new(span.clone(), table.to_owned().into()), Spanned::new(span.clone(), empty));
    }
    if let Some(DeValue::Table(table)) = root.get_mut(table).map(Spanned::get_mut) {
        table.insert(Spanned::new(span.clone(), key), spanned);
    }
}

/// The entry of a list that a variable is about, and the key in it: of several the one with the longest name that fits.
fn entry<'l, 't, 'k>(list: &'l mut DeArray<'t>, rest: &'k str) -> Option<(&'l mut DeTable<'t>, &'k str)> {
    let fits = |entry: &Spanned<DeValue<'_>>| -> Option<usize> {
        let DeValue::Table(table) = entry.get_ref() else { return None };
        let DeValue::String(name) = table.get("name")?.get_ref() else { return None };
        let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' };
        let start: String = name.chars().map(plain).chain(['_']).collect();
        rest.starts_with(&start).then_some(start.len())
    };
    let (at, length) = if list.len() == 1 {
        (0, 0)
    } else {
        let all = list.iter().enumerate().filter_map(|(at, entry)| Some((at, fits(entry)?)));
        all.max_by_key(|(_, length)| *length)?
    };
    match list.get_mut(at).map(Spanned::get_mut) {
        Some(DeValue::Table(table)) => Some((table, rest.get(length..)?)),
        _ => None,
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
