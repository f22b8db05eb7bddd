//! The journal from the command line: what a command did is appended at its end, and read by `why`, `history` and
//! `status`. A journal that cannot be used is a warning, never a failure.

use std::collections::BTreeMap;

use anyhow::Result;
use heartbeat_core::acon::SourceKind;
use heartbeat_core::ids::JobId;
use heartbeat_core::journal::{Entry, Event, Failing, Filter, Journal as _, RowKey, failing};
use heartbeat_delta::DeltaJournal;

use super::Session;
use crate::engine::{Clock as _, Looked, SystemClock};
use crate::error_chain::chain;
use crate::paths;
use crate::scribe::{About, Scribe};

/// Entries that are read to find out what fails at present.
const RECENT: usize = 2_000;

/// The journal of the control table at a location.
pub(super) async fn of(session: &Session, control: &str) -> Result<DeltaJournal> {
    Ok(session.place(&paths::journal_of(control)).await?.journal()?)
}

/// Appends what a command has noted. Without notes nothing is read or written.
pub(super) async fn write(session: &Session, scribe: &Scribe, control: &str) {
    let (entries, _) = scribe.take();
    if entries.is_empty() {
        return;
    }
    let written = async { Ok::<_, anyhow::Error>(of(session, control).await?.append(&entries).await?) };
    if let Err(error) = written.await {
        let why = chain(error.as_ref());
        session
            .printer
            .note(&format!("warning: the journal was not written, everything else was done: {why}"));
    }
}

/// The newest entries that match, oldest first.
pub(super) async fn newest(
    session: &Session,
    control: &str,
    filter: &Filter,
    limit: usize,
) -> Result<Vec<Entry>> {
    let mut entries = of(session, control).await?.newest(filter, limit).await?;
    entries.reverse();
    Ok(entries)
}

/// Recent entries, oldest first; none where the journal cannot be read.
pub(super) async fn recent(session: &Session, control: &str) -> Vec<Entry> {
    read(session, control, RECENT).await
}

async fn read(session: &Session, control: &str, limit: usize) -> Vec<Entry> {
    newest(session, control, &Filter::default(), limit).await.unwrap_or_else(|error| {
        session.printer.note(&format!("warning: the journal cannot be read: {}", chain(error.as_ref())));
        Vec::new()
    })
}

/// Notes the rows that begin to fail, fail for another reason, or can be looked at again. What the journal says
/// already is not said again, so that a pass every minute does not fill it.
pub(super) async fn note_failures(
    session: &Session,
    scribe: &Scribe,
    control: &str,
    looked: &[(SourceKind, Vec<Looked>)],
) {
    let rows = || looked.iter().flat_map(|(_, rows)| rows);
    let mut entries = recent(session, control).await;
    let mut told = failing(&entries);
    let is_told_of = !told.is_empty() || rows().any(|row| row.error.is_some());
    if is_told_of && entries.len() == RECENT {
        // Each row may have begun to fail and recovered since.
        entries = read(session, control, RECENT + 2 * rows().count()).await;
        told = failing(&entries);
    }
    note_changes(scribe, &told, looked);
}

fn note_changes(scribe: &Scribe, told: &BTreeMap<RowKey, Failing>, looked: &[(SourceKind, Vec<Looked>)]) {
    let now = SystemClock.now();
    for (kind, row) in looked.iter().flat_map(|(kind, rows)| rows.iter().map(move |row| (*kind, row))) {
        let name = &row.row;
        let job = JobId::parse(&name.trigger_job_id).ok();
        let key = job.as_ref().map(|job| (name.sensor_id.clone(), job.to_string()));
        let known = key.and_then(|key| told.get(&key));
        let about =
            About { source: Some(kind), sensor_id: Some(&name.sensor_id), job: job.as_ref(), run_id: None };
        match (&row.error, known) {
            (Some(error), known) if known.is_none_or(|known| known.why != *error) => {
                scribe.note(now, Event::CheckFailed, about, error, None);
            }
            (None, Some(_)) => scribe.note(now, Event::CheckRecovered, about, "answers again", None),
            _ => {}
        }
    }
}
