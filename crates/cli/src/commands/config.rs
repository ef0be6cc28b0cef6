//! `config show`: the settings that hold, and who said so; secrets stay hidden.

use std::path::PathBuf;

use clap::Subcommand;
use serde::Serialize;

use crate::context::Context;
use crate::exit::Exit;
use crate::output;
use crate::settings::{Layer, Origin, Settings, is_secret};

/// Shows the settings that hold.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Example:
  zooark --config /etc/zooark.toml --profile prod config show")]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Print every setting with its value and where it came from; secrets are hidden
    #[command(after_long_help = "Example:
  zooark config show --json

zooark.toml holds these keys at its top level and in [profiles.NAME]: repository, password-file,
password-command, key-file, cache-dir, no-cache, limit-upload, limit-download, cluster, host, source,
tags, include, exclude, max-shrink, compression, zk-auth-file, tls-ca, tls-cert, tls-key, tls-pkcs12,
tls-password-file, sasl-user, sasl-password-file, connections, max-rate, and the store's own in [options].")]
    Show,
}

/// What stands in place of a secret.
const HIDDEN: &str = "(hidden)";

#[derive(Debug, Serialize)]
struct Shown {
    key: String,
    value: String,
    origin: String,
}

/// Runs it.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<Exit> {
    let Action::Show = args.action;
    let shown = collect(&context.settings);
    let output = &context.output;
    if output.json {
        output.document(&shown)?;
        return Ok(Exit::Done);
    }
    if let Some(path) = &context.settings.config_file {
        output.say(format_args!("configuration file: {}", path.display()));
    }
    let mut table = output::table(&["Setting", "Value", "From"], &[]);
    for row in shown {
        table.add_row([row.key, output::plain(&row.value), row.origin]);
    }
    output.table(&table)?;
    Ok(Exit::Done)
}

fn collect(settings: &Settings) -> Vec<Shown> {
    let mut shown = Vec::new();
    let mut add = |key: &str, found: Option<(String, Origin)>| {
        if let Some((value, origin)) = found {
            shown.push(Shown { key: key.to_owned(), value, origin: origin.to_string() });
        }
    };
    let text = |pick: fn(&Layer) -> Option<String>| settings.find(pick);
    add("repository", text(|layer| layer.repository.as_deref().map(without_credentials)));
    add("password", text(|layer| layer.password.as_ref().map(|_| HIDDEN.to_owned())));
    add("password-file", text(|layer| layer.password_file.as_ref().map(|path| path.display().to_string())));
    // A command line may hold a secret itself.
    add("password-command", text(|layer| layer.password_command.as_ref().map(|_| HIDDEN.to_owned())));
    add("key-file", text(|layer| layer.key_file.as_ref().map(|path| path.display().to_string())));
    let cache = settings.cache_dir().map_or_else(|| "none".to_owned(), |path| path.display().to_string());
    let cache_origin = settings.find(|layer| (layer.cache_dir.is_some() || layer.no_cache.is_some()).then_some(true));
    add("cache-dir", Some((cache, cache_origin.map_or(Origin::Default, |(_, origin)| origin))));
    add("limit-upload", text(|layer| layer.limit_upload.map(|kib| format!("{kib} KiB/s"))));
    add("limit-download", text(|layer| layer.limit_download.map(|kib| format!("{kib} KiB/s"))));
    let cluster = text(|layer| layer.cluster.clone());
    add("cluster", Some(cluster.unwrap_or_else(|| ("default".to_owned(), Origin::Default))));
    add("host", text(|layer| layer.host.clone()));
    add("source", text(|layer| layer.source.clone()));
    add("tags", text(|layer| layer.tags.as_ref().map(|tags| tags.join(","))));
    add("include", text(|layer| layer.include.as_ref().map(|globs| globs.join(" "))));
    add("exclude", text(|layer| layer.exclude.as_ref().map(|globs| globs.join(" "))));
    add("max-shrink", text(|layer| layer.max_shrink.map(|share| share.to_string())));
    add("compression", text(|layer| layer.compression.map(|level| level.to_string())));
    add("zk-auth", text(|layer| layer.zk_auth.as_ref().map(|_| HIDDEN.to_owned())));
    add("zk-auth-file", text(|layer| layer.zk_auth_file.as_ref().map(|path| path.display().to_string())));
    let path = |pick: fn(&Layer) -> &Option<PathBuf>| {
        settings.find(|layer| pick(layer).as_ref().map(|path| path.display().to_string()))
    };
    add("tls-ca", path(|layer| &layer.tls_ca));
    add("tls-cert", path(|layer| &layer.tls_cert));
    add("tls-key", path(|layer| &layer.tls_key));
    add("tls-pkcs12", path(|layer| &layer.tls_pkcs12));
    add("tls-password-file", path(|layer| &layer.tls_password_file));
    add("sasl-user", text(|layer| layer.sasl_user.clone()));
    add("sasl-password-file", path(|layer| &layer.sasl_password_file));
    add("connections", text(|layer| layer.connections.map(|count| count.to_string())));
    add("max-rate", text(|layer| layer.max_rate.map(|rate| format!("{rate} znodes/s"))));
    for (key, (value, origin)) in settings.options() {
        let value = if is_secret(&key) { HIDDEN.to_owned() } else { value };
        add(&format!("options.{key}"), Some((value, origin)));
    }
    shown
}

/// A URL may carry a user and a password before its host.
fn without_credentials(url: &str) -> String {
    match url.split_once("://").and_then(|(scheme, rest)| {
        let authority = rest.split('/').next()?;
        let (_, host) = authority.rsplit_once('@')?;
        Some(format!("{scheme}://{HIDDEN}@{host}{}", rest.get(authority.len()..)?))
    }) {
        Some(hidden) => hidden,
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_in_a_url_are_hidden() {
        assert_eq!(without_credentials("s3://key:secret@host/b"), "s3://(hidden)@host/b");
        assert_eq!(without_credentials("s3://bucket/a@b"), "s3://bucket/a@b");
        assert_eq!(without_credentials("/a@b"), "/a@b");
    }
}
