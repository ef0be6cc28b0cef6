//! Figures for Prometheus, under the names that `docs/operations/monitoring.md` explains.

use std::fmt;
use std::time::Duration;

use engine::reference::parse_zxid;
use engine::report::SnapshotInfo;
use metrics::{Unit, with_local_recorder};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use serde_json::Value;

use crate::PROGRAM;
use crate::jobs::{JobKind, JobView};
use crate::work::{Outcome, Side};

/// What a name stands for.
#[derive(Clone, Copy, Debug)]
pub struct Named {
    /// The metric.
    pub name: &'static str,
    /// What it says.
    pub about: &'static str,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge(Unit),
    Histogram,
}

const fn counter(name: &'static str, about: &'static str) -> Named {
    Named { name, about, kind: Kind::Counter }
}

const fn gauge(name: &'static str, unit: Unit, about: &'static str) -> Named {
    Named { name, about, kind: Kind::Gauge(unit) }
}

const DURATION: &str = "zooark_job_duration_seconds";

/// All of them.
pub const ALL: &[Named] = &[
    counter("backup_count", "Backups that ended well, whether or not anything had changed"),
    counter("backup_failure_count", "Backups that failed or were held back"),
    gauge("backup_size_non_compressed", Unit::Bytes, "Paths, stats, ACLs and values of the last backup"),
    gauge("backup_size_compressed", Unit::Bytes, "What the last backup added to the repository"),
    gauge("backup_size_total", Unit::Bytes, "What all backups of the cluster that are listed added to the repository"),
    gauge("backup_execution_time_total", Unit::Seconds, "The last backup, all of it"),
    gauge("backup_execution_time_prepare", Unit::Seconds, "The last backup: reading the source and comparing"),
    gauge("backup_execution_time_compression", Unit::Seconds, "The last backup: encoding, compressing, sealing"),
    gauge("backup_execution_time_upload", Unit::Seconds, "The last backup: writing to the repository"),
    gauge("zooark_seconds_since_last_success", Unit::Seconds, "Since the cluster was last known to be backed up"),
    gauge("zooark_last_success_timestamp_seconds", Unit::Seconds, "When that was, since 1970"),
    gauge("zooark_max_age_seconds", Unit::Seconds, "From which age on that is too old, as configured"),
    gauge("zooark_last_zxid", Unit::Count, "Highest zxid of the last snapshot"),
    gauge(
        "zooark_lag_zxids",
        Unit::Count,
        "Transactions of the ensemble since the last backup read it; NaN where unknown",
    ),
    gauge("zooark_nodes", Unit::Count, "Znodes of the last snapshot"),
    gauge("zooark_changed_nodes", Unit::Count, "Znodes that the last backup found created, changed or deleted"),
    counter("zooark_uploaded_bytes_total", "Bytes that backups wrote to the repository"),
    counter("zooark_objects_written_total", "Objects that backups wrote to the repository"),
    gauge("zooark_runs_in_stack", Unit::Count, "Tables that a reader of the last snapshot merges"),
    gauge("zooark_restore_bytes_needed", Unit::Bytes, "Bytes of those tables, before compression"),
    gauge("zooark_consecutive_failures", Unit::Count, "Backups that failed since the last one that ended well"),
    gauge("zooark_suspect", Unit::Count, "1 while a snapshot is held back until somebody decides"),
    gauge("zooark_incomplete", Unit::Count, "1 while the last snapshot lacks what could not be read"),
    gauge("zooark_paused", Unit::Count, "1 while the cluster's schedules are set aside"),
    gauge("zooark_check_findings", Unit::Count, "Findings of the last check, by severity"),
    gauge("zooark_prune_pending_bytes", Unit::Bytes, "Packs that nothing needs and that wait for their grace period"),
    gauge("zooark_prune_refused_objects", Unit::Count, "Objects that the store refused to delete in the last prune"),
    Named { name: DURATION, about: "Jobs, by kind, cluster and outcome", kind: Kind::Histogram },
    counter("zooark_errors_total", "Jobs that failed, by side (source, store, other) and kind"),
    gauge("zooark_jobs_running", Unit::Count, "Jobs that run, by kind"),
    gauge("zooark_leader", Unit::Count, "1 while this daemon works, 0 while it stands by"),
    gauge("zooark_build_info", Unit::Count, "1, with the version"),
];

/// Where figures are kept.
pub struct Metrics {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let buckets = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0];
        let builder = PrometheusBuilder::new();
        let builder = builder.set_buckets_for_metric(Matcher::Full(DURATION.to_owned()), &buckets);
        let recorder = builder.unwrap_or_default().build_recorder();
        let all = Self { handle: recorder.handle(), recorder };
        with_local_recorder(&all.recorder, || {
            for named in ALL {
                match named.kind {
                    Kind::Counter => metrics::describe_counter!(named.name, named.about),
                    Kind::Gauge(unit) => metrics::describe_gauge!(named.name, unit, named.about),
                    Kind::Histogram => metrics::describe_histogram!(named.name, Unit::Seconds, named.about),
                }
            }
        });
        all.set("zooark_build_info", &[("version", PROGRAM.trim_start_matches("zooark "))], 1.0);
        all
    }
}

/// Exact up to 2^53, which no figure here reaches but zxids of large epochs.
#[expect(clippy::cast_precision_loss, reason = "Prometheus has no other numbers")]
const fn float(number: u64) -> f64 {
    number as f64
}

impl Metrics {
    /// Sets a gauge.
    pub fn set(&self, name: &'static str, labels: &[(&'static str, &str)], value: f64) {
        let labels = owned(labels);
        with_local_recorder(&self.recorder, || metrics::gauge!(name, &labels).set(value));
    }

    /// Adds to a counter; 0 makes it appear.
    pub fn add(&self, name: &'static str, labels: &[(&'static str, &str)], value: u64) {
        let labels = owned(labels);
        with_local_recorder(&self.recorder, || metrics::counter!(name, &labels).increment(value));
    }

    /// Sets a gauge of a cluster.
    pub fn of_cluster(&self, name: &'static str, cluster: &str, value: u64) {
        self.set(name, &[("cluster", cluster)], float(value));
    }

    /// Sets a gauge of the repository that a job was about; that of a copy has its name as label.
    fn of_repository(&self, name: &'static str, view: &JobView, severity: Option<&str>, value: u64) {
        let severity = severity.map(|severity| ("severity", severity));
        let repository = view.repository.as_deref().map(|copy| ("repository", copy));
        let labels: Vec<(&'static str, &str)> = severity.into_iter().chain(repository).collect();
        self.set(name, &labels, float(value));
    }

    /// Makes a cluster's counters appear before anything happened.
    pub fn introduce(&self, cluster: &str) {
        for name in
            ["backup_count", "backup_failure_count", "zooark_uploaded_bytes_total", "zooark_objects_written_total"]
        {
            self.add(name, &[("cluster", cluster)], 0);
        }
    }

    /// A job of a kind begins (1) or is over (-1).
    pub fn running(&self, kind: JobKind, change: f64) {
        let labels = owned(&[("kind", kind.name())]);
        with_local_recorder(&self.recorder, || metrics::gauge!("zooark_jobs_running", &labels).increment(change));
    }

    /// A job is over.
    pub fn job(&self, view: &JobView, took: Duration, outcome: &Outcome) {
        let cluster = view.cluster.as_deref().unwrap_or("");
        let labels = owned(&[("kind", view.kind.name()), ("cluster", cluster), ("outcome", outcome.state.name())]);
        with_local_recorder(&self.recorder, || metrics::histogram!(DURATION, &labels).record(took.as_secs_f64()));
        if let (Some(error), true) = (&outcome.error, outcome.is_failure()) {
            let side = outcome.side.unwrap_or(Side::Other).name();
            self.add("zooark_errors_total", &[("cluster", cluster), ("side", side), ("kind", error.kind)], 1);
        }
        let number = |key: &str| outcome.result.as_ref().and_then(|result| result.get(key)).and_then(Value::as_u64);
        match view.kind {
            JobKind::Backup => self.backup(cluster, outcome, took, view),
            JobKind::Check => {
                for (severity, key) in [("damage", "damage"), ("notice", "notices")] {
                    if let Some(count) = number(key) {
                        self.of_repository("zooark_check_findings", view, Some(severity), count);
                    }
                }
            }
            JobKind::Prune => {
                let bytes = |key: &str| outcome.result.as_ref()?.get(key)?.get("bytes")?.as_u64();
                if let (Some(condemned), Some(waiting)) = (bytes("condemned"), bytes("waiting")) {
                    self.of_repository("zooark_prune_pending_bytes", view, None, condemned + waiting);
                }
                if let Some(refused) = number("refused") {
                    self.of_repository("zooark_prune_refused_objects", view, None, refused);
                }
            }
            JobKind::Copy | JobKind::Forget | JobKind::Restore => {}
        }
    }

    fn backup(&self, cluster: &str, outcome: &Outcome, took: Duration, view: &JobView) {
        let of = [("cluster", cluster)];
        if outcome.is_failure() {
            self.add("backup_failure_count", &of, 1);
        }
        let Some(result) = &outcome.result else { return };
        let number = |key: &str| result.get(key).and_then(Value::as_u64).unwrap_or(0);
        if !outcome.is_failure() {
            self.add("backup_count", &of, 1);
        }
        self.of_cluster("backup_size_non_compressed", cluster, number("raw_bytes"));
        self.of_cluster("backup_size_compressed", cluster, number("uploaded_bytes"));
        self.add("zooark_uploaded_bytes_total", &of, number("uploaded_bytes"));
        self.add("zooark_objects_written_total", &of, number("objects_written"));
        self.of_cluster("zooark_nodes", cluster, number("nodes"));
        let changed = number("nodes_created") + number("nodes_changed") + number("nodes_deleted");
        self.of_cluster("zooark_changed_nodes", cluster, changed);
        if let Some(zxid) = result.get("zxid_high").and_then(Value::as_str).and_then(parse_zxid) {
            self.of_cluster("zooark_last_zxid", cluster, zxid.0.cast_unsigned());
        }
        let set = |name, phases: &[&str]| {
            let spent: f64 = view
                .times
                .iter()
                .filter(|(phase, _)| phases.contains(phase))
                .map(|(_, spent)| spent.as_secs_f64())
                .sum();
            self.set(name, &of, spent);
        };
        self.set("backup_execution_time_total", &of, took.as_secs_f64());
        set("backup_execution_time_prepare", &["reading", "replaying", "comparing"]);
        set("backup_execution_time_compression", &["encoding"]);
        set("backup_execution_time_upload", &["uploading"]);
    }

    /// How far the ensemble has gone on.
    pub fn lag(&self, cluster: &str, zxids: Option<u64>) {
        self.set("zooark_lag_zxids", &[("cluster", cluster)], zxids.map_or(f64::NAN, float));
    }

    /// What is known of a cluster's snapshots.
    pub fn snapshots(&self, cluster: &str, latest: Option<&SnapshotInfo>, suspect: bool, added_bytes: u64) {
        self.of_cluster("backup_size_total", cluster, added_bytes);
        self.of_cluster("zooark_suspect", cluster, u64::from(suspect));
        if let Some(latest) = latest {
            self.of_cluster("zooark_incomplete", cluster, u64::from(latest.incomplete));
            self.of_cluster("zooark_nodes", cluster, latest.nodes);
            if let Some(zxid) = parse_zxid(&latest.zxid_high) {
                self.of_cluster("zooark_last_zxid", cluster, zxid.0.cast_unsigned());
            }
        }
    }

    /// Takes in what was recorded; what nobody asks for would pile up.
    pub fn take_in(&self) {
        self.handle.run_upkeep();
    }

    /// Everything, as Prometheus reads it.
    pub fn render(&self) -> String {
        self.take_in();
        self.handle.render()
    }
}

fn owned(labels: &[(&'static str, &str)]) -> Vec<(String, String)> {
    labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}
