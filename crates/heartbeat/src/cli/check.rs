//! `heartbeat check`.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use heartbeat_core::acon::Acon;
use heartbeat_core::detect::Mode;
use heartbeat_core::position::Manifest;
use serde_json::{Value, json};

use super::{DeltaEngine, Outcome, Session, acons, args, journal, output};
use crate::engine::{CheckReport, Looked, SystemClock};
use crate::error_chain::chain;
use crate::secrets::Secrets;
use crate::sources::{self, kafka::Clusters, trigger_file::Beside};

pub(super) async fn run(session: &Session, args: &args::Check) -> Result<Outcome> {
    let mode = if args.baseline { Mode::Baseline } else { Mode::Detect };
    let loaded = acons::load(session, &args.acons.acon)?;
    let mut report = CheckReport::default();
    let mut good = true;
    let clusters = Clusters::default();
    for group in acons::by_tables(session, loaded)? {
        let engine = session.engine(&group.control, &group.sensor, "heartbeat check").await?;
        let mut looked = Vec::new();
        for acon in &group.acons {
            match look(session, &engine, acon, &clusters, mode, args).await {
                Ok(pass) => {
                    looked.push((acon.source.kind(), pass.looked_at));
                    report.warnings.extend(pass.warnings);
                }
                Err(error) => {
                    good = false;
                    session.printer.error(&format!("error: {}", chain(error.as_ref())));
                }
            }
        }
        journal::note_failures(session, engine.scribe(), &group.control, &looked).await;
        journal::write(session, engine.scribe(), &group.control).await;
        report.looked_at.extend(looked.into_iter().flat_map(|(_, rows)| rows));
    }
    for warning in &report.warnings {
        session.printer.note(&format!("warning: {warning}"));
    }
    session.printer.data(&document(&report), || text(&report, mode))?;
    Ok(if good && report.errors() == 0 { Outcome::Good } else { Outcome::Partly })
}

async fn look(
    session: &Session,
    engine: &DeltaEngine,
    acon: &Acon,
    clusters: &Clusters,
    mode: Mode,
    args: &args::Check,
) -> Result<CheckReport> {
    let kind = acon.source.kind();
    let progress = session.progress(format!("looking at {kind}"));
    let secrets = Arc::new(Secrets::of(&acon.domain, acon.token.as_ref()));
    let runs = Arc::new(Beside(engine.blobs().clone()));
    let source = sources::build(&acon.source, clusters, &secrets, runs).patient();
    let patience = Duration::from_secs(args.deadline);
    let pass = engine.check(kind, &source, mode, patience, &SystemClock).await;
    progress.finish_and_clear();
    Ok(pass?)
}

fn document(report: &CheckReport) -> Value {
    let row = |row: &Looked| {
        json!({
            "sensor_id": row.row.sensor_id,
            "trigger_job_id": row.row.trigger_job_id,
            "news": row.news.is_some(),
            "manifest": row.news,
            "error": row.error,
        })
    };
    json!({"looked_at": report.looked_at.iter().map(row).collect::<Vec<_>>()})
}

fn text(report: &CheckReport, mode: Mode) -> String {
    let told: Vec<Vec<String>> = report
        .looked_at
        .iter()
        .filter(|row| row.news.is_some() || row.error.is_some())
        .map(|row| {
            let what = match (&row.error, &row.news) {
                (Some(error), _) => format!("error: {error}"),
                (None, Some(news)) => describe(news),
                (None, None) => String::new(),
            };
            vec![row.row.sensor_id.clone(), row.row.trigger_job_id.clone(), what]
        })
        .collect();
    let looked = report.looked_at.len();
    let verb = if mode == Mode::Baseline { "rows now start from what is there" } else { "rows looked at" };
    let summary = format!("{looked} {verb}: {} with news, {} with errors\n", report.news(), report.errors());
    if told.is_empty() { summary } else { output::table(&["sensor_id", "job", "news"], &told) + &summary }
}

/// News in a few words.
pub(super) fn describe(news: &Manifest) -> String {
    match news {
        Manifest::Offsets(ranges) => {
            let offsets: i64 = ranges.iter().map(|range| range.to - range.from).sum();
            format!("{offsets} new offsets in {} partition(s)", ranges.len())
        }
        Manifest::Topics(topics) => {
            let offsets: i64 = topics.values().flatten().map(|range| range.to - range.from).sum();
            format!("{offsets} new offsets in {} topic(s)", topics.len())
        }
        Manifest::Files(files) => match files.as_slice() {
            [file] => format!("new file {}", file.path),
            [file, ..] => format!("{} new files, first {}", files.len(), file.path),
            [] => String::new(),
        },
        Manifest::ManyFiles(many) => format!("{} new files", many.count),
    }
}
