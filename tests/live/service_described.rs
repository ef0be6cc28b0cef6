//! `serve` against its own description: Schemathesis makes requests of every kind that `/openapi.json` allows and forbids, and
//! every answer has to be one that the description has.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use testing::server::{Server, long};

use crate::client::extended;
use crate::daemon::{ADMIN, Daemon, TOKENS};
use crate::restore_live::{Hand, Program};
use crate::turn;

/// `tests/live/fetch-schemathesis.sh` installs it.
fn schemathesis() -> Option<PathBuf> {
    let folder = |name: &str, below: &str| std::env::var_os(name).map(|path| PathBuf::from(path).join(below));
    let cache = folder("XDG_CACHE_HOME", "zooark/tools").or_else(|| folder("HOME", ".cache/zooark/tools"));
    let tools = folder("ZOOARK_TEST_TOOLS", "").or(cache).unwrap();
    let program = tools.join("schemathesis-4.32.5/bin/schemathesis");
    if program.exists() {
        return Some(program);
    }
    assert!(
        std::env::var_os("ZOOARK_ALLOW_MISSING_TOOLS").is_some(),
        "{} is not there: run tests/live/fetch-schemathesis.sh",
        program.display()
    );
    eprintln!("\nNOT TESTED: the REST interface against its description. Schemathesis is not installed.\n");
    None
}

#[test]
fn every_answer_is_one_of_the_description() {
    let Some(schemathesis) = schemathesis() else { return };
    let _turn = turn::of_a_server();
    let server = Server::start("3.9.4", extended()).unwrap();
    let hand = Hand::of(&server);
    for path in ["/app", "/app/one", "/app/two"] {
        hand.create(path, "text");
    }
    let program = Program::new();
    let home = &program.0;
    let address = server.address();
    program.back_up(&server);
    fs::write(home.path("tokens"), TOKENS).unwrap();
    let text = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\nstate_dir = \"state\"\nrequests_per_second = 100000\n\
         [repository]\nurl = \"repository\"\nkey_file = \"key\"\n[auth]\ntokens_file = \"tokens\"\n\
         [[cluster]]\nname = \"prod\"\nsource = \"zk://{address}\"\nzk_auth_file = \"auth\"\nschedule = \"@every 1h\"\n\
         [[restore_target]]\nname = \"same\"\ntarget = \"zk://{address}\"\nzk_auth_file = \"auth\"\n"
    );
    fs::write(home.path("daemon.toml"), text).unwrap();
    let daemon = Daemon::start(home);
    daemon.until("/api/v1/snapshots", |list| list["total"] == 1);
    let output = Command::new(schemathesis)
        .args(["run", &format!("http://{}/openapi.json", daemon.address), "--checks", "all", "--continue-on-failure"])
        // What comes of several requests other tests look at: the links it guesses take a job's id for a snapshot's.
        .args(["--phases", "examples,coverage,fuzzing"])
        .args(["--max-examples", if long() { "200" } else { "20" }, "--seed", "1", "--no-color", "--warnings", "off"])
        .args(["--header", &format!("Authorization: Bearer {ADMIN}")])
        .current_dir(home.path(""))
        .env("HOME", home.path(""))
        .output()
        .unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}\n{}", daemon.stop().join("\n"));
    println!("{said}");
    daemon.get("/healthz").is(200);
    daemon.stop();
    program.run("check --read-data").ends(0);
}
