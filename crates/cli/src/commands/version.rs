//! `version`.

use serde_json::json;

use crate::context::Context;
use crate::exit::Exit;

/// Shows the version of the program and of the repository format it writes.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Example:
  zooark version --json")]
pub struct Args {}

/// Runs it.
pub fn run(_: &Args, context: &Context) -> anyhow::Result<Exit> {
    let version = env!("CARGO_PKG_VERSION");
    let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
    if context.output.json {
        context.output.document(&json!({ "version": version, "os": os, "arch": arch }))?;
    } else {
        context.output.line(format_args!("zooark {version} on {os} {arch}"))?;
    }
    Ok(Exit::Done)
}
