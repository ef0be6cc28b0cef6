//! Records the data directory of `tests/data/recorded` from a real server: the metadata of a small Kafka
//! cluster, before and after a working day's changes.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Parser;
use testing::server::{Client, Server, Setup};

const VERSION: &str = "3.9.4";
const BROKERS: usize = 3;
const TOPICS: [&str; 8] =
    ["orders", "payments", "shipments", "inventory", "customers", "clickstream", "audit-log", "__consumer_offsets"];

/// Records OUT/before and OUT/after, each a `dataDir` with its `version-2`.
#[derive(Debug, Parser)]
struct Options {
    /// Folder to make `before` and `after` in; they must not be there.
    out: PathBuf,
}

fn main() -> Result<()> {
    let out = Options::parse().out;
    for state in ["before", "after"] {
        if out.join(state).exists() {
            bail!("{} is there: remove it to record anew", out.join(state).display());
        }
    }
    // Logs grow in steps of 32 KiB here, so that the recording is small as it is.
    let mut server = Server::start(VERSION, Setup::default().property("zookeeper.preAllocSize=32"))?;
    let mut client = Client::connect(VERSION, &server.address())?;
    populate(&mut client)?;
    // A server writes a snapshot file when it starts.
    server.stop()?;
    server.start_again()?;
    client.run("set a /controller_epoch 7")?;
    record(&server, &out.join("before"))?;
    change(&mut client)?;
    record(&server, &out.join("after"))
}

fn populate(client: &mut Client) -> Result<()> {
    for path in ["/brokers", "/brokers/ids", "/brokers/topics", "/config", "/config/topics", "/config/users", "/admin"]
    {
        client.run(&format!("create a {path} {{}}"))?;
    }
    client.run("create a /controller_epoch 6")?;
    client.run(r#"create a /cluster {"version":"1","id":"t7-kQv1lRXWQh0y4n3sJvA"}"#)?;
    for broker in 0..BROKERS {
        let value = format!(r#"{{"host":"kafka-{broker}.example.org","port":9092,"version":5}}"#);
        client.run(&format!("ephemeral a /brokers/ids/{broker} {value}"))?;
    }
    client.run(r#"ephemeral a /controller {"version":2,"brokerid":0}"#)?;
    for (index, topic) in TOPICS.into_iter().enumerate() {
        create_topic(client, topic, 4 + index)?;
    }
    client.run("create a /config/users/alice {\"quota\":1048576}")?;
    client.run("own a /config/users kafka")?;
    client.run("own a /config/users/alice kafka")?;
    Ok(())
}

fn create_topic(client: &mut Client, topic: &str, partitions: usize) -> Result<()> {
    let replicas = |partition: usize| (0..2).map(move |next| (partition + next) % BROKERS);
    let lists: Vec<String> =
        (0..partitions).map(|partition| format!("\"{partition}\":[{}]", join(replicas(partition)))).collect();
    let value = format!(r#"{{"version":2,"partitions":{{{}}}}}"#, lists.join(","));
    client.run(&format!("create a /brokers/topics/{topic} {value}"))?;
    client.run(&format!("create a /brokers/topics/{topic}/partitions -"))?;
    for partition in 0..partitions {
        client.run(&format!("create a /brokers/topics/{topic}/partitions/{partition} -"))?;
        let isr = join(replicas(partition));
        client.run(&format!(
            "create a /brokers/topics/{topic}/partitions/{partition}/state {}",
            state(partition, &isr)
        ))?;
    }
    client
        .run(&format!(r#"create a /config/topics/{topic} {{"version":1,"config":{{"retention.ms":"604800000"}}}}"#))?;
    Ok(())
}

/// A broker left and took leaders with it, a topic came, another went, and a user's rights changed.
fn change(client: &mut Client) -> Result<()> {
    client.run("delete a /brokers/ids/2")?;
    for topic in &TOPICS[..3] {
        client.run(&format!("set a /brokers/topics/{topic}/partitions/2/state {}", state(0, "0")))?;
    }
    client.run(r#"set a /config/topics/orders {"version":1,"config":{"retention.ms":"86400000"}}"#)?;
    create_topic(client, "refunds", 3)?;
    client.run("delete a /config/topics/audit-log")?;
    client.run("own a /config/users/alice security-team")?;
    client.run("set a /controller_epoch 8")?;
    Ok(())
}

fn state(leader: usize, isr: &str) -> String {
    format!(r#"{{"controller_epoch":6,"leader":{},"version":1,"leader_epoch":0,"isr":[{isr}]}}"#, leader % BROKERS)
}

fn join(numbers: impl Iterator<Item = usize>) -> String {
    numbers.map(|number| number.to_string()).collect::<Vec<_>>().join(",")
}

/// Copies the server's files as they are; nobody writes meanwhile.
fn record(server: &Server, to: &Path) -> Result<()> {
    let target = to.join("version-2");
    fs::create_dir_all(&target)?;
    for file in server.snapshots()?.into_iter().chain(server.logs()?) {
        let name = file.file_name().context("a listed file has a name")?;
        fs::copy(&file, target.join(name)).with_context(|| format!("copying {}", file.display()))?;
    }
    println!("{} at {}", to.display(), server.zxid()?);
    Ok(())
}
