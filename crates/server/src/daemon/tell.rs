//! Who hears what: the log, the figures, and those who asked to be told.

use std::time::Instant;

use jiff::Timestamp;

use super::Daemon;
use crate::config::Occasion;
use crate::jobs::{JobState, JobView};
use crate::notify::Message;
use crate::work::{Outcome, Side};

impl Daemon {
    /// A message about a cluster.
    pub fn message(&self, event: Occasion, cluster: Option<&str>, text: String) -> Message {
        let known = cluster.map(|cluster| self.remembered(cluster)).unwrap_or_default();
        let now = Timestamp::now();
        Message {
            event,
            cluster: cluster.map(ToOwned::to_owned),
            kind: None,
            job_id: None,
            state: None,
            message: text,
            time: now,
            consecutive_failures: known.failures,
            last_success: known.last_success,
            age_seconds: known.last_success.map(|last| now.duration_since(last).as_secs()),
            host: self.host(),
        }
    }

    pub(super) fn tell(&self, view: &JobView, began: Instant, outcome: &Outcome) {
        let took = began.elapsed();
        self.metrics.job(view, took, outcome);
        let number =
            |key: &str| outcome.result.as_ref().and_then(|result| result.get(key)).and_then(serde_json::Value::as_u64);
        let text = |key: &str| {
            let value = outcome.result.as_ref().and_then(|result| result.get(key));
            value.and_then(serde_json::Value::as_str).map(ToOwned::to_owned)
        };
        let error = outcome.error.as_ref().map(|error| error.message.clone()).or_else(|| text("suspect"));
        let cluster = view.cluster.as_deref();
        let (kind, state, seconds) = (view.kind.name(), outcome.state.name(), took.as_secs_f64());
        if outcome.is_failure() {
            tracing::error!(
                job = view.id,
                kind,
                cluster,
                outcome = state,
                seconds,
                side = outcome.side.map(Side::name),
                error = error.as_deref(),
                snapshot = text("short_id"),
                "job ended badly"
            );
            let what = error.unwrap_or_else(|| "see the job's result".to_owned());
            let text = format!(
                "{kind}{} ended as {state}: {what}",
                cluster.map_or_else(String::new, |name| format!(" of {name}"))
            );
            let message = Message {
                kind: Some(kind),
                job_id: Some(view.id.clone()),
                state: Some(state),
                ..self.message(Occasion::Failure, cluster, text)
            };
            // Of retries and of what fails again and again, somebody hears once in a while.
            if self.notifier.is_news(view) {
                self.notifier.tell(&self.holding().config.notify, &message);
            }
        } else {
            if outcome.state == JobState::Succeeded {
                self.notifier.went_well(view);
            }
            tracing::info!(
                job = view.id,
                kind,
                cluster,
                outcome = state,
                seconds,
                snapshot = text("short_id"),
                zxid = text("zxid_high"),
                nodes = number("nodes"),
                uploaded_bytes = number("uploaded_bytes"),
                objects = number("objects_written"),
                forgotten = number("forgotten"),
                "job ended"
            );
        }
    }

    /// Tells that a cluster is backed up again after failures.
    pub fn tell_recovery(&self, cluster: &str, failures: u32) {
        let text = format!("cluster {cluster} is backed up again after {failures} failures");
        let message = self.message(Occasion::Recovery, Some(cluster), text);
        self.notifier.tell(&self.holding().config.notify, &message);
    }
}
