//! `stat`: everything about one znode.

use engine::reference::SnapshotPath;
use serde::Serialize;

use crate::commands::selection::{self, ScopeArgs};
use crate::context::Context;
use crate::decode::{self, Decoded};
use crate::exit::Exit;
use crate::znode::{self, ZnodeJson};
use crate::{opening, output};

/// Shows a znode's stat, type and ACL.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Examples:
  zooark stat latest:/brokers/ids/1
  zooark stat --decode latest:/brokers/ids/1")]
pub struct Args {
    /// SNAPSHOT:/path
    #[arg(value_parser = selection::snapshot_path)]
    target: SnapshotPath,

    /// Also the value, where it is JSON or text
    #[arg(long)]
    decode: bool,

    #[command(flatten)]
    scope: ScopeArgs,
}

#[derive(Debug, Serialize)]
struct Document {
    #[serde(flatten)]
    node: ZnodeJson,
    #[serde(skip_serializing_if = "Option::is_none")]
    decoded: Option<Decoded>,
}

/// Runs it.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<Exit> {
    let repo = opening::repository(context)?;
    let (snapshot, path) = selection::resolve(&repo, &args.target, &args.scope.scope(context), context)?;
    let node = repo.tree(&snapshot.manifest)?.node(&path)?.ok_or_else(|| selection::missing(&snapshot, &path))?;
    let out = &context.output;
    let decoded = args.decode.then(|| decode::decode(&node.shown_path(), node.data.as_deref()));
    if out.json {
        out.document(&Document { node: znode::json(&node, false), decoded })?;
        return Ok(Exit::Done);
    }
    let stat = &node.stat;
    out.line(format_args!("path      {}", node.shown_path()))?;
    match node.ttl_ms() {
        Some(ttl) => out.line(format_args!("type      ttl, {ttl} ms"))?,
        None => out.line(format_args!("type      {}", node.kind().name()))?,
    }
    if node.stat.kind().is_ephemeral() {
        out.line(format_args!("session   {:#x}", stat.ephemeral_owner))?;
    }
    match &node.data {
        Some(data) => out.line(format_args!("data      {} bytes", output::count(data.len() as u64)))?,
        None => out.line("data      null")?,
    }
    out.line(format_args!("version   {} (data), {} (ACL)", stat.version, stat.aversion))?;
    out.line(format_args!("cversion  {} (the next sequential child's number)", stat.cversion))?;
    out.line(format_args!("created   {} at {}", output::time_of_millis(stat.ctime), stat.czxid))?;
    out.line(format_args!("modified  {} at {}", output::time_of_millis(stat.mtime), stat.mzxid))?;
    out.line(format_args!("children  changed at {}", stat.pzxid))?;
    out.line(format_args!("acl       {}", znode::acl_text(&node)))?;
    if let Some(Decoded { what, text }) = decoded {
        out.line(format_args!("value     {what}"))?;
        if let Some(text) = text {
            out.line(format_args!("\n{text}"))?;
        }
    }
    Ok(Exit::Done)
}
