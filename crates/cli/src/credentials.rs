//! The password or key of a repository: from a file, a command, the environment or a prompt, never from an argument.

use std::io::{self, IsTerminal as _};
use std::path::Path;

use anyhow::Context as _;
use engine::secrets;
use secrecy::{ExposeSecret as _, SecretString};

use crate::exit::usage;
use crate::settings::{Layer, Settings};

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
        return Ok(Some(Given::Password(secrets::password_file(path)?)));
    }
    if let Some(command) = &layer.password_command {
        return Ok(Some(Given::Password(secrets::password_command(command)?)));
    }
    Ok(layer.password.clone().map(Given::Password))
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
    Ok(secrets::password(&text, "the password")?)
}

/// Asks twice for a new password.
pub fn ask_new(what_for: &str) -> anyhow::Result<SecretString> {
    let first = rpassword::prompt_password(format!("{what_for}: ")).context("cannot read the password")?;
    let first = secrets::password(&first, "the password")?;
    let again = rpassword::prompt_password("the same again: ").context("cannot read the password")?;
    if again.trim_end_matches(['\n', '\r']) != first.expose_secret() {
        return Err(usage("the two passwords differ: nothing was made"));
    }
    Ok(first)
}

/// What to say when a password is needed and nobody can be asked.
pub const WHERE_FROM: &str = "give --password-file, --password-command or --key-file, or set ZOOARK_PASSWORD, ZOOARK_PASSWORD_FILE or ZOOARK_KEY_FILE";
