//! `heartbeat why`: one job, from both tables and the journal.

mod next;
mod text;

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use heartbeat_core::decide::{Adoption, Decision, Start, WaitReason, decide_job};
use heartbeat_core::ids::JobId;
use heartbeat_core::journal::{Entry, Event, Failing, Filter, RowKey, failing};
use heartbeat_core::project::project;
use heartbeat_core::row::{ControlRow, SensorRow};
use heartbeat_core::sensor::{Dependency, RowProblem, Sensor, Status, View};
use heartbeat_core::state::{Claim, ClaimState, Release, StoredManifest};
use heartbeat_core::table::Table as _;
use jiff::Timestamp;
use serde::Serialize;

use self::next::Next;
use super::{Outcome, Session, args, check, journal, near};
use crate::engine::{Clock as _, SystemClock};
use crate::error_chain::chain;

/// Entries of the job in which a failure, a pause or the end of a run is looked for.
const OF_THE_JOB: usize = 100;

pub(super) async fn run(session: &Session, args: &args::Why) -> Result<Outcome> {
    let control_at = session.locate(&args.tables.control_table)?;
    let sensor_at = session.locate(&args.tables.sensor_table)?;
    let control = session.place(&control_at).await?.table::<ControlRow>()?;
    let sensor = session.place(&sensor_at).await?.table::<SensorRow>()?;
    let filter = Filter { job: Some(args.job.trim().to_owned()), ..Filter::default() };
    let (control, sensor, of_the_job, recent) = tokio::join!(
        control.load(),
        sensor.load(),
        journal::newest(session, &control_at, &filter, args.limit.max(OF_THE_JOB)),
        journal::recent(session, &control_at),
    );
    let now = SystemClock.now();
    let view = repaired(View::new(control?.rows, sensor?.rows), now);
    let job = match JobId::parse(&args.job) {
        Ok(job) if view.states_of_job(&job).next().is_some() => job,
        _ => match near::job(&args.job, &view.control) {
            Ok(job) => job,
            Err(unknown) => bail!("{unknown}"),
        },
    };
    let of_the_job = of_the_job.unwrap_or_else(|error| {
        session.printer.note(&format!("warning: the journal cannot be read: {}", chain(error.as_ref())));
        Vec::new()
    });
    let story = Story { view: &view, job: &job, of_the_job: &of_the_job, recent: &recent, now };
    let answer = story.answer(&args.tables, args.limit);
    if session.printer.is_json() {
        session.printer.text(&format!("{}\n", serde_json::to_string(&answer)?))?;
    } else {
        session.printer.text(&text::text(&answer))?;
    }
    Ok(Outcome::Good)
}

/// The tables as the next pass sees them: what a crash has left undone is done.
fn repaired(view: View, now: Timestamp) -> View {
    let changes = project(&view, now);
    if changes.is_empty() {
        return view;
    }
    View::new(changes.apply(&view.control), view.sensor)
}

/// What is printed.
#[derive(Debug, Serialize)]
struct Answer<'a> {
    job_id: &'a JobId,
    job_name: Option<&'a str>,
    waits: Waits,
    next: Next,
    rows: Vec<Row<'a>>,
    claim: Option<ShownClaim<'a>>,
    journal: &'a [Entry],
}

/// Why the job is not started, or that it is about to be.
#[derive(Debug, Serialize)]
struct Waits {
    code: &'static str,
    reason: String,
    since: Option<Timestamp>,
}

#[derive(Debug, Serialize)]
struct Row<'a> {
    sensor_source: Option<&'a str>,
    sensor_id: Option<&'a str>,
    dependency: &'static str,
    job_state: Option<&'a str>,
    status: Option<&'a str>,
    since: Option<Timestamp>,
    /// Detections that no run has accounted for.
    news: u64,
    manifest: Option<String>,
    problem: Option<String>,
    failing: Option<ShownFailing>,
}

#[derive(Debug, Serialize)]
struct ShownFailing {
    since: Timestamp,
    error: String,
}

#[derive(Debug, Serialize)]
struct ShownClaim<'a> {
    token: &'a str,
    attempt: u32,
    claimed_at: Timestamp,
    domain: String,
    state: &'static str,
    run_id: Option<i64>,
    reason: Option<&'a str>,
    rows: &'a BTreeMap<String, u64>,
}

/// What the answer is made from.
struct Story<'a> {
    view: &'a View,
    job: &'a JobId,
    /// Entries of the job, oldest first.
    of_the_job: &'a [Entry],
    /// Entries of all jobs, oldest first.
    recent: &'a [Entry],
    now: Timestamp,
}

impl<'a> Story<'a> {
    fn answer(&self, tables: &args::Tables, limit: usize) -> Answer<'a> {
        let failing = self.failing();
        let sensors: Vec<&Sensor> = self.view.of_job(self.job).collect();
        let decision = decide_job(self.view, self.job, self.now);
        let claim = self.claim();
        let mut rows: Vec<Row<'a>> = sensors.iter().map(|sensor| self.row(sensor, &failing)).collect();
        rows.extend(self.unusable());
        let waits = self.waits(&decision, &sensors, claim);
        let next = next::next(&decision, &rows, claim, self.job, tables);
        let names = rows_of(self.view, self.job).filter_map(|row| row.trigger_job_name.as_deref());
        Answer {
            job_id: self.job,
            job_name: names.max(),
            waits,
            next,
            rows,
            claim: claim.map(shown_claim),
            journal: &self.of_the_job[self.of_the_job.len().saturating_sub(limit)..],
        }
    }

    /// Rows that fail, from what is known of the job and, for daemons that began since, of all jobs.
    fn failing(&self) -> BTreeMap<RowKey, Failing> {
        let mut entries: Vec<&Entry> = self.of_the_job.iter().chain(self.recent).collect();
        entries.sort_by_key(|entry| entry.at);
        failing(entries)
    }

    /// The open claim; otherwise the newest.
    fn claim(&self) -> Option<&'a Claim> {
        let claims = self.view.states_of_job(self.job).filter_map(|state| state.claim.as_ref());
        self.view.open_claim(self.job).or_else(|| claims.max_by_key(|claim| claim.at))
    }

    fn waits(&self, decision: &Decision, sensors: &[&Sensor], claim: Option<&Claim>) -> Waits {
        let changed = |wanted: fn(&Sensor) -> bool| {
            sensors.iter().filter(move |row| wanted(row)).filter_map(|row| row.status_changed)
        };
        if let Some(Start { source, .. }) = decision.starts.first() {
            let refused = claim.is_some_and(|claim| matches!(claim.state, ClaimState::Refused { .. }));
            let refused = if refused { "; the last start was refused, see below" } else { "" };
            let reason = format!("ready: its newest news is of {source}{refused}");
            return Waits { code: "ready", reason, since: changed(Sensor::is_new).max() };
        }
        if let Some(Adoption { claim, .. }) = decision.adoptions.first() {
            let reason = "its start was claimed, and whether there is a run is not known".to_owned();
            return Waits { code: "run_unknown", reason, since: Some(claim.at) };
        }
        let Some((_, reason)) = decision.waiting.first().filter(|_| !sensors.is_empty() || claim.is_some())
        else {
            let reason = "none of its rows can be used".to_owned();
            return Waits { code: "row_problems", reason, since: None };
        };
        let since = match reason {
            WaitReason::NoNews => changed(|_| true).max(),
            WaitReason::HardRows(_) => changed(Sensor::is_new).min(),
            WaitReason::Running { .. } => claim.map(|claim| claim.at),
            WaitReason::RunFailed { run_id, .. } => self.last(Event::RunState, Some(*run_id)),
            WaitReason::NotBefore { .. } => claim.and_then(|claim| match &claim.state {
                ClaimState::Released { why: Release::Skipped { at, .. }, .. } => Some(*at),
                _ => None,
            }),
            WaitReason::RunningElsewhere => changed(|row| row.status == Status::InProgress).min(),
            WaitReason::Paused => self.last(Event::Paused, None),
            WaitReason::AnchorElsewhere { .. } | WaitReason::Starting { .. } | WaitReason::RowProblems(_) => {
                None
            }
        };
        Waits { code: reason.code(), reason: reason.to_string(), since }
    }

    /// When the journal has an event of the job, or of a run of it, last.
    fn last(&self, event: Event, run_id: Option<i64>) -> Option<Timestamp> {
        let mut entries = self.of_the_job.iter().rev();
        let found = entries
            .find(|entry| entry.event == event.as_str() && (run_id.is_none() || entry.run_id == run_id));
        found.map(|entry| entry.at)
    }

    fn row(&self, sensor: &Sensor, failing: &BTreeMap<RowKey, Failing>) -> Row<'a> {
        let control = &self.view.control[sensor.control];
        let news = sensor.state.news - sensor.state.news_done;
        let manifest = match &sensor.state.manifest {
            Some(manifest) if news > 0 => Some(described(manifest)),
            None if news > 0 || sensor.is_new() => Some("marked by somebody else".to_owned()),
            _ => None,
        };
        let key = (sensor.id.clone(), self.job.to_string());
        let failing = failing.get(&key).filter(|_| sensor.is_watched());
        Row {
            dependency: dependency(sensor.dependency),
            news,
            manifest,
            problem: sensor.problem.as_ref().map(RowProblem::to_string),
            failing: failing.map(|row| ShownFailing { since: row.since, error: row.why.clone() }),
            ..Row::of(control)
        }
    }

    /// Rows that name the job and are no sensors.
    fn unusable(&self) -> impl Iterator<Item = Row<'a>> {
        let (view, job) = (self.view, self.job);
        let unusable = view.unusable.iter().filter(move |(index, _)| is_of(&view.control[*index], job));
        unusable.map(|(index, problem)| Row {
            problem: Some(problem.to_string()),
            ..Row::of(&view.control[*index])
        })
    }
}

impl<'a> Row<'a> {
    fn of(control: &'a ControlRow) -> Self {
        Self {
            sensor_source: control.sensor_source.as_deref(),
            sensor_id: control.sensor_id.as_deref(),
            dependency: dependency(Dependency::of(control.dependency_flag.as_deref())),
            job_state: control.job_state.as_deref(),
            status: control.status.as_deref(),
            since: control.status_change_timestamp,
            news: 0,
            manifest: None,
            problem: None,
            failing: None,
        }
    }

    fn is_paused(&self) -> bool {
        self.job_state != Some("UNPAUSED")
    }
}

fn rows_of<'a>(view: &'a View, job: &JobId) -> impl Iterator<Item = &'a ControlRow> {
    view.control.iter().filter(move |row| is_of(row, job))
}

fn is_of(row: &ControlRow, job: &JobId) -> bool {
    row.trigger_job_id.as_deref().is_some_and(|text| text.trim() == job.as_str())
}

fn dependency(dependency: Dependency) -> &'static str {
    match dependency {
        Dependency::Hard => "hard",
        Dependency::Soft => "soft",
    }
}

fn described(manifest: &StoredManifest) -> String {
    match manifest.inline() {
        Ok(manifest) => check::describe(&manifest),
        Err(digest) => format!("listed beside the sensor table as {digest}"),
    }
}

fn shown_claim(claim: &Claim) -> ShownClaim<'_> {
    let (state, reason) = match &claim.state {
        ClaimState::Claimed { trouble } => ("starting", trouble.as_deref()),
        ClaimState::Accepted { .. } => ("running", None),
        ClaimState::Failed { reason, .. } => ("failed", Some(reason.as_str())),
        ClaimState::Refused { reason } => ("refused", Some(reason.as_str())),
        ClaimState::Released { why: Release::Skipped { reason, .. }, .. } => {
            ("released", Some(reason.as_str()))
        }
        ClaimState::Released { why: Release::Retriggered, .. } => ("released", Some("retriggered by hand")),
        ClaimState::Done { .. } => ("done", None),
    };
    ShownClaim {
        token: &claim.token,
        attempt: claim.attempt,
        claimed_at: claim.at,
        domain: claim.domain.to_string(),
        state,
        run_id: claim.run_id(),
        reason,
        rows: &claim.rows,
    }
}
