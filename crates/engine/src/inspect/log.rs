//! One transaction log: its records, by type, and how it ends.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;
use zk_format::Zxid;
use zk_format::file_txn_log::{LogEnd, LogReader};
use zk_format::path::display;
use zk_format::txn::{Body, Txn};

use super::TransactionSink;

/// What a log holds, up to its end or to the first problem.
#[derive(Debug, Default, Serialize)]
pub struct LogReport {
    /// The file.
    pub path: PathBuf,
    /// Its length on disk, padding included.
    pub bytes: u64,
    /// Whole records.
    pub transactions: u64,
    /// `0x…`
    pub first_zxid: Option<String>,
    /// `0x…`
    pub last_zxid: Option<String>,
    /// The leader's clock, milliseconds since 1970.
    pub first_time_ms: Option<i64>,
    /// The leader's clock, milliseconds since 1970.
    pub last_time_ms: Option<i64>,
    /// How many of each type; the parts of a multi are not counted apart.
    pub by_type: BTreeMap<&'static str, u64>,
    /// Transactions that carry the leader's digest of the tree.
    pub with_digest: u64,
    /// A record at the end that is not whole, as a killed server leaves it: normal.
    pub torn_end: Option<String>,
    /// Why the rest cannot be read.
    pub problem: Option<String>,
}

/// One transaction as listed.
#[derive(Debug, Serialize)]
pub struct Transaction<'a> {
    /// The log.
    pub file: &'a Path,
    /// Where its record starts in the file.
    pub offset: u64,
    /// `0x…`
    pub zxid: String,
    /// The leader's clock, milliseconds since 1970.
    pub time_ms: i64,
    /// Session that asked for it, `0x…`.
    pub session: String,
    /// `create`, `setData`, …
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The node; the first for a multi.
    pub path: Option<String>,
    /// Bytes of the value written.
    pub data_bytes: Option<u64>,
    /// Parts of a multi.
    pub parts: Option<u64>,
    /// Whether it carries a digest.
    pub digest: bool,
}

/// Reads a log to its end.
pub(super) fn report(path: &Path, bytes: u64, sink: &mut Option<TransactionSink<'_>>) -> LogReport {
    let mut report = LogReport { path: path.to_owned(), bytes, ..LogReport::default() };
    if let Err(problem) = read(path, &mut report, sink) {
        report.problem = Some(problem);
    }
    report
}

fn read(path: &Path, report: &mut LogReport, sink: &mut Option<TransactionSink<'_>>) -> Result<(), String> {
    let mut reader = LogReader::open(path).map_err(|error| super::with_causes(&error))?;
    while let Some(record) = reader.next().map_err(|error| super::with_causes(&error))? {
        let txn = Txn::decode(record.payload, record.payload_offset()).map_err(|error| super::with_causes(&error))?;
        let kind = kind_name(&txn.body);
        report.transactions = report.transactions.saturating_add(1);
        report.first_zxid.get_or_insert_with(|| record.zxid.to_string());
        report.last_zxid = Some(record.zxid.to_string());
        report.first_time_ms.get_or_insert(txn.header.time_ms);
        report.last_time_ms = Some(txn.header.time_ms);
        *report.by_type.entry(kind).or_default() += 1;
        report.with_digest = report.with_digest.saturating_add(u64::from(txn.digest.is_some()));
        let Some(tell) = sink else { continue };
        if tell(&transaction(path, record.offset, record.zxid, kind, &txn)).is_break() {
            *sink = None;
        }
    }
    if let Some(LogEnd::Torn { offset, problem }) = reader.end() {
        report.torn_end = Some(format!("at byte {offset}: {problem}"));
    }
    Ok(())
}

fn transaction<'a>(file: &'a Path, offset: u64, zxid: Zxid, kind: &'static str, txn: &Txn<'_>) -> Transaction<'a> {
    let target = match &txn.body {
        Body::Multi { parts } => parts.iter().find_map(|part| path_of(&part.body)),
        body => path_of(body),
    };
    let data = match &txn.body {
        Body::Create(create) => create.data,
        Body::SetData { data, .. } => *data,
        _ => None,
    };
    let parts = match &txn.body {
        Body::Multi { parts } => Some(parts.len() as u64),
        _ => None,
    };
    Transaction {
        file,
        offset,
        zxid: zxid.to_string(),
        time_ms: txn.header.time_ms,
        session: format!("{:#x}", txn.header.session),
        kind,
        path: target.map(|path| display(path).to_string()),
        data_bytes: data.map(|data| data.len() as u64),
        parts,
        digest: txn.digest.is_some(),
    }
}

fn path_of<'a>(body: &Body<'a>) -> Option<&'a [u8]> {
    match body {
        Body::Create(create) => Some(create.path),
        Body::Delete { path, .. }
        | Body::SetData { path, .. }
        | Body::SetAcl { path, .. }
        | Body::Check { path, .. } => Some(path),
        Body::CreateSession { .. } | Body::CloseSession { .. } | Body::Error { .. } | Body::Multi { .. } => None,
    }
}

const fn kind_name(body: &Body<'_>) -> &'static str {
    match body {
        Body::CreateSession { .. } => "createSession",
        Body::CloseSession { .. } => "closeSession",
        Body::Error { .. } => "error",
        Body::Create(_) => "create",
        Body::Delete { reaped: false, .. } => "delete",
        Body::Delete { reaped: true, .. } => "deleteContainer",
        Body::SetData { reconfig: false, .. } => "setData",
        Body::SetData { reconfig: true, .. } => "reconfig",
        Body::SetAcl { .. } => "setACL",
        Body::Check { .. } => "check",
        Body::Multi { .. } => "multi",
    }
}
