//! One file per command: its flags, the request it makes of the engine, and how the answer is shown.

pub mod accept;
pub mod backup;
pub mod cat;
pub mod check;
pub mod completions;
pub mod config;
pub mod copy;
pub mod diff;
pub mod dump;
pub mod find;
pub mod forget;
pub mod history;
pub mod init;
pub mod inspect;
pub mod key;
pub mod ls;
pub mod man;
pub mod protect;
pub mod prune;
pub mod repair;
pub mod restore;
pub mod serve;
pub mod snapshots;
pub mod stat;
pub mod stats;
pub mod tag;
pub mod verify;
pub mod version;

mod selection;

use clap::Subcommand;

use crate::context::Context;
use crate::exit::Exit;

/// What `zooark` can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a repository
    Init(init::Args),
    /// Take one snapshot of a data directory, an ensemble or an AdminServer
    Backup(backup::Args),
    /// List snapshots
    Snapshots(snapshots::Args),
    /// List the children of a znode
    Ls(ls::Args),
    /// Show everything about one znode
    Stat(stat::Args),
    /// Write the raw value of a znode
    Cat(cat::Args),
    /// Find znodes across snapshots
    Find(find::Args),
    /// Show the versions of one znode
    History(history::Args),
    /// Write every znode as JSON
    Dump(dump::Args),
    /// Show sizes
    Stats(stats::Args),
    /// Show what differs between two states
    Diff(diff::Args),
    /// Restore a snapshot into a data directory or an ensemble
    Restore(restore::Args),
    /// Remove snapshots, by policy or by id
    Forget(forget::Args),
    /// Keep snapshots from being forgotten
    Protect(protect::Args),
    /// Let snapshots be forgotten again
    Unprotect(protect::UnArgs),
    /// Change the tags of snapshots
    Tag(tag::Args),
    /// Say that a suspect snapshot is right after all
    Accept(accept::Args),
    /// Manage passwords and key files
    Key(key::Args),
    /// Give back the space that no snapshot needs
    Prune(prune::Args),
    /// Check the repository
    Check(check::Args),
    /// Copy snapshots to another repository
    Copy(copy::Args),
    /// Mend a damaged repository
    Repair(repair::Args),
    /// Read whole snapshots as a restore would
    Verify(verify::Args),
    /// Run the daemon: schedules, REST, metrics and a web page
    Serve(serve::Args),
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
        matches!(self, Self::Backup(_) | Self::Restore(_) | Self::Check(_) | Self::Copy(_))
    }
}

/// Runs one command.
pub fn run(command: Command, context: &Context) -> anyhow::Result<Exit> {
    match command {
        Command::Init(args) => init::run(&args, context),
        Command::Backup(args) => backup::run(&args, context),
        Command::Snapshots(args) => snapshots::run(&args, context),
        Command::Ls(args) => ls::run(&args, context),
        Command::Stat(args) => stat::run(&args, context),
        Command::Cat(args) => cat::run(&args, context),
        Command::Find(args) => find::run(&args, context),
        Command::History(args) => history::run(&args, context),
        Command::Dump(args) => dump::run(&args, context),
        Command::Stats(args) => stats::run(&args, context),
        Command::Diff(args) => diff::run(&args, context),
        Command::Restore(args) => restore::run(&args, context),
        Command::Forget(args) => forget::run(&args, context),
        Command::Protect(args) => protect::run(&args, context),
        Command::Unprotect(args) => protect::run_un(&args, context),
        Command::Tag(args) => tag::run(&args, context),
        Command::Accept(args) => accept::run(&args, context),
        Command::Key(args) => key::run(&args, context),
        Command::Prune(args) => prune::run(&args, context),
        Command::Check(args) => check::run(&args, context),
        Command::Copy(args) => copy::run(&args, context),
        Command::Repair(args) => repair::run(&args, context),
        Command::Verify(args) => verify::run(&args, context),
        Command::Serve(args) => serve::run(&args, context),
        Command::Inspect(args) => inspect::run(&args, context),
        Command::Config(args) => config::run(&args, context),
        Command::Completions(args) => completions::run(&args, context),
        Command::Man(args) => man::run(&args, context),
        Command::Version(args) => version::run(&args, context),
    }
}
