//! Telling somebody: a POST of one JSON object to each webhook, tried again for some minutes. Nothing waits for it, and no more
//! than so many wait.

use std::collections::BTreeMap;
use std::fs;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use reqwest::Client;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::redirect::Policy;
use serde::Serialize;
use tokio::sync::mpsc;

use crate::config::{NotifyConfig, Occasion};
use crate::jobs::JobView;

/// Messages that wait for one address; what comes beyond is dropped and logged.
const WAITING: usize = 200;
const ATTEMPTS: u32 = 6;
const FIRST_WAIT: Duration = Duration::from_secs(2);
const TIMEOUT: Duration = Duration::from_secs(10);
/// How often it is said again that something still fails.
const SAY_AGAIN: Duration = Duration::from_hours(1);

/// The body of a webhook's request.
#[derive(Clone, Debug, Serialize)]
pub struct Message {
    /// `failure`, `recovery` or `age`.
    pub event: Occasion,
    /// The cluster.
    pub cluster: Option<String>,
    /// What kind of job it was.
    pub kind: Option<&'static str>,
    /// The job.
    pub job_id: Option<String>,
    /// How it ended.
    pub state: Option<&'static str>,
    /// What happened, for a person.
    pub message: String,
    /// When.
    pub time: Timestamp,
    /// Failures in a row.
    pub consecutive_failures: u32,
    /// When the cluster was last known to be backed up.
    pub last_success: Option<Timestamp>,
    /// How long ago that is.
    pub age_seconds: Option<i64>,
    /// Which daemon says so.
    pub host: String,
}

/// Where messages go. Each address has its own queue: one that is dead keeps nobody else waiting.
#[derive(Debug)]
pub struct Notifier {
    client: Client,
    hooks: Mutex<BTreeMap<String, mpsc::Sender<(NotifyConfig, Message)>>>,
    told: Mutex<BTreeMap<Subject, Instant>>,
}

impl Default for Notifier {
    fn default() -> Self {
        // What is sent along is for this address and for no other.
        let client = Client::builder().timeout(TIMEOUT).redirect(Policy::none()).build().unwrap_or_default();
        Self { client, hooks: Mutex::default(), told: Mutex::default() }
    }
}

impl Notifier {
    /// Tells everybody who wants to know; from within an async runtime.
    pub fn tell(&self, configured: &[NotifyConfig], message: &Message) {
        let mut hooks = self.hooks.lock().unwrap_or_else(PoisonError::into_inner);
        // The queue of one that is configured no more ends when it is empty.
        hooks.retain(|url, _| configured.iter().any(|hook| hook.url == *url));
        let wanted = |hook: &&NotifyConfig| hook.on.is_empty() || hook.on.contains(&message.event);
        for hook in configured.iter().filter(wanted) {
            let queue = hooks.entry(hook.url.clone()).or_insert_with(|| self.queue());
            if queue.try_send((hook.clone(), message.clone())).is_err() {
                tracing::error!(host = host(hook), "a notification was dropped: {WAITING} wait already");
            }
        }
    }

    fn queue(&self) -> mpsc::Sender<(NotifyConfig, Message)> {
        let (sender, mut waiting) = mpsc::channel::<(NotifyConfig, Message)>(WAITING);
        let client = self.client.clone();
        tokio::spawn(async move {
            while let Some((hook, message)) = waiting.recv().await {
                send(&client, &hook, &message).await;
            }
        });
        sender
    }

    /// Whether a failure is worth a message: the first in a row is, and then one an hour.
    pub fn is_news(&self, view: &JobView) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let key = subject(view);
        if told.get(&key).is_some_and(|last| last.elapsed() < SAY_AGAIN) {
            return false;
        }
        told.insert(key, Instant::now());
        true
    }

    /// The next failure of this is the first in a row again.
    pub fn went_well(&self, view: &JobView) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let (cluster, repository, kind, _) = subject(view);
        told.retain(|key, _| (&key.0, &key.1, key.2) != (&cluster, &repository, kind));
    }
}

/// What fails again and again: a cluster's jobs of a kind on a repository, and how.
type Subject = (Option<String>, Option<String>, &'static str, &'static str);

fn subject(view: &JobView) -> Subject {
    (view.cluster.clone(), view.repository.clone(), view.kind.name(), view.state.name())
}

/// Not the whole URL: the secret of many webhooks is its path.
fn host(hook: &NotifyConfig) -> Option<String> {
    reqwest::Url::parse(&hook.url).ok().and_then(|url| url.host_str().map(ToOwned::to_owned))
}

async fn send(client: &Client, hook: &NotifyConfig, message: &Message) {
    let mut wait = FIRST_WAIT;
    for attempt in 1..=ATTEMPTS {
        let problem = match attempt_once(client, hook, message).await {
            Ok(()) => return,
            Err(problem) => problem,
        };
        tracing::warn!(host = host(hook), attempt, "telling a webhook failed: {problem}");
        if attempt < ATTEMPTS {
            tokio::time::sleep(wait).await;
            wait *= 3;
        }
    }
    tracing::error!("a notification was given up after {ATTEMPTS} attempts");
}

async fn attempt_once(client: &Client, hook: &NotifyConfig, message: &Message) -> Result<(), String> {
    let body = serde_json::to_vec(message).map_err(|error| error.to_string())?;
    let request = client.post(&hook.url).headers(headers(hook)?).header("content-type", "application/json").body(body);
    let answer = request.send().await.map_err(|error| error.without_url().to_string())?;
    if answer.status().is_success() { Ok(()) } else { Err(format!("it answered {}", answer.status())) }
}

/// The headers of a file, a line each.
fn headers(hook: &NotifyConfig) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    let Some(path) = &hook.header_file else { return Ok(headers) };
    let text = fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let parsed = line.split_once(':').and_then(|(name, value)| {
            let mut value = HeaderValue::from_str(value.trim()).ok()?;
            value.set_sensitive(true);
            Some((name.trim().parse::<HeaderName>().ok()?, value))
        });
        let (name, value) =
            parsed.ok_or_else(|| format!("{} line {}: write `Name: value`", path.display(), number + 1))?;
        headers.insert(name, value);
    }
    Ok(headers)
}
