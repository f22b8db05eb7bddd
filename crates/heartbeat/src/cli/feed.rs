//! `heartbeat feed`.

use anyhow::{Context, Result, bail};
use heartbeat_core::feed::{ColumnChange, Diff, Feed, FeedError, Key, plan, read};
use heartbeat_core::ids::JobId;
use heartbeat_core::journal::Event;
use heartbeat_core::location::Location;
use heartbeat_core::row::ControlRow;
use heartbeat_core::table::{Commit, Table};
use heartbeat_delta::DeltaTable;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Outcome, Session, args, journal};
use crate::engine::{Clock as _, SystemClock};
use crate::fail_point;
use crate::paths::local_path;
use crate::scribe::{About, Scribe};

pub(super) async fn run(session: &Session, args: &args::Feed) -> Result<Outcome> {
    let feed = load(session, &args.csv).await?;
    if feed.rows.is_empty() && !args.allow_empty {
        bail!(
            "{}: has no rows, which would delete every row of the table; --allow-empty if that is meant",
            args.csv
        );
    }
    let location = session.locate(&args.control_table)?;
    let table = session.place(&location).await?.table::<ControlRow>()?;
    let diff = apply(session, &table, &feed, args.dry_run).await?;
    if !args.dry_run {
        let scribe = Scribe::new("heartbeat feed");
        note(&scribe, &diff, &args.csv, SystemClock.now());
        journal::write(session, &scribe, &location).await;
    }
    session.printer.data(&document(&diff, &feed, args.dry_run), || text(&diff, args.dry_run))?;
    Ok(Outcome::Good)
}

/// Reads and validates the CSV; every mistake is printed with file, line and column.
async fn load(session: &Session, csv: &str) -> Result<Feed> {
    let bytes = match Location::parse(csv) {
        Ok(Location::Local(_)) => {
            std::fs::read(local_path(csv)).with_context(|| format!("{csv}: cannot be read"))?
        }
        _ => session.stores.file(csv).await.context("--csv")?.into(),
    };
    let text = String::from_utf8(bytes).with_context(|| format!("{csv}: is not UTF-8; save it as UTF-8"))?;
    match read(&text) {
        Ok(feed) => {
            for warning in &feed.warnings {
                session.printer.note(&format!("warning: {csv}: {warning}"));
            }
            Ok(feed)
        }
        Err(FeedError::Rows(mistakes)) => {
            for mistake in &mistakes {
                session.printer.error(&format!("error: {csv}: {mistake}"));
            }
            bail!("{csv}: {}", FeedError::Rows(mistakes));
        }
        Err(error) => Err(error).with_context(|| csv.to_owned()),
    }
}

async fn apply(
    session: &Session,
    table: &DeltaTable<ControlRow>,
    feed: &Feed,
    dry_run: bool,
) -> Result<Diff> {
    let progress = session.progress("feeding the control table");
    loop {
        let base = table.load().await?;
        let (changes, diff) = plan(feed, &base.rows);
        if dry_run || changes.is_empty() {
            progress.finish_and_clear();
            return Ok(diff);
        }
        fail_point::reach("feed:before_commit");
        // Another writer's commit in between is a progress of its own; the plan is made again on its rows.
        if let Commit::Done(_) = table.commit(base, changes, "feed").await? {
            fail_point::reach("feed:after_commit");
            progress.finish_and_clear();
            return Ok(diff);
        }
    }
}

/// Rows of one feed that the journal names; the summary counts all of them.
const MOST_NOTED: usize = 1_000;

/// Notes a feed that has changed something, and its rows.
fn note(scribe: &Scribe, diff: &Diff, csv: &str, at: Timestamp) {
    let (inserted, updated, deleted) = (diff.inserted.len(), diff.updated.len(), diff.deleted.len());
    if inserted + updated + deleted == 0 {
        return;
    }
    let counts = json!({"csv": csv, "inserted": inserted, "updated": updated, "deleted": deleted});
    let summary = format!("fed from {csv}: {inserted} inserted, {updated} updated, {deleted} deleted");
    scribe.note(at, Event::Fed, About::default(), summary, Some(counts.to_string()));
    let plain = |keys: &[Key], what: &str| -> Vec<(Key, String)> {
        keys.iter().map(|key| (key.clone(), what.to_owned())).collect()
    };
    let updates = diff.updated.iter().map(|(key, changes)| (key.clone(), described(changes)));
    let rows = plain(&diff.deleted, "deleted").into_iter().chain(plain(&diff.inserted, "inserted"));
    for ((sensor_id, job), what) in rows.chain(updates).take(MOST_NOTED) {
        let job = JobId::parse(&job).ok();
        let about = About { sensor_id: Some(&sensor_id), job: job.as_ref(), ..About::default() };
        scribe.note(at, Event::Fed, about, what, None);
    }
}

/// What changes in a row, in one line.
fn described(changes: &[ColumnChange]) -> String {
    let shown =
        |value: &Option<String>| value.as_deref().map_or("null".to_owned(), |text| format!("`{text}`"));
    let changes: Vec<String> = changes
        .iter()
        .map(|change| format!("{} {} -> {}", change.column, shown(&change.from), shown(&change.to)))
        .collect();
    changes.join(", ")
}

fn document(diff: &Diff, feed: &Feed, dry_run: bool) -> Value {
    let key = |(sensor_id, job): &Key| json!({"sensor_id": sensor_id, "trigger_job_id": job});
    let change =
        |change: &ColumnChange| json!({"column": change.column, "from": change.from, "to": change.to});
    json!({
        "dry_run": dry_run,
        "inserted": diff.inserted.iter().map(key).collect::<Vec<_>>(),
        "updated": diff.updated.iter().map(|((sensor_id, job), changes)| json!({
            "sensor_id": sensor_id, "trigger_job_id": job, "changes": changes.iter().map(change).collect::<Vec<_>>(),
        })).collect::<Vec<_>>(),
        "deleted": diff.deleted.iter().map(key).collect::<Vec<_>>(),
        "unchanged": diff.unchanged,
        "warnings": feed.warnings.iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
}

fn text(diff: &Diff, dry_run: bool) -> String {
    let mut text = String::new();
    let mut line = |mark: char, (sensor_id, job): &Key, more: &str| {
        text.push_str(&format!("{mark} {sensor_id} (job {job}){more}\n"));
    };
    for key in &diff.inserted {
        line('+', key, "");
    }
    for (key, changes) in &diff.updated {
        line('~', key, &format!(": {}", described(changes)));
    }
    for key in &diff.deleted {
        line('-', key, "");
    }
    let (inserted, updated, deleted) = (diff.inserted.len(), diff.updated.len(), diff.deleted.len());
    let verb = if dry_run { "would be" } else { "were" };
    let unchanged = diff.unchanged;
    text + &format!(
        "{inserted} rows {verb} inserted, {updated} updated, {deleted} deleted; {unchanged} stay as they are\n"
    )
}
