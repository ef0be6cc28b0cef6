//! `restore --once` before each start of each member of an ensemble, as an init container runs it.

use std::fs;
use std::process::Stdio;

use serde_json::Value;
use testing::server::{Client, Ensemble, Server};

use crate::booted::{Repository, child_counts_aside, lasting, setup};
use crate::compare::{Seen, assert_same_view};
use crate::turn;

const VERSION: &str = "3.9.4";

/// An ensemble whose members are restored before they start.
struct Scene {
    repository: Repository,
    ensemble: Ensemble,
    client: Client,
}

fn arguments(member: &Server, index: usize, number: u64) -> Vec<String> {
    let target = format!("datadir:{}", member.data_dir().display());
    let number = number.to_string();
    let name = format!("zk-{index}");
    let flags = ["--once", &number, "--member", &name, "--extended-types", "true"];
    ["restore", "latest", &target].iter().chain(&flags).map(ToString::to_string).collect()
}

impl Scene {
    /// What runs before each start of this member.
    fn init(&self, index: usize, number: u64) -> Value {
        let arguments = arguments(&self.ensemble.members()[index], index, number);
        self.repository.zooark(&arguments.iter().map(String::as_str).collect::<Vec<_>>(), 0)
    }

    /// The same with a raised number, killed while the marker says `started`: gives the number for which it was in time.
    fn init_dies_half_way(&self, index: usize) -> u64 {
        let member = &self.ensemble.members()[index];
        let marker = member.data_dir().join("zooark-restore");
        let said = || -> Option<Value> { serde_json::from_slice(&fs::read(&marker).ok()?).ok() };
        for number in 2..40 {
            let mut process = self.repository.0.process();
            process.args(["--repo", "repository", "--key-file", "key"]).args(arguments(member, index, number));
            let mut child = process.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            while child.try_wait().unwrap().is_none() && said().is_none_or(|said| said["number"] != number) {
                std::hint::spin_loop();
            }
            child.kill().unwrap();
            child.wait().unwrap();
            if said().is_some_and(|said| said["number"] == number && said["state"] == "started") {
                return number;
            }
        }
        panic!("it was never killed in time");
    }

    fn start_all(&mut self) {
        for index in 0..3 {
            self.ensemble.member(index).launch().unwrap();
        }
        self.ensemble.wait_ready().unwrap();
        // Before the first transaction, that of a session, not every member names the new epoch.
        let address = self.ensemble.members()[0].address();
        self.client.run(&format!("connect a {address}")).unwrap();
        self.ensemble.wait_same_zxid().unwrap();
    }

    /// Every member holds this, but for what was ephemeral.
    fn holds(&mut self, what: &str, seen: &Seen) {
        for index in 0..3 {
            let address = self.ensemble.members()[index].address();
            self.client.run(&format!("connect a {address}")).unwrap();
            let own = |seen: &Seen| child_counts_aside(&lasting(seen));
            assert_same_view(&format!("{what}, member {index}"), &own(seen), &own(&self.client.dump().unwrap()));
        }
    }
}

#[test]
fn every_member_is_restored_once_for_a_number() {
    let _turn = turn::of_an_ensemble();
    let repository = Repository::new();
    let mut server = Server::start(VERSION, setup()).unwrap();
    let mut client = Client::connect(VERSION, &server.address()).unwrap();
    client.workload(100).unwrap();
    let seen = client.dump().unwrap();
    let first = repository.back_up(&server);
    let ensemble = Ensemble::prepare(VERSION, 3, &setup()).unwrap();
    let mut scene = Scene { repository, ensemble, client };

    // `latest` moves while the members begin one after the other.
    let done = scene.init(0, 1);
    assert_eq!((&done["decision"], &done["snapshot_id"]), (&"restored".into(), &first["snapshot_id"]), "{done}");
    scene.client.run("churn a 500 1").unwrap();
    scene.client.run("create a /later x").unwrap();
    let seen_later = scene.client.dump().unwrap();
    let second = scene.repository.back_up(&server);
    for index in [1, 2] {
        let done = scene.init(index, 1);
        assert_eq!((&done["decision"], &done["snapshot_id"]), (&"restored".into(), &first["snapshot_id"]), "{done}");
    }
    server.stop().unwrap();
    scene.start_all();
    scene.holds("restored", &seen);

    // A pod starts again.
    scene.client.run("create a /after-the-restore x").unwrap();
    scene.ensemble.wait_same_zxid().unwrap();
    scene.ensemble.member(0).stop().unwrap();
    assert_eq!(scene.init(0, 1)["decision"], "already-done");
    scene.ensemble.member(0).start_again().unwrap();
    scene.ensemble.wait_same_zxid().unwrap();
    let address = scene.ensemble.members()[0].address();
    scene.client.run(&format!("connect a {address}")).unwrap();
    let with_more = scene.client.dump().unwrap();
    assert!(with_more.contains_key(&b"/after-the-restore"[..]));
    scene.holds("after a start", &with_more);

    // A pod starts on a new volume.
    scene.ensemble.member(1).stop().unwrap();
    let data = scene.ensemble.members()[1].data_dir();
    fs::remove_dir_all(&data).unwrap();
    fs::create_dir(&data).unwrap();
    fs::write(data.join("myid"), "2\n").unwrap();
    assert_eq!(scene.init(1, 1)["decision"], "volume-replaced");
    assert!(!data.join("version-2").exists());
    scene.ensemble.member(1).start_again().unwrap();
    scene.ensemble.wait_same_zxid().unwrap();
    scene.holds("after a new volume", &with_more);

    // All are stopped and the number is raised; one member dies half-way.
    scene.ensemble.stop().unwrap();
    let number = scene.init_dies_half_way(0);
    for index in 0..3 {
        let done = scene.init(index, number);
        assert_eq!((&done["decision"], &done["snapshot_id"]), (&"restored".into(), &second["snapshot_id"]), "{done}");
        let aside = done["restore"]["moved_aside"].as_array().unwrap();
        assert_eq!(aside.len(), 1, "member {index}: {done}");
        let myid = fs::read_to_string(scene.ensemble.members()[index].data_dir().join("myid")).unwrap();
        assert_eq!(myid.trim(), (index + 1).to_string());
    }
    scene.start_all();
    scene.holds("restored again", &seen_later);
    scene.ensemble.stop().unwrap();
    for index in 0..3 {
        assert_eq!(scene.init(index, number)["decision"], "already-done");
    }
}
