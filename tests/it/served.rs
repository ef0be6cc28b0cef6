//! The configuration of daemons under test.

use std::fs;

use crate::daemon::TOKENS;
use crate::stored::Stored;

/// The configuration of a daemon that backs the recorded directory up, with more of its own.
pub fn configure(stored: &Stored, cluster: &str, more: &str) {
    fs::write(stored.home.path("tokens"), TOKENS).unwrap();
    let text = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\nstate_dir = \"state\"\n[repository]\nurl = \"repository\"\nkey_file = \"key\"\n\
         [auth]\ntokens_file = \"tokens\"\n[[cluster]]\nname = \"prod\"\nsource = \"datadir:zookeeper\"\n{cluster}\n{more}\n"
    );
    fs::write(stored.home.path("daemon.toml"), text).unwrap();
}

/// Backed up once an hour, and not at the start.
pub const HOURLY: &str = "schedule = \"@every 1h\"";
/// And at once, with retention.
pub const AT_ONCE: &str =
    "schedule = \"@every 1h\"\ninstant_first_backup = true\nretention = { keep_last = 2 }\nmax_age = \"2h\"";
