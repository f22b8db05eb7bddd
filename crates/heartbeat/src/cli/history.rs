//! `heartbeat history`.

use anyhow::{Context, Result};
use heartbeat_core::ids::JobId;
use heartbeat_core::journal::{Entry, Filter};
use heartbeat_core::row::ControlRow;
use heartbeat_core::table::Table as _;
use heartbeat_core::time_span;
use jiff::Timestamp;
use serde::Serialize;

use super::{Outcome, Session, args, journal, near, output};
use crate::engine::{Clock as _, SystemClock};

pub(super) async fn run(session: &Session, args: &args::History) -> Result<Outcome> {
    let location = session.locate(&args.control_table)?;
    let job = args.job_id.as_deref().map(JobId::parse).transpose().context("--job-id")?;
    let since = args.since.as_deref().map(|text| since(text, SystemClock.now())).transpose()?;
    let filter =
        Filter { job: job.as_ref().map(ToString::to_string), sensor_id: args.sensor_id.clone(), since };
    let entries = journal::newest(session, &location, &filter, args.limit).await?;
    if entries.is_empty() {
        say_why_empty(session, &location, job.as_ref()).await?;
    }
    if session.printer.is_json() {
        session.printer.text(&format!("{}\n", serde_json::to_string(&Document { entries: &entries })?))?;
    } else if !entries.is_empty() {
        session.printer.text(&table(&entries))?;
    }
    Ok(Outcome::Good)
}

#[derive(Serialize)]
struct Document<'a> {
    entries: &'a [Entry],
}

/// A table that is not there is an error; otherwise there is just nothing to show.
async fn say_why_empty(session: &Session, location: &str, job: Option<&JobId>) -> Result<()> {
    let control = session.place(location).await?.table::<ControlRow>()?.load().await?;
    let unknown = job.and_then(|job| near::job(job.as_str(), &control.rows).err());
    let note = unknown.unwrap_or_else(|| "no entry in the journal matches".to_owned());
    session.printer.note(&note);
    Ok(())
}

/// Entries as a table, in their order.
pub(super) fn table(entries: &[Entry]) -> String {
    let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
    let rows: Vec<Vec<String>> = entries
        .iter()
        .map(|entry| {
            vec![
                format!("{:.0}", entry.at),
                entry.event.clone(),
                shown(&entry.sensor_id),
                shown(&entry.trigger_job_id),
                entry.message.clone(),
            ]
        })
        .collect();
    output::table(&["at", "event", "sensor_id", "job", "what"], &rows)
}

/// A point in time: given as such, or as a length of time before now.
fn since(text: &str, now: Timestamp) -> Result<Timestamp> {
    if let Ok(at) = text.trim().parse::<Timestamp>() {
        return Ok(at);
    }
    let ago = time_span::parse(text).and_then(|length| now.checked_sub(length).ok());
    ago.with_context(|| {
        format!("--since: `{text}` is neither a length of time (2h, 7d) nor a time (2026-01-02T03:04:05Z)")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_is_a_time_or_a_length_of_time() {
        let now: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        let told = |text| since(text, now).unwrap().to_string();
        assert_eq!(told("2h"), "2026-01-02T01:04:05Z");
        assert_eq!(told("7d"), "2025-12-26T03:04:05Z");
        assert_eq!(told("2026-01-01T00:00:00+01:00"), "2025-12-31T23:00:00Z");
        assert!(since("yesterday", now).unwrap_err().to_string().contains("`yesterday`"));
    }
}
