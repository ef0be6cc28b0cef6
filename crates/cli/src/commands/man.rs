//! `man`: manual pages, generated from the declaration of the commands.

use std::fs;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::CommandFactory as _;
use clap_mangen::Man;
use serde_json::json;

use crate::args::Cli;
use crate::context::Context;
use crate::exit::Exit;

/// Prints the manual page in roff, or writes one page per command into a directory.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Examples:
  zooark man | man -l -
  zooark man --out-dir /usr/local/share/man/man1")]
pub struct Args {
    /// Write zooark.1 and one page per command here
    #[arg(long, value_name = "DIR")]
    out_dir: Option<PathBuf>,
}

/// Runs it.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<Exit> {
    let Some(directory) = &args.out_dir else {
        let page = render(Cli::command())?;
        if context.output.json {
            context.output.document(&json!({ "roff": String::from_utf8_lossy(&page) }))?;
        } else {
            context.output.raw(&page)?;
        }
        return Ok(Exit::Done);
    };
    fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    let mut root = Cli::command();
    root.build();
    let mut pages = vec![("zooark.1".to_owned(), render(root.clone())?)];
    for command in root.get_subcommands().filter(|command| !command.is_hide_set() && command.get_name() != "help") {
        let name = format!("zooark-{}", command.get_name());
        pages.push((format!("{name}.1"), render(command.clone())?));
    }
    let mut written = Vec::with_capacity(pages.len());
    for (file, page) in pages {
        let path = directory.join(file);
        fs::write(&path, page).with_context(|| format!("cannot write {}", path.display()))?;
        written.push(path.display().to_string());
    }
    if context.output.json {
        context.output.document(&json!({ "written": written }))?;
    } else {
        written.iter().try_for_each(|path| context.output.line(path))?;
    }
    Ok(Exit::Done)
}

fn render(command: clap::Command) -> anyhow::Result<Vec<u8>> {
    let mut page = Vec::new();
    Man::new(command).render(&mut page).context("cannot render the manual page")?;
    Ok(page)
}
