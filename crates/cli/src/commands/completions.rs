//! `completions`: printed for a shell, generated from the declaration of the commands.

use clap::CommandFactory as _;
use clap_complete::Shell;
use serde_json::json;

use crate::args::Cli;
use crate::context::Context;
use crate::exit::Exit;

/// Prints completions for a shell.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Examples:
  zooark completions bash > /etc/bash_completion.d/zooark
  zooark completions zsh > ~/.zfunc/_zooark")]
pub struct Args {
    /// The shell
    shell: Shell,
}

/// Runs it.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "zooark", &mut script);
    if context.output.json {
        let script = String::from_utf8_lossy(&script);
        context.output.document(&json!({ "shell": args.shell.to_string(), "script": script }))?;
    } else {
        context.output.raw(&script)?;
    }
    Ok(Exit::Done)
}
