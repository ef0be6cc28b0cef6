//! Settings: precedence, profiles, mistakes with their line, hidden secrets.

use std::fs;

use crate::run::{Home, Ran};

const FILE: &str = r#"
repository = "/from/file"
cluster = "from-file"

[options]
region = "eu"
secret_access_key = "open sesame"

[profiles.prod]
repository = "/from/profile"
password-command = "echo open sesame"
"#;

fn with_file(text: &str) -> Home {
    let home = Home::new();
    fs::write(home.path("zooark.toml"), text).unwrap();
    home
}

fn setting(ran: &Ran, key: &str) -> (String, String) {
    let shown = ran.json();
    let row = shown.as_array().unwrap().iter().find(|row| row["key"] == key).unwrap_or_else(|| panic!("no {key}"));
    (row["value"].as_str().unwrap().to_owned(), row["origin"].as_str().unwrap().to_owned())
}

#[test]
fn flags_then_environment_then_profile_then_file() {
    let home = with_file(FILE);
    let show = "--config zooark.toml --profile prod config show --json";
    let ran = home.zooark(show).ends(0);
    assert_eq!(setting(&ran, "repository"), ("/from/profile".to_owned(), "profile prod".to_owned()));
    assert_eq!(setting(&ran, "cluster"), ("from-file".to_owned(), "file".to_owned()));
    let ran = Ran::of(home.command().args(show.split(' ')).env("ZOOARK_REPOSITORY", "/from/env")).ends(0);
    assert_eq!(setting(&ran, "repository"), ("/from/env".to_owned(), "environment".to_owned()));
    let ran = home.zooark(&format!("{show} --repo /from/flag")).ends(0);
    assert_eq!(setting(&ran, "repository"), ("/from/flag".to_owned(), "flag".to_owned()));
}

#[test]
fn secrets_are_hidden() {
    let home = with_file(FILE);
    for form in ["", "--json"] {
        let line = format!("--config zooark.toml --profile prod config show {form}");
        let ran = Ran::of(home.command().args(line.split_whitespace()).env("ZOOARK_PASSWORD", "open sesame")).ends(0);
        assert!(ran.stdout.contains("(hidden)") && ran.stdout.contains("eu"), "{}", ran.stdout);
        assert!(!ran.stdout.contains("open sesame") && !ran.stderr.contains("open sesame"), "{ran:?}");
    }
}

#[test]
fn mistakes_name_file_and_line() {
    with_file("cluster = \"x\"\nrepo = \"y\"\n")
        .zooark("--config zooark.toml config show")
        .ends(2)
        .says("zooark.toml line 2");
    with_file("").zooark("--config zooark.toml --profile prod config show").ends(2).says("no profile prod");
    Home::new().zooark("--config nowhere.toml config show").ends(2).says("nowhere.toml");
    Home::new().zooark("--profile prod config show").ends(2).says("--config");
}
