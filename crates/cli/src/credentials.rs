//! The password or key of a repository: from a file, a command, the environment or a prompt, never from an argument.

use std::fs;
use std::io::{self, IsTerminal as _, Read as _};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::Context as _;
use engine::{EngineError, ErrorKind};
use secrecy::{ExposeSecret as _, SecretString};

use crate::exit::usage;
use crate::settings::{Layer, Settings};

/// Longer is no password but a wrong file.
const LIMIT_BYTES: u64 = 64 * 1024;

/// What was configured, before anybody is asked.
#[derive(Clone, Debug)]
pub enum Given {
    /// Nothing anywhere.
    Nothing,
    /// A password.
    Password(SecretString),
    /// A key file.
    KeyFile(std::path::PathBuf),
}

/// The credential of the strongest layer that has one.
pub fn given(settings: &Settings) -> anyhow::Result<Given> {
    for (_, layer) in settings.layers() {
        if let Some(found) = of_layer(layer)? {
            return Ok(found);
        }
    }
    Ok(Given::Nothing)
}

/// The key file, where the strongest layer that has a credential names one; it is not read.
pub fn key_file(settings: &Settings) -> Option<&Path> {
    let gives = |layer: &&Layer| {
        layer.key_file.is_some()
            || layer.password_file.is_some()
            || layer.password_command.is_some()
            || layer.password.is_some()
    };
    settings.layers().map(|(_, layer)| layer).find(gives)?.key_file.as_deref()
}

fn of_layer(layer: &Layer) -> anyhow::Result<Option<Given>> {
    if let Some(path) = &layer.key_file {
        return Ok(Some(Given::KeyFile(path.clone())));
    }
    if let Some(path) = &layer.password_file {
        return from_file(path).map(|password| Some(Given::Password(password)));
    }
    if let Some(command) = &layer.password_command {
        return from_command(command).map(|password| Some(Given::Password(password)));
    }
    Ok(layer.password.clone().map(Given::Password))
}

/// The password in a file: all of it without the line ending.
pub fn from_file(path: &Path) -> anyhow::Result<SecretString> {
    let reading = || EngineError::new(ErrorKind::Failed, format!("cannot read the password file {}", path.display()));
    let mut text = String::new();
    fs::File::open(path).and_then(|file| file.take(LIMIT_BYTES + 1).read_to_string(&mut text)).with_context(reading)?;
    clean(&text, &format!("the password file {}", path.display()))
}

/// The first line that a command prints.
pub fn from_command(command: &str) -> anyhow::Result<SecretString> {
    let running = || EngineError::new(ErrorKind::Failed, "cannot run the password command");
    let output = Command::new("sh")
        .args(["-c", command])
        .stdin(Stdio::inherit())
        .stderr(Stdio::inherit())
        .output()
        .with_context(running)?;
    if !output.status.success() {
        return Err(EngineError::new(
            ErrorKind::Failed,
            format!("the password command failed ({}): nothing was opened", output.status),
        )
        .into());
    }
    let text =
        String::from_utf8(output.stdout).with_context(|| "the password command printed something that is no text")?;
    clean(text.lines().next().unwrap_or_default(), "the password command's output")
}

fn clean(text: &str, origin: &str) -> anyhow::Result<SecretString> {
    let password = text.trim_end_matches(['\n', '\r']);
    if password.is_empty() {
        return Err(usage(format!("{origin} is empty: an empty password protects nothing")));
    }
    if password.len() as u64 >= LIMIT_BYTES {
        return Err(usage(format!("{origin} is longer than 64 KiB: that is no password")));
    }
    Ok(SecretString::from(password.to_owned()))
}

/// Whether somebody sits at a terminal who can be asked.
pub fn can_ask() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks for the password of an existing repository.
pub fn ask() -> anyhow::Result<SecretString> {
    ask_for("the repository")
}

/// Asks for the password of one of two.
pub fn ask_for(what: &str) -> anyhow::Result<SecretString> {
    let text = rpassword::prompt_password(format!("password of {what}: ")).context("cannot read the password")?;
    clean(&text, "the password")
}

/// Asks twice for a new password.
pub fn ask_new(what_for: &str) -> anyhow::Result<SecretString> {
    let first = rpassword::prompt_password(format!("{what_for}: ")).context("cannot read the password")?;
    let first = clean(&first, "the password")?;
    let again = rpassword::prompt_password("the same again: ").context("cannot read the password")?;
    if again.trim_end_matches(['\n', '\r']) != first.expose_secret() {
        return Err(usage("the two passwords differ: nothing was made"));
    }
    Ok(first)
}

/// What to say when a password is needed and nobody can be asked.
pub const WHERE_FROM: &str = "give --password-file, --password-command or --key-file, or set ZOOARK_PASSWORD, ZOOARK_PASSWORD_FILE or ZOOARK_KEY_FILE";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_line_ending_is_taken_off() {
        let of = |text: &str| clean(text, "x").map(|password| password.expose_secret().to_owned());
        assert_eq!(of(" a b \r\n").unwrap(), " a b ");
        assert!(of("\n").is_err() && of(&"a".repeat(70_000)).is_err());
    }

    #[test]
    fn a_command_gives_its_first_line_and_its_failure_is_told() {
        assert_eq!(from_command("printf 'a b\\nc\\n'").unwrap().expose_secret(), "a b");
        assert!(from_command("exit 3").is_err());
    }
}
