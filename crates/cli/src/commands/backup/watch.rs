//! `backup --watch`: a line, or a JSON object, for each snapshot.

use std::time::Duration;

use engine::backup::{self, BackupRequest, Ended, Round, WatchPlan};
use engine::report::{BackupSummary, Consistency, Method};
use engine::{EngineError, ErrorKind, Repo};
use serde_json::json;

use crate::context::Context;
use crate::exit::{self, Exit};
use crate::output::{self, Message, Output, OutputError};

/// Runs until told to stop.
pub fn run(repo: &Repo, request: &BackupRequest, plan: WatchPlan, context: &Context) -> anyhow::Result<Exit> {
    let output = &context.output;
    let mut told = |round: Round| {
        context.monitor.clear();
        show(output, round).map_err(|error| EngineError::with(ErrorKind::Failed, "telling of a snapshot", error))
    };
    let ended = backup::watch(repo, request, plan, &context.monitor, &mut told)?;
    context.monitor.clear();
    Ok(match ended {
        Ended::Asked => Exit::Done,
        Ended::Suspect => Exit::Refused,
    })
}

fn show(output: &Output, round: Round) -> Result<(), OutputError> {
    match round {
        Round::Taken(summary) if output.json => {
            if summary.snapshot_id.is_some() {
                output.object_now(&Message { message_type: "snapshot", body: &*summary })?;
            }
        }
        Round::Taken(summary) => {
            for note in &summary.notes {
                output.say(format_args!("note: {}", output::plain(note)));
            }
            for path in summary.incomplete_paths.iter().take(20) {
                output.warn(format_args!("could not be read whole: {}", output::plain(path)));
            }
            if let Some(id) = &summary.short_id {
                output.line(line(id, &summary))?;
            }
            if let Some(why) = &summary.suspect {
                output.warn(format_args!("SUSPECT: {}; watching ends here", output::plain(why)));
            }
        }
        Round::Failed(error) => {
            let error = anyhow::Error::from(error);
            let (text, causes) = (error.to_string(), exit::causes(&error));
            if output.json {
                output.object_now(&Message {
                    message_type: "error",
                    body: &json!({ "message": text, "causes": causes }),
                })?;
            } else {
                let because = causes.iter().map(|cause| format!(": {cause}"));
                let text = [text].into_iter().chain(because).collect::<String>();
                output.warn(format_args!("{}; it is tried again", output::plain(&text)));
            }
        }
    }
    output.flush()
}

fn line(id: &str, summary: &BackupSummary) -> String {
    let state = match summary.consistency {
        Consistency::Exact => format!("exact at {}", summary.zxid_high),
        Consistency::Fuzzy => format!("fuzzy {} to {}", summary.zxid_low, summary.zxid_high),
    };
    let method = if summary.method == Method::Watch { "from watches" } else { "scanned" };
    let acls = summary.acl_zxid.as_deref().unwrap_or_default();
    format!(
        "{} snapshot {id}: {} nodes, {} created, {} changed, {} deleted, {method}, {state}, ACLs of {acls}, {}, {}",
        output::time(summary.time),
        output::count(summary.nodes),
        output::count(summary.nodes_created),
        output::count(summary.nodes_changed),
        output::count(summary.nodes_deleted),
        output::bytes(summary.uploaded_bytes),
        output::duration(Duration::from_millis(summary.duration_ms))
    )
}
