//! `docs/cli.md`, rendered from the declaration of the commands so that it cannot drift from them.

use std::fmt::Write as _;

use clap::{Command, CommandFactory as _};

use crate::args::Cli;
use crate::exit;

/// The whole document.
pub fn markdown() -> String {
    let root = Cli::command().term_width(100);
    let mut text = String::from(
        "# Command reference\n\n\
         Generated from the program's own help; a test fails when the two differ, and\n\
         `ZOOARK_UPDATE_REFERENCE=1 cargo test -p cli` writes it anew.\n\n",
    );
    section(&mut text, 2, "zooark", root.clone());
    for command in root.get_subcommands().filter(|command| !command.is_hide_set()) {
        let name = format!("zooark {}", command.get_name());
        section(&mut text, 2, &name, command.clone());
        for nested in command.get_subcommands() {
            section(&mut text, 3, &format!("{name} {}", nested.get_name()), nested.clone());
        }
    }
    text.push_str("## Exit codes\n\n| code | means |\n|---|---|\n");
    for (code, means) in exit::TABLE {
        let _ = writeln!(text, "| {} | {means} |", code as u8);
    }
    text
}

fn section(text: &mut String, level: usize, name: &str, command: Command) {
    let mut command = command.bin_name(name).term_width(100);
    let help = command.render_long_help().to_string();
    let _ = write!(text, "{} {name}\n\n```text\n", "#".repeat(level));
    for line in help.lines() {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text.push_str("```\n\n");
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_document_is_what_the_program_says() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/cli.md");
        let rendered = markdown();
        if std::env::var_os("ZOOARK_UPDATE_REFERENCE").is_some() {
            std::fs::write(&path, &rendered).unwrap();
        }
        let written = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            written == rendered,
            "docs/cli.md differs from the program's help: run ZOOARK_UPDATE_REFERENCE=1 cargo test -p cli"
        );
    }

    #[test]
    fn every_command_shows_an_example() {
        fn check(command: &Command) {
            let help = command.get_after_long_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("Example"), "{} has no example", command.get_name());
            command.get_subcommands().for_each(check);
        }
        check(&Cli::command());
    }
}
