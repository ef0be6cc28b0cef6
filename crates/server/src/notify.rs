//! Telling somebody: a POST of one JSON object to each webhook, tried again for some minutes. Nothing waits for it, and no more
//! than so many wait.

use std::fs;
use std::time::Duration;

use jiff::Timestamp;
use reqwest::Client;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::redirect::Policy;
use serde::Serialize;
use tokio::sync::mpsc;

use crate::config::{NotifyConfig, Occasion};

/// Messages that wait; what comes beyond is dropped and logged.
const WAITING: usize = 200;
const ATTEMPTS: u32 = 6;
const FIRST_WAIT: Duration = Duration::from_secs(2);
const TIMEOUT: Duration = Duration::from_secs(10);

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

/// Where messages go.
#[derive(Clone, Debug)]
pub struct Notifier(mpsc::Sender<(Vec<NotifyConfig>, Message)>);

impl Notifier {
    /// Starts what sends them; from within an async runtime.
    pub fn start() -> Self {
        let (sender, mut waiting) = mpsc::channel::<(Vec<NotifyConfig>, Message)>(WAITING);
        tokio::spawn(async move {
            // What is sent along is for this address and for no other.
            let client = Client::builder().timeout(TIMEOUT).redirect(Policy::none()).build().unwrap_or_default();
            while let Some((hooks, message)) = waiting.recv().await {
                for hook in hooks.iter().filter(|hook| hook.on.is_empty() || hook.on.contains(&message.event)) {
                    send(&client, hook, &message).await;
                }
            }
        });
        Self(sender)
    }

    /// Tells everybody who wants to know.
    pub fn tell(&self, hooks: &[NotifyConfig], message: Message) {
        if !hooks.is_empty() && self.0.try_send((hooks.to_vec(), message)).is_err() {
            tracing::error!("a notification was dropped: {WAITING} wait already");
        }
    }
}

async fn send(client: &Client, hook: &NotifyConfig, message: &Message) {
    let mut wait = FIRST_WAIT;
    for attempt in 1..=ATTEMPTS {
        let problem = match attempt_once(client, hook, message).await {
            Ok(()) => return,
            Err(problem) => problem,
        };
        // Not the whole URL: the secret of many webhooks is its path.
        let host = reqwest::Url::parse(&hook.url).ok().and_then(|url| url.host_str().map(ToOwned::to_owned));
        tracing::warn!(host = host.as_deref(), attempt, "telling a webhook failed: {problem}");
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
