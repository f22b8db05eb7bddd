//! `heartbeat validate`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use futures::future::{join_all, join3};
use heartbeat_core::acon::{Acon, Finding, SourceConfig, SourceKind};
use heartbeat_core::detect::{Mode, questions};
use heartbeat_core::row::{ControlRow, SensorRow};
use heartbeat_core::sensor::View;
use heartbeat_core::source::{Ask, Asset, Since};
use heartbeat_core::table::Table;
use heartbeat_delta::DeltaRecord;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::acons::{AconFile, read_all};
use super::{Outcome, Session, args};
use crate::error_chain::chain;
use crate::jobs::{JobsClient, RunFilter, RunPhase, Settings};
use crate::paths::journal_of;
use crate::secrets::Secrets;
use crate::sources::kafka::Clusters;
use crate::sources::trigger_file::NoRuns;
use crate::{secrets, sources};

/// How long the sources may take to answer `--connect`.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) async fn run(session: &Session, args: &args::Validate) -> Result<Outcome> {
    let mut files = Vec::new();
    let mut lines = String::new();
    let mut valid = true;
    for AconFile { path, reading } in read_all(&args.acons.acon) {
        let (errors, warnings) = match reading {
            Err(error) => {
                (vec![Finding { path: "(document)".to_owned(), problem: format!("{error:#}") }], Vec::new())
            }
            Ok(reading) => {
                let mut warnings = reading.warnings;
                let errors = match reading.result {
                    Err(errors) => errors,
                    Ok(acon) if args.connect => connect(session, &acon, &mut warnings).await,
                    Ok(_) => Vec::new(),
                };
                (errors, warnings)
            }
        };
        let name = path.display();
        for error in &errors {
            lines.push_str(&format!("error: {name}: {error}\n"));
        }
        for warning in &warnings {
            lines.push_str(&format!("warning: {name}: {warning}\n"));
        }
        if errors.is_empty() {
            lines.push_str(&format!("{name}: valid\n"));
        }
        valid &= errors.is_empty();
        files.push(json!({
            "file": path, "valid": errors.is_empty(), "errors": document(&errors), "warnings": document(&warnings),
        }));
    }
    session.printer.data(&json!({"valid": valid, "files": files}), || lines)?;
    Ok(if valid { Outcome::Good } else { Outcome::Partly })
}

fn document(findings: &[Finding]) -> Value {
    findings.iter().map(|finding| json!({"path": finding.path, "problem": finding.problem})).collect()
}

/// Everything that keeps a valid ACON from working, by key.
async fn connect(session: &Session, acon: &Acon, warnings: &mut Vec<Finding>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let control =
        open::<ControlRow>(session, "heartbeat_sensor_db_table", &acon.control_table, &mut findings).await;
    let sensor =
        open::<SensorRow>(session, "lakehouse_engine_sensor_db_table", &acon.sensor_table, &mut findings)
            .await;
    if findings.is_empty() {
        probe_journal(session, &acon.control_table, warnings).await;
    }
    if let Err(error) = ask_workspace(acon).await {
        findings.push(Finding { path: "domain, token".to_owned(), problem: chain(error.as_ref()) });
    }
    let rows = View::new(control.unwrap_or_default(), sensor.unwrap_or_default());
    findings.extend(look_at_sources(acon, &rows, warnings).await);
    findings
}

/// The rows of a table that can be read and written.
async fn open<R: DeltaRecord>(
    session: &Session,
    key: &str,
    name: &str,
    findings: &mut Vec<Finding>,
) -> Option<Vec<R>> {
    let mut note = |problem: String| findings.push(Finding { path: key.to_owned(), problem });
    let place = async { session.place(&session.locate(name)?).await };
    let place = place.await.map_err(|error| note(chain(error.as_ref()))).ok()?;
    let problems = place.probe().await;
    if !problems.is_empty() {
        for problem in &problems {
            note(problem.to_string());
        }
        return None;
    }
    let opened = async {
        let table = place.table::<R>()?;
        let rows = table.load().await?.rows;
        table.ensure_writable().await?;
        anyhow::Ok(rows)
    };
    opened.await.map_err(|error| note(chain(error.as_ref()))).ok()
}

/// What keeps the journal from being written, which holds up nothing else.
async fn probe_journal(session: &Session, control: &str, warnings: &mut Vec<Finding>) {
    let Ok(control) = session.locate(control) else { return };
    let Ok(place) = session.place(&journal_of(&control)).await else { return };
    let problems = place.probe().await;
    warnings.extend(problems.iter().map(|problem| Finding {
        path: "heartbeat_sensor_db_table".to_owned(),
        problem: format!("its journal cannot be written: {problem}"),
    }));
}

async fn ask_workspace(acon: &Acon) -> Result<()> {
    let credentials = secrets::credentials(&acon.domain, acon.token.as_ref())?;
    let client = JobsClient::new(&acon.domain, &credentials, Settings::default())?;
    let filter = RunFilter { job_id: None, phase: RunPhase::Active, start_time_from: Some(Timestamp::now()) };
    client.list_runs(&filter).await?;
    Ok(())
}

async fn look_at_sources(acon: &Acon, view: &View, warnings: &mut Vec<Finding>) -> Vec<Finding> {
    let kind: SourceKind = acon.source.kind();
    let problems = view.sensors.iter().filter(|row| row.source == kind).filter_map(|row| {
        Some(Finding { path: format!("sensor `{}`", row.id), problem: row.problem.as_ref()?.to_string() })
    });
    let mut findings: Vec<Finding> = problems.collect();
    let asked = questions(view, kind, Mode::Baseline);
    let asks: Arc<[Ask]> =
        asked.iter().map(|question| Ask { asset: question.asset.clone(), since: Since::Now }).collect();
    let secrets = Arc::new(Secrets::of(&acon.domain, acon.token.as_ref()));
    // Nothing is remembered: what large folders hold is not read.
    let source = sources::build(&acon.source, &Clusters::default(), &secrets, Arc::new(NoRuns));
    let without_rows = products_without_rows(acon, &asks);
    let deadline = Instant::now() + PATIENCE;
    let reached = without_rows.iter().map(|product| source.reach(product, deadline));
    let (answers, reached, queue) =
        join3(source.probe(&asks, deadline), join_all(reached), source.reach_queue(deadline)).await;
    let finding = |problem| Finding { path: "trigger_file_options.queue_url".to_owned(), problem };
    match queue {
        None => {}
        Some(Ok(remarks)) => warnings.extend(remarks.into_iter().map(finding)),
        Some(Err(error)) => findings.push(finding(chain(&error))),
    }
    let ending = source.ending_certificates().into_iter();
    warnings.extend(ending.map(|problem| Finding { path: "kafka_configs".to_owned(), problem }));
    for (question, answer) in asked.iter().zip(answers) {
        let path = || format!("sensor `{}`", view.sensors[question.sensor].id);
        match answer {
            Ok(None) => {}
            Ok(Some(problem)) => warnings.push(Finding { path: path(), problem }),
            Err(error) => findings.push(Finding { path: path(), problem: chain(&error) }),
        }
    }
    for (product, reached) in without_rows.into_iter().zip(reached) {
        let path = || match &acon.source {
            SourceConfig::Kafka(_) => format!("kafka_configs.{product}"),
            SourceConfig::TriggerFile(_) => "base_trigger_file_location".to_owned(),
        };
        match reached {
            Ok(None) => {}
            Ok(Some(problem)) => warnings.push(Finding { path: path(), problem }),
            Err(error) => findings.push(Finding { path: path(), problem: chain(&error) }),
        }
    }
    findings
}

/// Nobody asks about them yet, but they were configured to be reached.
fn products_without_rows<'a>(acon: &'a Acon, asks: &[Ask]) -> Vec<&'a str> {
    let SourceConfig::Kafka(products) = &acon.source else {
        // The base itself, where no folder stands for it.
        return if asks.is_empty() { vec![""] } else { Vec::new() };
    };
    let has_rows = |name: &str| {
        asks.iter().any(|ask| matches!(&ask.asset, Asset::Topic { product, .. } if product == name))
    };
    products.keys().map(String::as_str).filter(|name| !has_rows(name)).collect()
}
