//! What a server withholds from us is named and never made up, and a restore is not begun without a person's word.

use serde_json::Value;
use testing::server::{Client as JavaClient, Ensemble, Server, Setup};
use zk_connect::live::Client;

use crate::client::{extended, options, run};
use crate::restore_live::Program;
use crate::turn;

const VERSION: &str = "3.9.4";

fn with_workload(setup: Setup) -> (Server, JavaClient) {
    let server = Server::start(VERSION, setup).unwrap();
    let mut java = JavaClient::connect(VERSION, &server.address()).unwrap();
    java.workload(10).unwrap();
    (server, java)
}

#[test]
fn nodes_that_may_not_be_read_are_named_and_nothing_is_stored() {
    let _turn = turn::of_a_server();
    let (server, _java) = with_workload(extended());
    let program = Program::new();
    let line = format!("backup zk://{}", server.address());
    program.run(&line).ends(1).says("Nothing was stored").says("/acl/creator").says("--zk-auth-file");
    let listed = || program.run("snapshots --json").ends(0).json();
    assert_eq!(listed().as_array().map(Vec::len), Some(0));
    let partial = program.summary(&format!("{line} --allow-partial"), 3);
    let missing = partial["incomplete_paths"].as_array().unwrap();
    assert!(missing.contains(&Value::from("/acl/creator")), "{partial}");
    assert_eq!(listed()[0]["incomplete"], true);
}

#[test]
fn digests_that_a_server_hides_are_marked_and_never_restored() {
    let _turn = turn::of_a_server();
    let (server, _java) = with_workload(extended());
    let program = Program::new();
    let summary = program.summary(&format!("backup zk://{} --include /acl/mixed", server.address()), 0);
    assert!(summary["notes"].to_string().contains("the server hides without ADMIN permission"), "{summary}");
    program.run("restore latest datadir:new").ends(3).says("the digests in the ACL of /acl/mixed").says("--exclude");
    assert!(!program.0.path("new/version-2").exists());

    let (target, mut java) = with_workload(extended());
    java.run("delete a /acl/mixed").unwrap();
    let line = format!("restore latest zk://{} --zk-auth-file auth --yes --include /acl/mixed", target.address());
    let ran = program.run(&line).one_of(&[0, 3]);
    assert!(ran.stderr.contains("/acl/mixed") || ran.stdout.contains("/acl/mixed"), "nothing is said: {ran:?}");
    let list = run(async {
        let client = Client::connect(options(&[target.address()])).await.unwrap();
        let (list, _) = client.get_acl(b"/acl/mixed").await.unwrap().value;
        client.close().await;
        list
    });
    for entry in list.decode().unwrap() {
        assert!(!entry.id.ends_with(b":x"), "a hidden digest was restored as if it were one: {entry:?}");
    }
}

#[test]
fn a_restore_into_an_ensemble_asks_who_sits_there_and_is_refused_where_nobody_does() {
    let _turn = turn::of_a_server();
    let (server, mut java) = with_workload(extended());
    let program = Program::new();
    program.back_up(&server);
    java.run("delete a /plain/text").unwrap();
    let line = format!("restore latest:/plain zk://{} --zk-auth-file auth", server.address());
    program.run(&line).ends(2).says("nobody can be asked").says("--yes");
    let there =
        || program.run(&format!("diff latest:/plain zk://{} --zk-auth-file auth", server.address())).ends(0).stdout;
    let asking = format!("--repo repository --key-file key {line}");
    for refusal in ["n", "", "sure"] {
        let (code, screen) = program.0.on_a_terminal(&asking, &[refusal]);
        assert_eq!(code, 5, "{screen}");
        assert!(screen.contains("apply this plan? [y/N]") && screen.contains("was not agreed to"), "{screen}");
        assert!(there().contains("-    /plain/text"), "restored after {refusal:?}");
    }
    let (code, screen) = program.0.on_a_terminal(&asking, &["y"]);
    assert_eq!(code, 0, "{screen}");
    assert!(!there().contains("-    /plain/text"));
}

/// Members of `/zookeeper/config` that have nothing in common.
#[test]
fn an_ensemble_with_other_members_is_not_restored_into() {
    let _turn = turn::of_a_server();
    let setup = Setup::default().line("standaloneEnabled=false");
    let one = Ensemble::start(VERSION, 1, &setup).unwrap();
    let mut java = JavaClient::connect(VERSION, &one.members()[0].address()).unwrap();
    java.run("create a /only x").unwrap();
    let program = Program::new();
    program.back_up(&one.members()[0]);
    // Into the very ensemble nothing is in the way.
    java.run("delete a /only").unwrap();
    let same = format!("restore latest zk://{} --zk-auth-file auth --yes", one.members()[0].address());
    program.run(&same).ends(0);
    drop((java, one));
    let other = Ensemble::start(VERSION, 1, &setup).unwrap();
    let line = format!("restore latest zk://{} --zk-auth-file auth --yes", other.members()[0].address());
    program
        .run(&line)
        .ends(5)
        .says("the target may be another ensemble")
        .says("none of its members")
        .says("--yes-really");
    program.run(&format!("{line} --yes-really")).ends(0);
}
