//! Values as the applications write them. What never changes in a node's value (its topic, its table) comes
//! from the node's own stream, so that a rewritten value differs only where a real one does.

use std::fmt::Write;

use crate::random::Prng;

/// What a node is to the application that made it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// A directory, mostly with null data.
    Plain,
    /// A node with a value, written once.
    Fixed,
    /// Pulsar: the ledgers of one topic (protobuf).
    ManagedLedger,
    /// Pulsar: the position of one subscription (protobuf).
    Cursor,
    /// Pulsar: load figures of a bundle (JSON).
    BundleData,
    /// Pulsar: policies of a namespace (JSON).
    Policies,
    /// Pulsar: load report of a broker (JSON).
    LoadReport,
    /// `BookKeeper`: metadata of one ledger (text).
    Ledger,
    /// Kafka: leader and in-sync replicas of a partition (JSON).
    PartitionState,
    /// Kafka: replicas of a topic's partitions (JSON).
    TopicAssignment,
    /// Kafka: overrides of a topic (JSON).
    TopicConfig,
    /// Kafka: committed offset of an old consumer (text).
    ConsumerOffset,
    /// `ClickHouse`: header of one part (text and hashes).
    Part,
    /// `ClickHouse`: the part that an insert block became.
    Block,
    /// `ClickHouse`: one entry of a replication log or queue (text).
    LogEntry,
}

impl Kind {
    /// Whether an application makes and removes such nodes all the time.
    pub const fn comes_and_goes(self) -> bool {
        matches!(self, Self::Cursor | Self::Ledger | Self::Part | Self::Block | Self::LogEntry | Self::ConsumerOffset)
    }

    /// Whether an application rewrites the value of such nodes; a closed ledger stays as it is.
    pub const fn is_rewritten(self) -> bool {
        !matches!(self, Self::Plain | Self::Fixed | Self::Block | Self::Ledger)
    }

    /// A value: `stable` is the node's own stream, `fresh` differs with every write.
    pub fn value(self, stable: &mut Prng, fresh: &mut Prng, time_ms: i64) -> Option<Box<[u8]>> {
        let bytes = match self {
            Self::Plain => return None,
            Self::Fixed => format!("{{\"version\":1,\"id\":{}}}", stable.below(1000)).into_bytes(),
            Self::ManagedLedger => managed_ledger(stable, fresh, time_ms),
            Self::Cursor => cursor(stable, fresh, time_ms),
            Self::BundleData => bundle_data(fresh),
            Self::Policies => policies(stable, fresh),
            Self::LoadReport => load_report(stable, fresh, time_ms),
            Self::Ledger => ledger(stable, fresh, time_ms),
            Self::PartitionState => partition_state(stable, fresh),
            Self::TopicAssignment => topic_assignment(stable),
            Self::TopicConfig => topic_config(stable, fresh),
            Self::ConsumerOffset => fresh.below(5_000_000_000).to_string().into_bytes(),
            Self::Part => part(stable, fresh),
            Self::Block => block(stable),
            Self::LogEntry => log_entry(stable, fresh, time_ms),
        };
        Some(bytes.into_boxed_slice())
    }
}

const BOOKIES: u64 = 24;
const BROKERS: u64 = 12;

fn put(text: &mut String, args: std::fmt::Arguments<'_>) {
    text.write_fmt(args).expect("a String takes everything");
}

/// Protobuf: field number and varint.
fn field(out: &mut Vec<u8>, number: u8, value: u64) {
    out.push(number << 3);
    let mut rest = value;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// Protobuf: field number and nested message.
fn nested(out: &mut Vec<u8>, number: u8, body: &[u8]) {
    out.push(number << 3 | 2);
    out.push(body.len() as u8);
    out.extend_from_slice(body);
}

fn managed_ledger(stable: &mut Prng, fresh: &mut Prng, time_ms: i64) -> Vec<u8> {
    let mut out = Vec::new();
    let mut ledger = stable.below(400_000);
    let ledgers = stable.between(1, 5);
    for index in 0..ledgers {
        let mut info = Vec::new();
        field(&mut info, 1, ledger);
        if index + 1 < ledgers {
            field(&mut info, 2, stable.between(1000, 50_000));
            field(&mut info, 3, stable.between(1 << 20, 1 << 30));
            field(&mut info, 4, time_ms as u64 - stable.below(86_400_000));
        }
        nested(&mut out, 1, &info);
        ledger += stable.between(1, 3000);
    }
    let mut last = Vec::new();
    field(&mut last, 1, ledger);
    field(&mut last, 2, fresh.below(50_000));
    nested(&mut out, 2, &last);
    for (key, value) in [("managed-ledger-base", "pulsar"), ("application", "pulsar"), ("offload", "none")] {
        let mut property = Vec::new();
        nested(&mut property, 1, key.as_bytes());
        nested(&mut property, 2, value.as_bytes());
        nested(&mut out, 3, &property);
    }
    out
}

fn cursor(stable: &mut Prng, fresh: &mut Prng, time_ms: i64) -> Vec<u8> {
    let mut out = Vec::new();
    field(&mut out, 1, stable.below(400_000));
    field(&mut out, 2, stable.below(400_000));
    field(&mut out, 3, fresh.below(50_000));
    field(&mut out, 5, time_ms as u64);
    for _ in 0..stable.below(3) {
        let mut range = Vec::new();
        field(&mut range, 1, fresh.below(50_000));
        field(&mut range, 2, fresh.below(50_000));
        nested(&mut out, 4, &range);
    }
    let mut property = Vec::new();
    nested(&mut property, 1, b"#pulsar.internal.consumerName");
    nested(&mut property, 2, b"pulsar-client-java-v2.10.4");
    nested(&mut out, 6, &property);
    out
}

fn bundle_data(fresh: &mut Prng) -> Vec<u8> {
    let mut figures = |samples: u32| {
        format!(
            "{{\"maxSamples\":{samples},\"numSamples\":{},\"msgThroughputIn\":{}.{},\"msgThroughputOut\":{}.{},\
             \"msgRateIn\":{},\"msgRateOut\":{}}}",
            fresh.between(1, u64::from(samples)),
            fresh.below(100_000),
            fresh.below(1_000_000),
            fresh.below(100_000),
            fresh.below(1_000_000),
            fresh.below(5000),
            fresh.below(5000),
        )
    };
    let (short, long) = (figures(10), figures(1000));
    format!("{{\"shortTermData\":{short},\"longTermData\":{long},\"topics\":{}}}", fresh.below(64)).into_bytes()
}

fn policies(stable: &mut Prng, fresh: &mut Prng) -> Vec<u8> {
    let mut text = String::from("{\"auth_policies\":{\"namespace_auth\":{");
    for role in 0..stable.between(1, 4) {
        put(&mut text, format_args!("{}\"role-{}\":[\"produce\",\"consume\"]", comma(role), stable.below(200)));
    }
    text.push_str(
        "},\"destination_auth\":{},\"subscription_auth_roles\":{}},\"replication_clusters\":[\"standalone\"],",
    );
    put(
        &mut text,
        format_args!(
            "\"bundles\":{{\"boundaries\":[\"0x00000000\",\"0x40000000\",\"0x80000000\",\"0xc0000000\",\"0xffffffff\"],\
         \"numBundles\":4}},\"backlog_quota_map\":{{\"destination_storage\":{{\"limit\":{},\"policy\":\
         \"producer_exception\"}}}},\"message_ttl_in_seconds\":{},\"retention_policies\":{{\"retentionTimeInMinutes\":\
         {},\"retentionSizeInMB\":{}}},\"deleted\":false,\"schema_validation_enforced\":false}}",
            stable.below(64) << 30,
            fresh.below(30) * 86_400,
            fresh.below(100) * 60,
            fresh.below(100) * 1024,
        ),
    );
    text.into_bytes()
}

fn load_report(stable: &mut Prng, fresh: &mut Prng, time_ms: i64) -> Vec<u8> {
    let broker = stable.below(BROKERS);
    format!(
        "{{\"webServiceUrl\":\"http://broker-{broker}.pulsar.svc:8080\",\"pulsarServiceUrl\":\
         \"pulsar://broker-{broker}.pulsar.svc:6650\",\"cpu\":{{\"usage\":{}.{},\"limit\":800.0}},\"memory\":\
         {{\"usage\":{}.0,\"limit\":4096.0}},\"bandwidthIn\":{{\"usage\":{}.0,\"limit\":-1.0}},\"msgRateIn\":{}.0,\
         \"lastUpdate\":{time_ms},\"numTopics\":{},\"numBundles\":{}}}",
        fresh.below(800),
        fresh.below(1_000_000),
        fresh.below(4096),
        fresh.below(1_000_000),
        fresh.below(100_000),
        fresh.below(20_000),
        fresh.below(500),
    )
    .into_bytes()
}

fn ledger(stable: &mut Prng, fresh: &mut Prng, time_ms: i64) -> Vec<u8> {
    let mut text = String::from("BookieMetadataFormatVersion\t2\nquorumSize: 2\nensembleSize: 3\n");
    let entries = fresh.between(1, 60_000);
    put(&mut text, format_args!("length: {}\nlastEntryId: {entries}\n", entries * 4096 + fresh.below(4096)));
    text.push_str(if fresh.percent(95) { "state: CLOSED\n" } else { "state: IN_RECOVERY\n" });
    text.push_str("segment {\n");
    for _ in 0..3 {
        put(&mut text, format_args!("  ensembleMember: \"bk-{}:3181\"\n", stable.below(BOOKIES)));
    }
    text.push_str("  firstEntryId: 0\n}\ndigestType: CRC32C\n");
    put(&mut text, format_args!("password: \"{}\"\nackQuorumSize: 2\n", word(stable, 22)));
    put(&mut text, format_args!("ctime: {}\n", time_ms - stable.below(1000) as i64));
    put(
        &mut text,
        format_args!(
            "managedLedger: \"tenant-{:02}/{}/persistent/topic-{:05}\"\n",
            stable.below(40),
            stable.pick(&["orders", "payments", "telemetry", "audit"]),
            stable.below(30_000),
        ),
    );
    text.into_bytes()
}

fn partition_state(stable: &mut Prng, fresh: &mut Prng) -> Vec<u8> {
    let leader = stable.below(BROKERS);
    let (second, third) = ((leader + 1) % BROKERS, (leader + 5) % BROKERS);
    let isr = if fresh.percent(90) { format!("{leader},{second},{third}") } else { format!("{leader},{second}") };
    format!(
        "{{\"controller_epoch\":{},\"leader\":{leader},\"version\":1,\"leader_epoch\":{},\"isr\":[{isr}]}}",
        fresh.between(20, 45),
        fresh.below(300),
    )
    .into_bytes()
}

fn topic_assignment(stable: &mut Prng) -> Vec<u8> {
    let id = word(stable, 22);
    let mut text = String::from("{\"removing_replicas\":{},\"partitions\":{");
    for partition in 0..stable.between(3, 24) {
        let leader = stable.below(BROKERS);
        let (second, third) = ((leader + 1) % BROKERS, (leader + 5) % BROKERS);
        put(&mut text, format_args!("{}\"{partition}\":[{leader},{second},{third}]", comma(partition)));
    }
    put(&mut text, format_args!("}},\"topic_id\":\"{id}\",\"adding_replicas\":{{}},\"version\":3}}"));
    text.into_bytes()
}

fn topic_config(stable: &mut Prng, fresh: &mut Prng) -> Vec<u8> {
    format!(
        "{{\"version\":1,\"config\":{{\"retention.ms\":\"{}\",\"cleanup.policy\":\"{}\",\"segment.bytes\":\"{}\",\
         \"min.insync.replicas\":\"2\"}}}}",
        fresh.between(1, 30) * 86_400_000,
        stable.pick(&["delete", "compact"]),
        stable.between(1, 16) << 26,
    )
    .into_bytes()
}

fn part(stable: &mut Prng, fresh: &mut Prng) -> Vec<u8> {
    let mut out = b"part header format version: 1\ncolumns format version: 1\n".to_vec();
    let columns = [
        "event_date Date",
        "event_time DateTime64(3)",
        "user_id UInt64",
        "session UUID",
        "url String",
        "referrer LowCardinality(String)",
        "duration UInt32",
        "payload String",
    ];
    let count = stable.between(4, columns.len() as u64) as usize;
    out.extend_from_slice(format!("{count} columns:\n").as_bytes());
    for column in columns.iter().take(count) {
        out.extend_from_slice(column.as_bytes());
        out.push(b'\n');
    }
    out.extend_from_slice(b"columns and checksums hash ");
    out.extend_from_slice(&stable.bytes(16));
    out.extend_from_slice(&fresh.bytes(16));
    out
}

fn block(stable: &mut Prng) -> Vec<u8> {
    let number = stable.below(900_000);
    format!("2025{:02}_{number}_{number}_0", stable.between(1, 12)).into_bytes()
}

fn log_entry(stable: &mut Prng, fresh: &mut Prng, time_ms: i64) -> Vec<u8> {
    let from = stable.below(900_000);
    let seconds = time_ms / 1000;
    let merge = stable.percent(40);
    let replica = stable.between(1, 3);
    let mut text = format!(
        "format version: 4\ncreate_time: {}\nsource replica: replica-{replica}\nblock_id: \
         2025{:02}_{}_{}\n",
        date(seconds),
        stable.between(1, 12),
        fresh.next(),
        fresh.next(),
    );
    if merge {
        put(
            &mut text,
            format_args!(
                "merge\n2025_{from}_{from}_0\n2025_{}_{}_0\ninto\n2025_{from}_{}_1\ndeduplicate: 0\n",
                from + 1,
                from + 1,
                from + 1
            ),
        );
    } else {
        put(&mut text, format_args!("get\n2025_{from}_{from}_0\npart_type: Compact\n"));
    }
    text.into_bytes()
}

/// `YYYY-MM-DD hh:mm:ss` within months of thirty days: only its shape and entropy matter.
fn date(seconds: i64) -> String {
    let days = seconds / 86_400;
    let (month, day) = (days / 30 % 12 + 1, days % 30 + 1);
    format!("2025-{month:02}-{day:02} {:02}:{:02}:{:02}", seconds / 3600 % 24, seconds / 60 % 60, seconds % 60)
}

/// Random characters, six bits each.
fn word(random: &mut Prng, length: usize) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    random.bytes(length).iter().map(|byte| char::from(ALPHABET[usize::from(byte % 64)])).collect()
}

fn comma(index: u64) -> &'static str {
    if index == 0 { "" } else { "," }
}
