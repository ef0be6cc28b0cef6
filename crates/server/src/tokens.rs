//! Who may ask for what: tokens with roles, from a file of lines `role:token`.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use secrecy::{ExposeSecret as _, SecretString};
use subtle::ConstantTimeEq as _;

use crate::config::ConfigError;

/// Shorter ones could be guessed.
const SHORTEST: usize = 16;
const LIMIT_BYTES: u64 = 256 * 1024;

/// What a token allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// To look at everything but values.
    Read,
    /// To look at values too.
    Values,
    /// To look, and to start backups.
    Backup,
    /// To look, and to restore.
    Restore,
    /// Everything.
    Admin,
}

impl Role {
    /// As the file says it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Values => "values",
            Self::Backup => "backup",
            Self::Restore => "restore",
            Self::Admin => "admin",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        [Self::Read, Self::Values, Self::Backup, Self::Restore, Self::Admin]
            .into_iter()
            .find(|role| role.name() == name)
    }

    /// Whether who has it may do what asks for another.
    pub fn allows(self, asked: Self) -> bool {
        self == Self::Admin || asked == Self::Read || self == asked
    }
}

/// All tokens.
#[derive(Debug, Default)]
pub struct Tokens(Vec<(Role, SecretString)>);

impl Tokens {
    /// Reads the file. What is wrong with it is told by line, and no token with it.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let wrong = |text: String| ConfigError(format!("{}: {text}", path.display()));
        let mut text = zeroize::Zeroizing::new(String::new());
        File::open(path)
            .and_then(|file| file.take(LIMIT_BYTES).read_to_string(&mut text))
            .map_err(|error| wrong(format!("cannot read the file of tokens: {error}")))?;
        Self::parse(&text).map_err(wrong)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let mut tokens = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (role, token) = line.split_once(':').ok_or_else(|| format!("line {number}: write role:token"))?;
            let role = Role::parse(role.trim())
                .ok_or_else(|| format!("line {number}: a role is read, values, backup, restore or admin"))?;
            let token = token.trim();
            if token.len() < SHORTEST || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(format!(
                    "line {number}: a token has at least {SHORTEST} visible ASCII characters and no blank"
                ));
            }
            tokens.push((role, SecretString::from(token.to_owned())));
        }
        if tokens.is_empty() { Err("there is no token in it".to_owned()) } else { Ok(Self(tokens)) }
    }

    /// The roles of a token; none where nobody has it. Takes as long whichever it is.
    pub fn roles(&self, given: &str) -> Vec<Role> {
        let mut roles = Vec::new();
        for (role, token) in &self.0 {
            if bool::from(token.expose_secret().as_bytes().ct_eq(given.as_bytes())) {
                roles.push(*role);
            }
        }
        roles
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_of_tokens() {
        let tokens =
            Tokens::parse("# ours\nread:0123456789abcdef\nbackup:0123456789abcdef\n\nadmin: fedcba9876543210\n")
                .unwrap();
        assert_eq!(tokens.roles("0123456789abcdef"), [Role::Read, Role::Backup]);
        assert_eq!(tokens.roles("fedcba9876543210"), [Role::Admin]);
        assert_eq!(tokens.roles("0123456789abcde"), []);
        assert_eq!(tokens.roles(""), []);
        let allowed = |role: Role| {
            [Role::Read, Role::Values, Role::Backup, Role::Restore, Role::Admin].map(|asked| role.allows(asked))
        };
        assert_eq!(allowed(Role::Read), [true, false, false, false, false]);
        assert_eq!(allowed(Role::Values), [true, true, false, false, false]);
        assert_eq!(allowed(Role::Backup), [true, false, true, false, false]);
        assert_eq!(allowed(Role::Restore), [true, false, false, true, false]);
        assert_eq!(allowed(Role::Admin), [true; 5]);
    }

    #[test]
    fn what_is_wrong_is_told_by_line_and_shows_no_token() {
        for (text, says) in [
            ("", "no token"),
            ("read", "line 1"),
            ("read:0123456789abcdef\nroot:0123456789abcdef", "line 2"),
            ("read:short-hunter2", ""),
            ("read:hunter2", "line 1"),
        ] {
            match Tokens::parse(text) {
                Ok(_) => assert!(says.is_empty(), "{text}"),
                Err(error) => assert!(error.contains(says) && !error.contains("hunter2"), "{error}"),
            }
        }
    }
}
