//! Secrets that lie in files or that a command prints: passwords and key files of repositories, credentials for `ZooKeeper`.
//! None of them ever is part of an error.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};

use repository::keys::KeyFile;
use secrecy::SecretString;
use zeroize::{Zeroize as _, Zeroizing};
use zk_connect::live::AuthInfo;

use crate::error::{EngineError, ErrorKind};

/// Longer is no password and no list of credentials but a wrong file.
const LIMIT_BYTES: u64 = 64 * 1024;
/// A key file is 32 bytes in hex and a line of text.
const MAX_KEY_FILE: u64 = 4096;

fn usage(text: String) -> EngineError {
    EngineError::new(ErrorKind::Usage, text)
}

/// All of a file that should be short text; what is too long is cut one byte behind the limit.
fn text_of(path: &Path, what: &str) -> Result<Zeroizing<String>, EngineError> {
    let mut text = Zeroizing::new(String::new());
    File::open(path).and_then(|file| file.take(LIMIT_BYTES + 1).read_to_string(&mut text)).map_err(|error| {
        EngineError::with(ErrorKind::Failed, format!("cannot read the {what} {}", path.display()), error)
    })?;
    Ok(text)
}

/// The password in a file: all of it without the line ending.
pub fn password_file(path: &Path) -> Result<SecretString, EngineError> {
    password(&text_of(path, "password file")?, &format!("the password file {}", path.display()))
}

/// The first line that a command prints.
pub fn password_command(command: &str) -> Result<SecretString, EngineError> {
    let failed = |text: String| EngineError::new(ErrorKind::Failed, text);
    let output = Command::new("sh")
        .args(["-c", command])
        .stdin(Stdio::inherit())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| EngineError::with(ErrorKind::Failed, "cannot run the password command", error))?;
    if !output.status.success() {
        return Err(failed(format!("the password command failed ({}): nothing was opened", output.status)));
    }
    let text = String::from_utf8(output.stdout)
        .map_err(|_| failed("the password command printed something that is no text".to_owned()))?;
    password(text.lines().next().unwrap_or_default(), "the password command's output")
}

/// A password as it was written, without its line ending.
pub fn password(text: &str, origin: &str) -> Result<SecretString, EngineError> {
    let password = text.trim_end_matches(['\n', '\r']);
    if password.is_empty() {
        return Err(usage(format!("{origin} is empty: an empty password protects nothing")));
    }
    if password.len() as u64 >= LIMIT_BYTES {
        return Err(usage(format!("{origin} is longer than 64 KiB: that is no password")));
    }
    Ok(SecretString::from(password.to_owned()))
}

/// Reads a key file.
pub fn key_file(path: &Path) -> Result<KeyFile, EngineError> {
    let mut contents = Vec::new();
    File::open(path).and_then(|file| file.take(MAX_KEY_FILE + 1).read_to_end(&mut contents)).map_err(|error| {
        EngineError::with(ErrorKind::Failed, format!("cannot read the key file {}", path.display()), error)
    })?;
    if contents.len() as u64 > MAX_KEY_FILE {
        return Err(usage(format!("{} is too large for a key file", path.display())));
    }
    let key = KeyFile::parse(&contents).map_err(EngineError::from);
    contents.zeroize();
    key
}

/// The credentials for `ZooKeeper` in a file.
pub fn zk_auth_file(path: &Path) -> Result<Vec<AuthInfo>, EngineError> {
    let text = text_of(path, "file of credentials")?;
    if text.len() as u64 > LIMIT_BYTES {
        return Err(usage(format!("{} is longer than 64 KiB: that is no file of credentials", path.display())));
    }
    zk_auth(&text, &path.display().to_string())
}

/// A line each: scheme, blank, secret. Empty lines and those that start with `#` say nothing.
pub fn zk_auth(text: &str, origin: &str) -> Result<Vec<AuthInfo>, EngineError> {
    let said = |line: &&str| !line.trim().is_empty() && !line.starts_with('#');
    let lines = text.lines().enumerate().filter(|(_, line)| said(line));
    lines
        .map(|(number, line)| {
            // The line itself is a secret and stays out of the message.
            let wrong = || usage(format!("{origin} line {}: write `digest user:password`", number + 1));
            let (scheme, secret) = line.trim_end_matches('\r').split_once(' ').ok_or_else(wrong)?;
            let (scheme, secret) = (scheme.trim(), secret.trim_start());
            if scheme.is_empty() || secret.is_empty() || (scheme == "digest" && !secret.contains(':')) {
                return Err(wrong());
            }
            Ok(AuthInfo { scheme: scheme.to_owned(), secret: secret.as_bytes().to_vec() })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    #[test]
    fn only_the_line_ending_is_taken_off() {
        let of = |text: &str| password(text, "x").map(|password| password.expose_secret().to_owned());
        assert_eq!(of(" a b \r\n").unwrap(), " a b ");
        assert!(of("\n").is_err() && of(&"a".repeat(70_000)).is_err());
    }

    #[test]
    fn a_command_gives_its_first_line_and_its_failure_is_told() {
        assert_eq!(password_command("printf 'a b\\nc\\n'").unwrap().expose_secret(), "a b");
        assert!(password_command("exit 3").is_err());
    }

    #[test]
    fn credentials_are_lines_and_errors_show_none() {
        let read = zk_auth("# ours\ndigest alice:se cret\n\ndigest bob:x\r\n", "file").unwrap();
        let expected = [("digest", "alice:se cret"), ("digest", "bob:x")];
        let expected = expected.map(|(scheme, secret)| AuthInfo { scheme: scheme.into(), secret: secret.into() });
        assert_eq!(read, expected);
        for wrong in ["digest", "digest hunter2", " :"] {
            let error = zk_auth(&format!("digest a:b\n{wrong}"), "file").unwrap_err().to_string();
            assert!(error.contains("line 2") && !error.contains("hunter2"), "{error}");
        }
    }
}
