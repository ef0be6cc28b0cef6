//! How the four applications lay out their trees, and the builder that grows one to an exact node count.

use std::collections::HashMap;

use zk_format::types::CONTAINER_OWNER;
use zk_format::{Acl, Stat, Zxid};

use crate::random::Prng;
use crate::server_files::Session;

use super::tree::{ROOT, Tree, Znode};
use super::values::Kind;

/// Nodes of the tree that the published figures are measured on.
pub const BENCH_NODES: usize = 1_034_234;

/// Seed of the tree that the published figures are measured on.
pub const BENCH_SEED: u64 = 2026;

const FIRST_EPOCH: u32 = 3;
const EPOCHS: u32 = 5;
/// 2025-01-01T00:00:00Z.
const START_MS: i64 = 1_735_689_600_000;
const SESSION_TIMEOUT_MS: i32 = 30_000;

const OPEN: u8 = 0;
const KAFKA_ACL: u8 = 1;
const PULSAR_ACL: u8 = 2;
const SECRET_ACL: u8 = 3;

impl Tree {
    /// A tree of exactly `nodes` nodes (at least a few hundred); the same for the same seed, always.
    pub fn build(nodes: usize, seed: u64) -> Self {
        let mut builder = Builder::new(nodes.max(300), seed);
        builder.reserved();
        let homes = builder.homes();
        while !builder.full() {
            for _ in 0..76 {
                builder.pulsar_topic(&homes);
            }
            for _ in 0..8 {
                builder.kafka_topic(&homes);
            }
            builder.clickhouse_table(&homes);
        }
        builder.finish()
    }
}

/// Directories that units are added under.
struct Homes {
    namespaces: Vec<u32>,
    bundles: Vec<u32>,
    ledgers: u32,
    topics: u32,
    topic_configs: u32,
    consumers: Vec<u32>,
    tables: u32,
    curator: u32,
}

struct Builder {
    tree: Tree,
    target: usize,
    random: Prng,
    /// Zxid and time at which each node was made, by index.
    history: Vec<(Zxid, i64)>,
    ledger_dirs: HashMap<u64, u32>,
    ledgers: u64,
    units: u64,
}

fn acl(perms: i32, scheme: &str, id: &str) -> Acl {
    Acl { perms, scheme: scheme.as_bytes().to_vec(), id: id.as_bytes().to_vec() }
}

impl Builder {
    fn new(target: usize, seed: u64) -> Self {
        let acls = vec![
            vec![acl(31, "world", "anyone")],
            vec![acl(31, "sasl", "kafka"), acl(1, "world", "anyone")],
            vec![acl(31, "digest", "pulsar:9xN0C5Gk0v3Y7bq1xTGdTtyxVfM=")],
            vec![acl(31, "sasl", "kafka")],
        ];
        let root = Znode {
            name: Box::default(),
            parent: ROOT,
            children: Vec::new(),
            data: Some(Box::default()),
            acl: OPEN,
            kind: Kind::Plain,
            stat: Stat::default(),
        };
        let tree = Tree {
            nodes: vec![Some(root)],
            live: 1,
            acls,
            sessions: Vec::new(),
            zxid: Zxid::new(FIRST_EPOCH, 0),
            time_ms: START_MS,
            digest: 0,
            cxid: 0,
            seed,
            random: Prng::new(seed ^ 0x5eed_c4a9),
        };
        let history = vec![(Zxid(0), 0)];
        let random = Prng::new(seed);
        Self { tree, target, random, history, ledger_dirs: HashMap::new(), ledgers: 0, units: 0 }
    }

    fn full(&self) -> bool {
        self.tree.nodes.len() >= self.target
    }

    /// Time and zxids go by; a new leader comes now and then.
    fn tick(&mut self) {
        let epoch = FIRST_EPOCH + (self.tree.nodes.len() * EPOCHS as usize / self.target) as u32;
        let counter = self.tree.zxid.counter() + 2 + self.random.below(14) as u32;
        self.tree.zxid = if epoch == self.tree.zxid.epoch() { Zxid::new(epoch, counter) } else { Zxid::new(epoch, 2) };
        self.tree.time_ms += self.random.below(4000) as i64;
    }

    /// Adds a node, or gives the parent back once the tree is full.
    fn add(&mut self, parent: u32, name: &str, kind: Kind, acl: u8, owner: i64) -> u32 {
        if self.full() {
            return parent;
        }
        self.tick();
        let index = self.tree.nodes.len() as u32;
        let (zxid, time) = (self.tree.zxid, self.tree.time_ms);
        let mut stable = stable_stream(self.tree.seed, index);
        let data = kind.value(&mut stable, &mut self.random, time);
        let stat = Stat {
            czxid: zxid,
            mzxid: zxid,
            pzxid: zxid,
            ctime: time,
            mtime: time,
            ephemeral_owner: owner,
            ..Stat::default()
        };
        let name = name.as_bytes().into();
        self.tree.nodes.push(Some(Znode { name, parent, children: Vec::new(), data, acl, kind, stat }));
        self.history.push((zxid, time));
        let above = self.tree.node_mut(parent);
        above.children.push(index);
        above.stat.cversion += 1;
        above.stat.pzxid = zxid;
        index
    }

    fn plain(&mut self, parent: u32, name: &str) -> u32 {
        self.add(parent, name, Kind::Plain, OPEN, 0)
    }

    fn leaf(&mut self, parent: u32, name: &str, kind: Kind) -> u32 {
        self.add(parent, name, kind, OPEN, 0)
    }

    fn dirs(&mut self, parent: u32, path: &str) -> u32 {
        path.split('/').fold(parent, |at, name| self.plain(at, name))
    }

    /// A new session, listed in the snapshot and owning what it creates.
    fn session(&mut self) -> i64 {
        let id = 0x0100_0000_0000_0000 | (self.random.next() >> 8) as i64;
        self.tree.sessions.push(Session { id, timeout_ms: SESSION_TIMEOUT_MS });
        id
    }

    /// What a server makes at its first start: made by no transaction, so its zxids are 0.
    fn reserved(&mut self) {
        let zookeeper = self.plain(ROOT, "zookeeper");
        let quota = self.plain(zookeeper, "quota");
        let config = self.plain(zookeeper, "config");
        for index in [ROOT, zookeeper, quota, config] {
            self.tree.node_mut(index).stat = Stat::default();
            self.tree.node_mut(index).data = Some(Box::default());
            self.history[index as usize] = (Zxid(0), 0);
        }
        let limited = self.plain(quota, "consumers");
        let limits = self.plain(limited, "zookeeper_limits");
        let usage = self.plain(limited, "zookeeper_stats");
        self.tree.node_mut(limits).data = Some(b"count=5000000,bytes=-1".as_slice().into());
        self.tree.node_mut(usage).data = Some(b"count=0,bytes=0".as_slice().into());
    }

    fn homes(&mut self) -> Homes {
        let admin = self.add(ROOT, "admin", Kind::Plain, PULSAR_ACL, 0);
        let policies = self.add(admin, "policies", Kind::Plain, PULSAR_ACL, 0);
        let managed = self.plain(ROOT, "managed-ledgers");
        let loadbalance = self.plain(ROOT, "loadbalance");
        let load_brokers = self.plain(loadbalance, "brokers");
        let bundle_data = self.plain(loadbalance, "bundle-data");
        let ledgers = self.plain(ROOT, "ledgers");
        let available = self.plain(ledgers, "available");
        let cookies = self.plain(ledgers, "cookies");
        self.leaf(ledgers, "LAYOUT", Kind::Fixed);
        let brokers = self.plain(ROOT, "brokers");
        let topics = self.plain(brokers, "topics");
        let ids = self.plain(brokers, "ids");
        let config = self.plain(ROOT, "config");
        let topic_configs = self.add(config, "topics", Kind::Plain, KAFKA_ACL, 0);
        let users = self.add(config, "users", Kind::Plain, SECRET_ACL, 0);
        let consumers = self.plain(ROOT, "consumers");
        let tables = self.dirs(ROOT, "clickhouse/tables");
        let curator = self.add(ROOT, "curator", Kind::Plain, OPEN, CONTAINER_OWNER);
        self.leaf(ROOT, "controller_epoch", Kind::ConsumerOffset);
        for broker in 0..6 {
            let session = self.session();
            self.add(load_brokers, &format!("broker-{broker}.pulsar.svc:8080"), Kind::LoadReport, OPEN, session);
            self.add(ids, &broker.to_string(), Kind::Fixed, OPEN, session);
            let session = self.session();
            self.add(available, &format!("bookie-{broker}.bookie.pulsar.svc:3181"), Kind::Plain, OPEN, session);
            self.leaf(cookies, &format!("bookie-{broker}.bookie.pulsar.svc:3181"), Kind::Fixed);
            self.add(users, &format!("user-{broker}"), Kind::TopicConfig, SECRET_ACL, 0);
        }
        let scale = (self.target / 40_000).clamp(2, 40) as u64;
        let (mut namespaces, mut bundles) = (Vec::new(), Vec::new());
        for tenant in 0..scale {
            let name = format!("tenant-{tenant:02}");
            let tenant_policies = self.add(policies, &name, Kind::Fixed, PULSAR_ACL, 0);
            let (ledgers_of, bundles_of) = (self.plain(managed, &name), self.plain(bundle_data, &name));
            for namespace in ["orders", "payments", "telemetry", "audit"] {
                self.add(tenant_policies, namespace, Kind::Policies, PULSAR_ACL, 0);
                namespaces.push(self.dirs(ledgers_of, &format!("{namespace}/persistent")));
                bundles.push(self.plain(bundles_of, namespace));
            }
        }
        let consumers = (0..8).map(|group| self.dirs(consumers, &format!("analytics-group-{group}/offsets"))).collect();
        Homes { namespaces, bundles, ledgers, topics, topic_configs, consumers, tables, curator }
    }

    /// A topic with its subscriptions and the ledgers that hold its messages.
    fn pulsar_topic(&mut self, homes: &Homes) {
        self.units += 1;
        let namespace = self.random.pick(&homes.namespaces);
        let word = self.random.pick(&["created", "updated", "events", "dead-letter", "changelog", "retry"]);
        let topic = self.leaf(
            namespace,
            &format!("{word}-{:06}-partition-{}", self.units / 4, self.units % 4),
            Kind::ManagedLedger,
        );
        for subscription in 0..self.random.below(4) {
            let word = self.random.pick(&["billing", "search-indexer", "warehouse-sink", "mailer"]);
            self.leaf(topic, &format!("{word}-{subscription}"), Kind::Cursor);
        }
        for _ in 0..self.random.between(1, 7) {
            let directory = self.ledger_directory(homes.ledgers);
            let name = format!("L{:04}", self.ledgers % 10_000);
            self.leaf(directory, &name, Kind::Ledger);
            self.ledgers += self.random.between(1, 3);
        }
        if self.units.is_multiple_of(16) {
            let (home, at) = (self.random.pick(&homes.bundles), (self.units / 16) << 8);
            self.leaf(home, &format!("0x{at:08x}_0x{:08x}", at + 255), Kind::BundleData);
        }
        if self.units.is_multiple_of(512) {
            let ttl = (i64::MIN >> 7) + 3_600_000 + self.random.below(1000) as i64;
            self.add(homes.curator, &format!("lock-{}", self.units), Kind::Plain, OPEN, CONTAINER_OWNER);
            self.add(homes.curator, &format!("lease-{}", self.units), Kind::Fixed, OPEN, ttl);
        }
    }

    /// `/ledgers/00/0012` for ledger 123456: the hierarchical ledger manager.
    fn ledger_directory(&mut self, ledgers: u32) -> u32 {
        let (high, middle) = (self.ledgers / 100_000_000, self.ledgers / 10_000);
        let top = match self.ledger_dirs.get(&(u64::MAX - high)) {
            Some(&index) => index,
            None => self.plain(ledgers, &format!("{high:02}")),
        };
        self.ledger_dirs.insert(u64::MAX - high, top);
        let directory = match self.ledger_dirs.get(&middle) {
            Some(&index) => index,
            None => self.plain(top, &format!("{:04}", middle % 10_000)),
        };
        self.ledger_dirs.insert(middle, directory);
        directory
    }

    fn kafka_topic(&mut self, homes: &Homes) {
        self.units += 1;
        let word = self.random.pick(&["clickstream", "inventory", "customer-profile", "shipment", "metrics.raw"]);
        let name = format!("{word}.{:05}.v{}", self.units, self.random.between(1, 4));
        let topic = self.leaf(homes.topics, &name, Kind::TopicAssignment);
        let partitions = self.plain(topic, "partitions");
        let count = self.random.between(3, 16);
        for partition in 0..count {
            let directory = self.plain(partitions, &partition.to_string());
            self.leaf(directory, "state", Kind::PartitionState);
        }
        self.add(homes.topic_configs, &name, Kind::TopicConfig, KAFKA_ACL, 0);
        if self.random.percent(30) {
            let group = self.random.pick(&homes.consumers);
            let offsets = self.plain(group, &name);
            for partition in 0..count {
                self.leaf(offsets, &partition.to_string(), Kind::ConsumerOffset);
            }
        }
    }

    /// A replicated table: its log, its blocks, and each replica's parts and queue.
    fn clickhouse_table(&mut self, homes: &Homes) {
        self.units += 1;
        let id = self.random.next();
        let uuid = format!("{:08x}-{:04x}-{:04x}", id >> 32, (id >> 16) & 0xffff, id & 0xffff);
        let table = self.plain(homes.tables, &uuid);
        let shard = self.plain(table, "01");
        for name in ["metadata", "columns", "zero_copy_s3"] {
            self.leaf(shard, name, Kind::Fixed);
        }
        let log = self.plain(shard, "log");
        let first = self.random.below(5_000_000);
        for entry in 0..self.random.between(5, 30) {
            self.leaf(log, &format!("log-{:010}", first + entry), Kind::LogEntry);
        }
        self.tree.node_mut(log).stat.cversion += first as i32;
        let blocks = self.plain(shard, "blocks");
        for _ in 0..self.random.between(15, 50) {
            let name = format!("2025{:02}_{}_{}", self.random.between(1, 12), self.random.next(), self.random.next());
            self.leaf(blocks, &name, Kind::Block);
        }
        let numbers = self.plain(shard, "block_numbers");
        for month in 1..=12 {
            self.plain(numbers, &format!("2025{month:02}"));
        }
        let replicas = self.plain(shard, "replicas");
        for number in 1..=2 {
            let replica = self.plain(replicas, &format!("replica-{number}"));
            self.leaf(replica, "host", Kind::Fixed);
            self.leaf(replica, "log_pointer", Kind::ConsumerOffset);
            let parts = self.plain(replica, "parts");
            let mut block = self.random.below(100_000);
            for _ in 0..self.random.between(20, 80) {
                let last = block + self.random.below(40);
                let (month, level) = (self.random.between(1, 12), self.random.below(6));
                self.leaf(parts, &format!("2025{month:02}_{block}_{last}_{level}"), Kind::Part);
                block = last + 1 + self.random.below(3);
            }
            let queue = self.plain(replica, "queue");
            for entry in 0..self.random.below(12) {
                self.leaf(queue, &format!("queue-{entry:010}"), Kind::LogEntry);
            }
            self.tree.node_mut(queue).stat.cversion += first as i32;
        }
    }

    /// Gives rewritten nodes the stats of a later write, and settles zxid and digest.
    fn finish(mut self) -> Tree {
        self.tick();
        let count = self.history.len() as u64;
        for index in 1..count as u32 {
            let znode = self.tree.node(index);
            let percent = match znode.kind {
                Kind::ManagedLedger | Kind::Cursor | Kind::BundleData | Kind::ConsumerOffset | Kind::LoadReport => 90,
                Kind::PartitionState => 60,
                Kind::Ledger => 100,
                _ => 0,
            };
            if znode.kind == Kind::Plain || !self.random.percent(percent) {
                continue;
            }
            // A ledger is rewritten once, soon, when it is closed; the others at any time since.
            let later = if znode.kind == Kind::Ledger {
                (u64::from(index) + 1 + self.random.below(200)).min(count - 1)
            } else {
                self.random.between(u64::from(index), count - 1)
            };
            let (zxid, time) = self.history[later as usize];
            let version = if znode.kind == Kind::Ledger { 1 } else { 1 + self.random.below(5000) as i32 };
            let stat = &mut self.tree.node_mut(index).stat;
            stat.mzxid = Zxid(zxid.0 + 1).max(stat.czxid);
            stat.mtime = time + 7;
            stat.version = version;
        }
        self.tree.live = self.tree.nodes.len();
        self.tree.digest = self.tree.full_digest();
        self.tree
    }
}

/// What never changes in the values of one node.
pub(super) const fn stable_stream(seed: u64, index: u32) -> Prng {
    Prng::new(seed.rotate_left(17) ^ (index as u64).wrapping_mul(0x2545_f491_4f6c_dd1d))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_one_tree_of_the_asked_size() {
        let (a, b, other) = (Tree::build(20_000, 7), Tree::build(20_000, 7), Tree::build(20_000, 8));
        assert_eq!(a.len(), 20_000);
        assert_eq!((a.digest(), a.zxid()), (b.digest(), b.zxid()));
        assert_ne!(a.digest(), other.digest());
    }

    #[test]
    fn paths_are_unique_and_parents_come_first() {
        let tree = Tree::build(20_000, 7);
        let mut seen = std::collections::HashSet::new();
        tree.visit(|path, _, _, stat| {
            assert!(seen.insert(path.to_vec()), "{} twice", String::from_utf8_lossy(path));
            assert!(path.is_empty() || seen.contains(zk_format::key::parent(path).unwrap()));
            assert!(stat.mzxid >= stat.czxid && stat.mzxid <= tree.zxid() && stat.pzxid <= tree.zxid());
            Ok::<_, std::convert::Infallible>(())
        })
        .unwrap();
        assert_eq!(seen.len(), 20_000);
    }
}
