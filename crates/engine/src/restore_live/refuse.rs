//! Why a plan is not carried out. Each reason says what to do about it.

use super::LiveRequest;
use super::area::Area;
use super::found::Found;
use super::plan::{Plan, Said};
use super::probe::Abilities;
use crate::report::Consistency;
use crate::snapshots;

/// Nodes named in a text.
const SHOWN: usize = 5;
/// More than this share of the nodes is deleted only by `--yes-really`.
const MOST_DELETES: f64 = 0.1;

/// All reasons; none where the plan may be carried out.
pub fn refusals(
    request: &LiveRequest,
    area: &Area,
    found: &Found,
    plan: &Plan,
    abilities: Abilities,
    contradictions: &[String],
) -> Vec<String> {
    let mut why = Vec::new();
    if !request.yes_really {
        why.extend(contradictions.iter().map(|reason| {
            format!("the target may be another ensemble: {reason}; add --yes-really if it is the right one")
        }));
    }
    if !plan.conflicts.is_empty() {
        why.push(format!(
            "{} nodes conflict, and nothing was restored: {}; choose --conflict skip, overwrite or newer",
            plan.conflicts.len(),
            some(&plan.conflicts)
        ));
    }
    if !plan.too_large.is_empty() {
        why.push(format!(
            "{} nodes are too large for the target: {}; raise jute.maxbuffer on all its servers and say so with \
             --jute-maxbuffer, or leave them out with --exclude",
            plan.too_large.len(),
            some(&plan.too_large)
        ));
    }
    if !abilities.containers {
        why.push(format!(
            "the target knows no container nodes (3.5.1 and later do), and {} are to be restored: leave them out with \
             --exclude",
            plan.counts.containers
        ));
    }
    if !abilities.ttls {
        why.push(format!(
            "the target takes no TTL nodes (3.5.3 and later with zookeeper.extendedTypesEnabled=true do), and {} are to \
             be restored: enable them on all its servers, or leave them out with --exclude",
            plan.counts.ttls
        ));
    }
    if !abilities.own_acl && !request.yes_really && plan.steps.iter().any(super::plan::Step::is_closed) {
        why.push(
            "without credentials, nodes with an ACL would be open to everybody until the end of the restore: give \
             --zk-auth-file, or add --yes-really"
                .to_owned(),
        );
    }
    for root in area.roots() {
        let missing = zk_format::key::parent(&root).filter(|parent| {
            let comes = area.source_of(parent).is_some_and(|source| area.part(&source) != super::area::Part::Outside);
            found.node(parent).is_none() && !comes
        });
        why.extend(missing.map(|parent| {
            let shown = zk_format::path::display(parent);
            format!("the target has no {shown}, where the restore goes: create it first")
        }));
    }
    if request.delete {
        deletes(request, area, found, plan, &mut why);
    }
    why
}

fn deletes(request: &LiveRequest, area: &Area, found: &Found, plan: &Plan, why: &mut Vec<String>) {
    let info = snapshots::info(&request.snapshot);
    let doubt = [
        (info.incomplete, "incomplete"),
        (info.suspect.is_some(), "suspect"),
        (info.consistency == Consistency::Fuzzy, "fuzzy"),
    ];
    for (_, what) in doubt.iter().filter(|(holds, _)| *holds) {
        why.push(format!("--delete is refused: the snapshot is {what}, and what it lacks may only be missing from it"));
    }
    let stored = &request.snapshot.manifest.body.fields.source.chroot;
    if *stored != request.target.chroot && !area.moves() {
        why.push(format!(
            "--delete is refused: the snapshot's paths are below {:?}, the target's below {:?}; say which belong together \
             with --remap",
            slash(stored),
            slash(&request.target.chroot)
        ));
    }
    let ruled = found.nodes().filter(|node| area.rules_over(node.path)).count();
    #[expect(clippy::cast_precision_loss, reason = "a share of counts far below 2^52")]
    let share = plan.deletes.len() as f64 / ruled.max(1) as f64;
    if share > MOST_DELETES && !request.yes_really {
        why.push(format!(
            "--delete would remove {} of {ruled} nodes; add --yes-really if that is right",
            plan.deletes.len()
        ));
    }
}

fn slash(chroot: &str) -> &str {
    if chroot.is_empty() { "/" } else { chroot }
}

fn some(nodes: &[Said]) -> String {
    let shown: Vec<String> = nodes.iter().take(SHOWN).map(|said| format!("{} ({})", said.path, said.why)).collect();
    let more = if nodes.len() > SHOWN { ", …" } else { "" };
    format!("{}{more}", shown.join(", "))
}
