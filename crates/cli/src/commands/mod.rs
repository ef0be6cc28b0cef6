//! One file per command: its flags, the request it makes of the engine, and how the answer is shown.

pub mod completions;
pub mod config;
pub mod inspect;
pub mod man;
pub mod version;

mod selection;

use clap::Subcommand;

use crate::context::Context;
use crate::exit::Exit;

/// What `zooark` can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Summarise ZooKeeper's own files, without a repository
    Inspect(inspect::Args),
    /// Show the settings that hold
    Config(config::Args),
    /// Print completions for a shell
    Completions(completions::Args),
    /// Print the manual page, or write one per command
    Man(man::Args),
    /// Show the version
    Version(version::Args),
}

impl Command {
    /// Whether `--json` of this command is a stream of messages that ends with a summary.
    pub const fn streams_messages(&self) -> bool {
        false
    }
}

/// Runs one command.
pub fn run(command: Command, context: &Context) -> anyhow::Result<Exit> {
    match command {
        Command::Inspect(args) => inspect::run(&args, context),
        Command::Config(args) => config::run(&args, context),
        Command::Completions(args) => completions::run(&args, context),
        Command::Man(args) => man::run(&args, context),
        Command::Version(args) => version::run(&args, context),
    }
}
