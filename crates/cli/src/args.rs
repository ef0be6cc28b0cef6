//! The flags every command takes.

use std::path::PathBuf;

use clap::{ArgAction, Args, Parser};

use crate::commands::Command;

const HEADING: &str = "Global options";

/// Backs up Apache ZooKeeper and restores it exactly.
///
/// Every backup is a small, deduplicated, encrypted snapshot in a repository on a disk or an object store; any
/// znode, subtree or whole ensemble comes back from any snapshot by its id.
#[derive(Debug, Parser)]
#[command(
    name = "zooark",
    version,
    arg_required_else_help = true,
    subcommand_required = true,
    max_term_width = 110,
    disable_help_subcommand = false,
    after_long_help = "Example:
  export ZOOARK_REPOSITORY=s3://backups/zookeeper ZOOARK_PASSWORD_FILE=/etc/zooark/password
  zooark init
  zooark backup datadir:/var/lib/zookeeper --cluster prod
  zooark restore latest datadir:/var/lib/zookeeper-new

Exit codes: 0 done, 1 failed, 2 usage, 3 done but incomplete, 4 damage found, 5 refused or suspect,
10 no repository there, 11 held by another process, 12 wrong password, 130 interrupted."
)]
pub struct Cli {
    /// What every command takes.
    #[command(flatten)]
    pub global: GlobalArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Flags that stand before or after any command.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = HEADING)]
pub struct GlobalArgs {
    /// Repository: a path, file://, s3://, s3a://, gs://, az:// or obs:// [env: ZOOARK_REPOSITORY]
    #[arg(short, long, global = true, value_name = "URL")]
    pub repo: Option<String>,

    /// Read the repository's password from this file [env: ZOOARK_PASSWORD_FILE]
    #[arg(long, global = true, value_name = "FILE", conflicts_with_all = ["password_command", "key_file"])]
    pub password_file: Option<PathBuf>,

    /// Run this with `sh -c` and take its first line of output for the password [env: ZOOARK_PASSWORD_COMMAND]
    #[arg(long, global = true, value_name = "COMMAND", conflicts_with = "key_file")]
    pub password_command: Option<String>,

    /// Open the repository with this key file instead of a password [env: ZOOARK_KEY_FILE]
    #[arg(long, global = true, value_name = "FILE")]
    pub key_file: Option<PathBuf>,

    /// A setting of the object store: endpoint, region, connections, timeout, connect_timeout, retries and what the kind of store has; may be given several times
    #[arg(short, long = "option", global = true, value_name = "KEY=VALUE", value_parser = key_value)]
    pub option: Vec<(String, String)>,

    /// Directory of the local cache [env: ZOOARK_CACHE_DIR]
    #[arg(long, global = true, value_name = "DIR")]
    pub cache_dir: Option<PathBuf>,

    /// Work without the local cache
    #[arg(long, global = true)]
    pub no_cache: bool,

    /// Upload at most this many KiB a second
    #[arg(long, global = true, value_name = "KIB")]
    pub limit_upload: Option<u32>,

    /// Download at most this many KiB a second
    #[arg(long, global = true, value_name = "KIB")]
    pub limit_download: Option<u32>,

    /// Configuration file [env: ZOOARK_CONFIG]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Profile of the configuration file to use [env: ZOOARK_PROFILE]
    #[arg(long, global = true, value_name = "NAME")]
    pub profile: Option<String>,

    /// Print JSON: one document, or one object a line where there is a stream
    #[arg(long, global = true)]
    pub json: bool,

    /// Print results and errors only
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,

    /// Say more; twice for details [env: ZOOARK_LOG]
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,

    /// Show no progress
    #[arg(long, global = true)]
    pub no_progress: bool,
}

/// Parses one setting of a store.
pub fn key_value(given: &str) -> Result<(String, String), String> {
    match given.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write it as key=value".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_declaration_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn options_are_pairs() {
        assert_eq!(key_value("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert!(key_value("a").is_err() && key_value("=b").is_err());
    }
}
