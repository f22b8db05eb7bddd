//! `heartbeat trigger`.

use anyhow::Result;
use heartbeat_core::acon::{Acon, SourceKind};
use heartbeat_core::claim::Workplace;
use heartbeat_core::decide::{Decision, Selection, WaitReason};
use heartbeat_core::ids::JobId;
use serde_json::{Value, json};

use super::acons::Group;
use super::{Outcome, Session, acons, args, journal, output};
use crate::engine::{SystemClock, TriggerReport};
use crate::error_chain::chain;

/// Under which name the journal has what this does.
const COMMAND: &str = "heartbeat trigger";

pub(super) async fn run(session: &Session, args: &args::Trigger) -> Result<Outcome> {
    let loaded = acons::load(session, &args.acons.acon)?;
    let groups = acons::by_tables(session, loaded)?;
    if args.dry_run {
        return plan(session, args, &groups).await;
    }
    let mut report = TriggerReport::default();
    let mut good = true;
    for group in &groups {
        match start(session, args, group).await {
            Ok(pass) => {
                report.started.extend(pass.started);
                report.waiting.extend(pass.waiting);
                report.failed.extend(pass.failed);
                report.warnings.extend(pass.warnings);
            }
            Err(error) => {
                good = false;
                session.printer.error(&format!("error: {}", chain(error.as_ref())));
            }
        }
    }
    for warning in &report.warnings {
        session.printer.note(&format!("warning: {warning}"));
    }
    session.printer.data(&document(&report), || text(&report))?;
    Ok(if good && report.failed.is_empty() { Outcome::Good } else { Outcome::Partly })
}

async fn start(session: &Session, args: &args::Trigger, group: &Group) -> Result<TriggerReport> {
    let engine = session.engine(&group.control, &group.sensor, COMMAND).await?;
    let workspaces = acons::workspaces(&group.acons);
    let progress = session.progress("starting jobs");
    let workplace_of = |kind| workplace_of(&group.acons, kind);
    let pass = engine.trigger(&workspaces, &selection(args, group), &workplace_of, &SystemClock).await;
    progress.finish_and_clear();
    journal::write(session, engine.scribe(), &group.control).await;
    Ok(pass?)
}

fn selection(args: &args::Trigger, group: &Group) -> Selection {
    if args.all {
        return Selection::All;
    }
    Selection::Sources(group.acons.iter().map(|acon| acon.source.kind()).collect())
}

/// Workspace of the ACON for a source; with `--all` a source may have none, then the first ACON's.
fn workplace_of(acons: &[Acon], kind: SourceKind) -> Workplace {
    let of_kind = acons.iter().find(|acon| acon.source.kind() == kind);
    let acon = of_kind.unwrap_or(&acons[0]);
    Workplace { domain: acon.domain.clone(), pass_news: acon.pass_news }
}

fn waiting_document(waiting: &[(JobId, WaitReason)]) -> Value {
    let entry = |(job, reason): &(JobId, WaitReason)| json!({"job_id": job, "reason": reason.to_string(), "code": reason.code()});
    waiting.iter().map(entry).collect()
}

fn document(report: &TriggerReport) -> Value {
    json!({
        "started": report.started.iter()
            .map(|started| json!({"job_id": started.job, "run_id": started.run_id})).collect::<Vec<_>>(),
        "waiting": waiting_document(&report.waiting),
        "failed": report.failed.iter()
            .map(|failed| json!({"job_id": failed.job, "reason": failed.reason})).collect::<Vec<_>>(),
    })
}

fn text(report: &TriggerReport) -> String {
    let started = report.started.iter().map(|started| {
        vec![started.job.to_string(), "started".to_owned(), format!("run {}", started.run_id)]
    });
    let failed = report
        .failed
        .iter()
        .map(|failed| vec![failed.job.to_string(), "failed".to_owned(), failed.reason.clone()]);
    let summary = format!(
        "started {}, failed {}, waiting {}",
        report.started.len(),
        report.failed.len(),
        report.waiting.len()
    );
    listing(started.chain(failed).collect(), &report.waiting, &summary)
}

/// A table of jobs; jobs without news are counted, not listed.
fn listing(mut rows: Vec<Vec<String>>, waiting: &[(JobId, WaitReason)], summary: &str) -> String {
    let without_news = waiting.iter().filter(|(_, reason)| *reason == WaitReason::NoNews).count();
    let telling = waiting.iter().filter(|(_, reason)| *reason != WaitReason::NoNews);
    rows.extend(telling.map(|(job, reason)| vec![job.to_string(), "waits".to_owned(), reason.to_string()]));
    let quiet =
        if without_news > 0 { format!(", {without_news} of them without news") } else { String::new() };
    let table = if rows.is_empty() { String::new() } else { output::table(&["job", "what", "why"], &rows) };
    format!("{table}{summary}{quiet}\n")
}

async fn plan(session: &Session, args: &args::Trigger, groups: &[Group]) -> Result<Outcome> {
    let mut merged = Decision::default();
    for group in groups {
        let engine = session.engine(&group.control, &group.sensor, COMMAND).await?;
        let decision = engine.plan(&selection(args, group), &SystemClock).await?;
        merged.starts.extend(decision.starts);
        merged.adoptions.extend(decision.adoptions);
        merged.waiting.extend(decision.waiting);
    }
    session.printer.data(&plan_document(&merged), || plan_text(&merged))?;
    Ok(Outcome::Good)
}

fn plan_document(plan: &Decision) -> Value {
    json!({
        "dry_run": true,
        "starts": plan.starts.iter().map(|start| json!({
            "job_id": start.job, "rows": start.rows,
            "anchor": {"sensor_source": start.source.as_str(), "sensor_id": start.anchor},
        })).collect::<Vec<_>>(),
        "asks_again": plan.adoptions.iter().map(|adoption| json!({
            "job_id": adoption.job, "claimed_at": adoption.claim.at.to_string(), "in_doubt": adoption.in_doubt,
        })).collect::<Vec<_>>(),
        "waiting": waiting_document(&plan.waiting),
    })
}

fn plan_text(plan: &Decision) -> String {
    let starts = plan.starts.iter().map(|start| {
        let why = format!("newest news: {} `{}`", start.source, start.anchor);
        vec![start.job.to_string(), "would start".to_owned(), why]
    });
    let again = plan.adoptions.iter().map(|adoption| {
        let why = format!("claimed at {:.0}, its run is not known yet", adoption.claim.at);
        vec![adoption.job.to_string(), "would ask again".to_owned(), why]
    });
    let would = plan.starts.len() + plan.adoptions.len();
    let summary = format!("would start {would}, waiting {}", plan.waiting.len());
    listing(starts.chain(again).collect(), &plan.waiting, &summary)
}
