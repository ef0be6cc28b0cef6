//! An ensemble that is scanned once and then followed: a session with a recursive watch over everything is kept, and
//! what it told of is all that is read the next time.
//!
//! Nothing is believed to be unchanged unless the watch was there all the time. Watches replay nothing after a
//! reconnect, so a lost connection, an expired session and more events than are kept all end in [`Told::Lost`], and
//! only a scan begins anew. What the watch told is kept until [`Watching::stored`], so that it can be read again where
//! storing it failed.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use zk_format::Node;

use super::catch_up::{self, MOST_PATHS, changed};
use super::work::State;
use super::{ScanError, ScanOptions, Seen, ServerInfo, Sink, Span, Unreadable, missed, servers, settled};
use crate::live::options::ConnectOptions;
use crate::live::{Client, LiveError};

/// Why a scan is needed where the watch does not say all.
const MISSED: &str = "the connection with the watch was lost, or it told more than is kept, and watches replay nothing";
const TOO_MUCH: &str = "more changed than is kept of what the watch tells";
const NOT_SCANNED: &str = "there was no scan since the watch was set";
const ROOT_GONE: &str = "the root of what is backed up was deleted";
const LEFT_OVER: &str = "the scan could not keep up with what changed";

/// See the module's head.
#[derive(Debug)]
pub struct Watching {
    connect: ConnectOptions,
    watcher: Client,
    /// What the watch told of since what was stored last.
    told: BTreeSet<Vec<u8>>,
    /// Why that is not all.
    lost: Option<&'static str>,
    /// Whether changes of nodes that the session may not read are not told.
    withheld: bool,
}

/// What changed.
#[derive(Debug)]
pub enum Told {
    /// These nodes and nothing else.
    Changes(Changes),
    /// Not everything is known: scan.
    Lost(&'static str),
}

/// The nodes that changed, as they are now.
#[derive(Debug)]
pub struct Changes {
    /// By path; `None` where the node is gone.
    pub nodes: HashMap<Vec<u8>, Option<Node>>,
    /// Of the answers with data and children.
    pub span: Span,
    /// Of the answers with ACLs.
    pub acl_span: Span,
    /// What could not be read.
    pub unreadable: BTreeMap<Vec<u8>, Unreadable>,
    /// Why some of what changed towards the end will be read the next time.
    pub unsettled: Option<&'static str>,
    /// Whether there may be other changes, of nodes that the session may not read: the servers do not tell it of those.
    pub withheld: bool,
}

impl Watching {
    /// Opens the session that is kept. Servers before 3.6 are refused.
    pub async fn begin(connect: &ConnectOptions) -> Result<Self, ScanError> {
        let servers = servers::survey(connect).await;
        if !servers::know_multi_read(connect, &servers).await? {
            return Err(ScanError::NoWatches);
        }
        let watcher = servers::connect(connect, &servers, true, Some(1), None).await?.pop();
        let watcher = watcher.ok_or(ScanError::NoWatches)?;
        Ok(Self { connect: connect.clone(), watcher, told: BTreeSet::new(), lost: Some(NOT_SCANNED), withheld: true })
    }

    /// Reads everything; from here on the watch tells what changes.
    pub async fn scan(&mut self, options: &ScanOptions<'_>, sink: &mut dyn Sink) -> Result<Seen, ScanError> {
        self.told.clear();
        self.lost = Some(NOT_SCANNED);
        let servers = servers::survey(&self.connect).await;
        // Servers may be others than when this began.
        self.withheld = servers::withhold_events(&servers) && !is_super(&self.watcher).await?;
        let first = Some(self.watcher.clone());
        let clients = servers::connect(&self.connect, &servers, true, options.connections, first).await?;
        let outcome = settled(&clients, true, options, sink).await;
        let used: Vec<String> = clients.iter().map(Client::host).collect();
        for client in clients.iter().skip(1) {
            client.close().await;
        }
        let seen = outcome?;
        let servers: Vec<ServerInfo> = servers.into_iter().filter(|server| used.contains(&server.host)).collect();
        self.lost = match (seen.watch_lost, seen.dropped) {
            (true, _) => Some(MISSED),
            (_, true) => Some(LEFT_OVER),
            // What changed towards the end of a scan that never came to rest is still to be told.
            _ => None,
        };
        Ok(Seen { servers, ..seen })
    }

    /// Takes what the watch told so far, without waiting: many changes of one node are one.
    pub fn gather(&mut self, wanted: &(dyn Fn(&[u8]) -> bool + Sync)) {
        let events = self.watcher.events().take();
        if missed(&events) {
            self.lost = Some(MISSED);
        }
        if self.lost.is_some() {
            self.told.clear();
            return;
        }
        self.told.append(&mut changed(&self.watcher, &events, wanted));
        if self.told.len() > MOST_PATHS {
            self.lost = Some(TOO_MUCH);
            self.told.clear();
        }
    }

    /// Reads what changed since what was stored last.
    pub async fn changes(&mut self, options: &ScanOptions<'_>) -> Result<Told, ScanError> {
        if let Some(why) = self.lost {
            return Ok(Told::Lost(why));
        }
        // Whatever was committed until now has been told when this is answered.
        let zxid = self.watcher.sync(b"").await?;
        self.gather(options.wanted);
        if let Some(why) = self.lost {
            return Ok(Told::Lost(why));
        }
        let told = self.told.clone();
        // Events are taken from here on: they are not told again where something fails.
        self.lost = Some(MISSED);
        let mut state = State::new(None);
        let again = catch_up::catch_up(&self.watcher, told, options, &mut state).await?;
        if again.nodes.is_empty() {
            // Nothing changed up to there. Where something did, the answers have states of their own.
            state.span.add(zxid);
        }
        if again.watch_lost {
            return Ok(Told::Lost(MISSED));
        }
        let root_is_gone = again.nodes.get(&b""[..]).is_some_and(Option::is_none);
        if again.dropped || root_is_gone {
            let why = if root_is_gone { ROOT_GONE } else { TOO_MUCH };
            self.lost = Some(why);
            return Ok(Told::Lost(why));
        }
        self.told.extend(again.nodes.keys().cloned());
        self.lost = None;
        Ok(Told::Changes(Changes {
            nodes: again.nodes,
            span: state.span,
            acl_span: state.acl_span,
            unreadable: state.unreadable,
            unsettled: again.why,
            withheld: self.withheld,
        }))
    }

    /// What was read is kept elsewhere now: the next changes are those since then.
    pub fn stored(&mut self) {
        self.told.clear();
    }

    /// Ends the session, and the watch with it.
    pub async fn close(&self) {
        self.watcher.close().await;
    }
}

/// Whether the servers let this session read everything.
async fn is_super(client: &Client) -> Result<bool, LiveError> {
    match client.who_am_i().await {
        Ok(ids) => Ok(ids.iter().any(|(scheme, _)| scheme == b"super")),
        // Servers before 3.7 cannot be asked, and some of those close the connection.
        Err(LiveError::Lost { .. }) => Ok(false),
        Err(error) if error.code().is_some() => Ok(false),
        Err(error) => Err(error),
    }
}
