//! SASL with DIGEST-MD5 (RFC 2831), as `ZooKeeper`'s own client speaks it with a password: the server challenges, we
//! answer, and the server proves that it knows the password too.
//!
//! Old and weak, and what the servers have: the exchange belongs inside TLS.

#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::cast_possible_truncation)]

use std::fmt::Write as _;

use md5::{Digest as _, Md5};
use secrecy::{ExposeSecret as _, SecretString};

/// The service and the name that servers go by in this exchange, whatever their host is called.
const URI: &str = "zookeeper/zk-sasl-md5";
/// We send one answer to a challenge.
const COUNT: &str = "00000001";

/// Who we are.
#[derive(Clone, Debug)]
pub struct SaslUser {
    /// As the server's JAAS file has it: `user_NAME="…"`.
    pub name: String,
    /// The password beside it.
    pub password: SecretString,
}

/// Our answer to a challenge, and what the server must say to it.
#[derive(Debug)]
pub(super) struct Response {
    pub text: String,
    pub expected: String,
}

/// Answers a challenge; the error says what is wrong with it.
pub(super) fn respond(challenge: &[u8], user: &SaslUser) -> Result<Response, String> {
    let mut nonce = [0; 16];
    getrandom::fill(&mut nonce).map_err(|error| format!("the system gives no random numbers ({error})"))?;
    respond_with(challenge, user, &hex(&nonce), URI)
}

fn respond_with(challenge: &[u8], user: &SaslUser, own_nonce: &str, uri: &str) -> Result<Response, String> {
    let challenge = std::str::from_utf8(challenge).map_err(|_| "its challenge is no text".to_owned())?;
    let parts = parse(challenge).ok_or("its challenge cannot be read")?;
    let value = |name: &str| parts.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| &**value);
    let nonce = value("nonce").ok_or("its challenge has no nonce; is DIGEST-MD5 what it speaks?")?;
    if value("algorithm").is_some_and(|algorithm| !algorithm.eq_ignore_ascii_case("md5-sess")) {
        return Err("its challenge wants another algorithm than md5-sess".to_owned());
    }
    if value("qop").is_some_and(|all| !all.split(',').any(|qop| qop.trim().eq_ignore_ascii_case("auth"))) {
        return Err("it demands SASL's own encryption, which is not supported: use TLS".to_owned());
    }
    let realm = value("realm").unwrap_or_default();
    let utf8 = value("charset").is_some_and(|charset| charset.eq_ignore_ascii_case("utf-8"));
    let secret = [&latin1(&user.name)[..], b":", &latin1(realm), b":", &latin1(user.password.expose_secret())].concat();
    let inner = Md5::digest(secret);
    let session = hex(&Md5::digest([&inner[..], b":", nonce.as_bytes(), b":", own_nonce.as_bytes()].concat()));
    let proof = |verb: &str| {
        let what = hex(&Md5::digest(format!("{verb}:{uri}")));
        hex(&Md5::digest(format!("{session}:{nonce}:{COUNT}:{own_nonce}:auth:{what}")))
    };
    let mut text = String::new();
    if utf8 {
        text.push_str("charset=utf-8,");
    }
    let quoted = [("username", user.name.as_str()), ("realm", realm), ("nonce", nonce), ("cnonce", own_nonce)];
    for (key, value) in quoted.into_iter().filter(|(key, value)| *key != "realm" || !value.is_empty()) {
        let escaped = value.replace('\\', "\\\\").replace('"', "\\\"");
        // Writing to a string does not fail.
        let _ = write!(text, "{key}=\"{escaped}\",");
    }
    let response = proof("AUTHENTICATE");
    let _ = write!(text, "nc={COUNT},qop=auth,digest-uri=\"{uri}\",response={response}");
    Ok(Response { text, expected: format!("rspauth={}", proof("")) })
}

/// Names and values, the latter quoted or not, with commas between.
fn parse(text: &str) -> Option<Vec<(String, String)>> {
    let mut parts = Vec::new();
    let mut rest = text.trim_matches(|c: char| c == ',' || c.is_whitespace() || c == '\0');
    while !rest.is_empty() {
        let (key, after) = rest.split_once('=')?;
        let mut value = String::new();
        rest = if let Some(quoted) = after.strip_prefix('"') {
            let mut letters = quoted.char_indices();
            loop {
                match letters.next()? {
                    (_, '\\') => value.push(letters.next()?.1),
                    (at, '"') => break quoted.get(at..)?.strip_prefix('"')?,
                    (_, letter) => value.push(letter),
                }
            }
        } else {
            let end = after.find(',').unwrap_or(after.len());
            let (plain, rest) = after.split_at_checked(end)?;
            plain.trim().clone_into(&mut value);
            rest
        };
        parts.push((key.trim().to_owned(), value));
        rest = rest.trim_start_matches(|c: char| c == ',' || c.is_whitespace());
    }
    Some(parts)
}

/// What can be said in Latin-1 is hashed as Latin-1 (RFC 2831, 2.1.2.1).
fn latin1(text: &str) -> Vec<u8> {
    text.chars()
        .map(|letter| u8::try_from(u32::from(letter)).ok())
        .collect::<Option<_>>()
        .unwrap_or_else(|| text.into())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str, password: &str) -> SaslUser {
        SaslUser { name: name.to_owned(), password: SecretString::from(password) }
    }

    /// The exchange of RFC 2831, section 4.
    #[test]
    fn the_example_of_the_standard() {
        let challenge =
            br#"realm="elwood.innosoft.com",nonce="OA6MG9tEQGm2hh",qop="auth",algorithm=md5-sess,charset=utf-8"#;
        let answer = respond_with(challenge, &user("chris", "secret"), "OA6MHXh6VqTrRk", "imap/elwood.innosoft.com");
        let answer = answer.unwrap();
        assert!(answer.text.ends_with("response=d388dad90d4bbd760a152321f2143af7"), "{}", answer.text);
        assert!(answer.text.starts_with("charset=utf-8,username=\"chris\",realm=\"elwood.innosoft.com\""));
        assert_eq!(answer.expected, "rspauth=ea40f60335c427b5527b84dbabcdfffd");
    }

    #[test]
    fn a_challenge_that_is_none_is_an_error() {
        for wrong in ["", "x", "nonce", "realm=\"a", "nonce=\"a\\", "nonce=a,qop=\"auth-int\"", "nonce=a,algorithm=md5"]
        {
            assert!(respond(wrong.as_bytes(), &user("u", "p")).is_err(), "{wrong}");
        }
        assert!(respond(&[0xff, 0xfe], &user("u", "p")).is_err());
        let awkward = respond(br#"nonce="a\"b,c" , realm=r"#, &user("u\"", "p")).unwrap();
        assert!(awkward.text.contains(r#"username="u\"",realm="r",nonce="a\"b,c""#), "{}", awkward.text);
    }
}
