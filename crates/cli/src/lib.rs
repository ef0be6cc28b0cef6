//! The `zooark` command line: what a person types becomes a request to the engine, and what comes back becomes
//! words, tables, JSON and an exit code.
//!
//! - [`args`] declares the flags every command takes, [`commands`] one file per command.
//! - [`settings`] merges flags, environment and `zooark.toml`; [`credentials`] finds the password or key.
//! - [`output`] and [`progress`] shape what is shown; [`exit`] says how it ended.
//! - [`mod@reference`] renders `docs/cli.md`, pinned by a test.

#![allow(
    clippy::doc_markdown,
    clippy::struct_excessive_bools,
    reason = "comments on flags are the help text people read, and flags are booleans"
)]

pub mod args;
pub mod commands;
pub mod context;
pub mod credentials;
pub mod decode;
pub mod exit;
pub mod live;
mod opening;
pub mod output;
pub mod progress;
pub mod reference;
pub mod settings;
pub mod signals;
pub mod znode;

use std::process::ExitCode;

use clap::Parser as _;

use crate::args::Cli;
use crate::commands::Command;
use crate::context::Context;
use crate::exit::Exit;

/// Name and version, as snapshots keep them.
pub(crate) const PROGRAM: &str = concat!("zooark ", env!("CARGO_PKG_VERSION"));

/// Runs the command given in the process's arguments; never panics on a closed pipe.
pub fn main() -> ExitCode {
    forbid_core_dumps();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version come as "errors" too; clap knows which stream and code each takes.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    run(cli).into()
}

fn run(cli: Cli) -> Exit {
    let json = cli.global.json;
    let streams = cli.command.streams_messages();
    if !matches!(cli.command, Command::Serve(_)) {
        exit::trace_to_stderr(cli.global.verbose);
    }
    let ended = Context::new(&cli.global, streams, !matches!(cli.command, Command::Serve(_))).and_then(|context| {
        let exit = commands::run(cli.command, &context)?;
        context.finish()?;
        Ok(exit)
    });
    ended.unwrap_or_else(|error| exit::report(&error, json && streams))
}

/// A core file would hold the repository's keys. Where the limit cannot be lowered nothing is lost by going on.
fn forbid_core_dumps() {
    let none = rustix::process::Rlimit { current: Some(0), maximum: Some(0) };
    let _ = rustix::process::setrlimit(rustix::process::Resource::Core, none);
}
