//! `zooark.toml`: the settings at its top level hold for all, those of a profile before them. A key nobody knows
//! is an error with its line, since a misspelt setting would silently not hold.

use std::fs;
use std::ops::Range;
use std::path::Path;

use anyhow::Context as _;
use engine::{EngineError, ErrorKind};
use serde::Deserialize as _;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Deserializer};

use crate::exit::usage;
use crate::settings::{Layer, Origin};

const PROFILES: &str = "profiles";
/// Far more than settings need; a wrong path must not be read into memory.
const LIMIT_BYTES: u64 = 1 << 20;

/// Reads the file and gives its layers, strongest first.
pub fn read(path: &Path, profile: Option<&str>) -> anyhow::Result<Vec<(Origin, Layer)>> {
    let reading =
        || EngineError::new(ErrorKind::Usage, format!("cannot read the configuration file {}", path.display()));
    let size = fs::metadata(path).with_context(reading)?.len();
    if size > LIMIT_BYTES {
        return Err(usage(format!("{} has {size} bytes: that is no configuration file", path.display())));
    }
    let text = fs::read_to_string(path).with_context(reading)?;
    parse(&text, path, profile)
}

fn parse(text: &str, path: &Path, profile: Option<&str>) -> anyhow::Result<Vec<(Origin, Layer)>> {
    let at = |span: Option<Range<usize>>| place(text, path, span);
    let wrong = |error: &toml::de::Error| usage(format!("{}: {}", at(error.span()), error.message().trim()));

    let mut root = DeTable::parse(text).map_err(|error| wrong(&error))?;
    let profiles = take(root.get_mut(), PROFILES);
    let mut layers = vec![(Origin::File, layer(root).map_err(|error| wrong(&error))?)];

    let mut chosen = None;
    if let Some(profiles) = profiles {
        let span = profiles.span();
        let DeValue::Table(table) = profiles.into_inner() else {
            return Err(usage(format!("{}: profiles are tables: write [profiles.NAME]", at(Some(span)))));
        };
        // All are read, not only the one asked for: a mistake shows before the night it is needed.
        for (name, value) in table {
            let span = value.span();
            let DeValue::Table(table) = value.into_inner() else {
                let name = name.get_ref();
                return Err(usage(format!("{}: a profile is a table: write [profiles.{name}]", at(Some(span)))));
            };
            let settings = layer(Spanned::new(span, table)).map_err(|error| wrong(&error))?;
            if Some(name.get_ref().as_ref()) == profile {
                chosen = Some((Origin::Profile(name.get_ref().to_string()), settings));
            }
        }
    }
    if let Some(name) = profile {
        let found = chosen.ok_or_else(|| usage(format!("{} has no profile {name}", path.display())))?;
        layers.insert(0, found);
    }
    Ok(layers)
}

fn layer(table: Spanned<DeTable<'_>>) -> Result<Layer, toml::de::Error> {
    Layer::deserialize(Deserializer::from(table))
}

fn take<'a>(table: &mut DeTable<'a>, key: &str) -> Option<Spanned<DeValue<'a>>> {
    table.remove(key)
}

fn place(text: &str, path: &Path, span: Option<Range<usize>>) -> String {
    let start = span.map_or(0, |span| span.start.min(text.len()));
    let line = text.as_bytes().iter().take(start).filter(|byte| **byte == b'\n').count() + 1;
    format!("{} line {line}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, profile: Option<&str>) -> anyhow::Result<Vec<(Origin, Layer)>> {
        parse(text, Path::new("zooark.toml"), profile)
    }

    #[test]
    fn a_profile_speaks_before_the_top_level() {
        let text = "repository = \"/a\"\ncluster = \"x\"\n[profiles.p]\nrepository = \"/b\"\n[profiles.p.options]\nregion = \"eu\"\n";
        let layers = read(text, Some("p")).unwrap();
        assert_eq!(layers[0].0, Origin::Profile("p".to_owned()));
        assert_eq!(layers[0].1.repository.as_deref(), Some("/b"));
        assert_eq!(layers[0].1.options["region"], "eu");
        assert_eq!(layers[1].1.cluster.as_deref(), Some("x"));
        assert_eq!(read(text, None).unwrap().len(), 1);
    }

    #[test]
    fn mistakes_name_file_and_line() {
        for (text, profile, expected) in [
            ("repository = \"/a\"\nrepo = \"/b\"\n", None, "zooark.toml line 2: unknown field `repo`"),
            ("\n\n[profiles.p]\npasword-file = \"x\"\n", None, "zooark.toml line 4: unknown field `pasword-file`"),
            ("a = \n", None, "zooark.toml line 1: "),
            ("\nlimit-upload = \"fast\"\n", None, "zooark.toml line 2: invalid type"),
            ("profiles = 3\n", None, "zooark.toml line 1: profiles are tables"),
            ("", Some("p"), "zooark.toml has no profile p"),
        ] {
            let error = read(text, profile).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
