//! One decision and start pass: decide, write the claims (K), call run-now (R), write the outcomes (K2), mark the
//! rows (C2).

use std::collections::BTreeMap;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use heartbeat_core::acon::SourceKind;
use heartbeat_core::claim::{StartOutcome, TableIds, claim, claims_to_settle, finish, new_claim, record};
use heartbeat_core::decide::{Adoption, Decision, Selection, Start, WaitReason, decide, is_in_doubt};
use heartbeat_core::domain::Domain;
use heartbeat_core::ids::JobId;
use heartbeat_core::jobs::{Jobs, RunState};
use heartbeat_core::row::{ControlRow, SensorRow};
use heartbeat_core::state::{Claim, ClaimState};
use heartbeat_core::table::{Blobs, Table};
use jiff::{SignedDuration, Timestamp};

use super::{Clock, Engine, EngineError, Loaded, REPAIR, ROUNDS, name_of};
use crate::fail_point;

/// What a pass did.
#[derive(Debug, Default)]
pub struct TriggerReport {
    /// Jobs that have a run now.
    pub started: Vec<Started>,
    /// Jobs that were not started, with the reason.
    pub waiting: Vec<(JobId, WaitReason)>,
    /// Jobs whose start failed; they stay NEW_EVENT_AVAILABLE.
    pub failed: Vec<Failed>,
    /// What people should know although it is no error.
    pub warnings: Vec<String>,
}

/// A job that has a run now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Started {
    /// The job.
    pub job: JobId,
    /// Its run.
    pub run_id: i64,
}

/// A job whose start failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// The job.
    pub job: JobId,
    /// Why, and what happens next.
    pub reason: String,
}

/// A call to make.
struct Call {
    job: JobId,
    claim: Claim,
    origin: Origin,
}

/// Where the claim of a call comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// Made in this pass: nobody has posted its token before.
    Fresh,
    /// Found in the table: its token may have started a run.
    Adopted,
    /// Found in the table, and older than a token is trusted.
    InDoubt,
}

/// Clocks of two machines may differ by this much when runs are looked for by their start.
const CLOCK_SKEW: SignedDuration = SignedDuration::from_mins(5);

/// How far back a run is looked for when the clock has gone back since the claim.
const UNKNOWN_AGE: SignedDuration = SignedDuration::from_hours(24);

impl<C, S, B> Engine<C, S, B>
where
    C: Table<ControlRow>,
    S: Table<SensorRow>,
    B: Blobs,
{
    /// What a pass would do now. Nothing is written or called.
    pub async fn plan(&self, selection: &Selection, clock: &impl Clock) -> Result<Decision, EngineError> {
        let loaded = self.load().await?;
        let control =
            heartbeat_core::project::project(&loaded.view(), clock.now()).apply(&loaded.control.rows);
        let view = heartbeat_core::sensor::View::new(&control, &loaded.sensor.rows);
        Ok(decide(&view, selection, clock.now()))
    }

    /// Decides and starts. `domain_of` names the workspace for jobs whose anchor is of a source.
    pub async fn trigger(
        &self,
        jobs: &impl Jobs,
        selection: &Selection,
        domain_of: &(impl Fn(SourceKind) -> Domain + Sync),
        clock: &impl Clock,
    ) -> Result<TriggerReport, EngineError> {
        let mut report = TriggerReport::default();
        let (loaded, calls) = self.claim_starts(jobs, selection, domain_of, clock, &mut report).await?;
        if calls.is_empty() {
            return Ok(report);
        }
        let outcomes = call_all(jobs, &calls, clock).await;
        fail_point::reach("trigger:after_r");
        let loaded = self.record_outcomes(loaded, &outcomes).await?;
        fail_point::reach("trigger:after_k2");
        self.project(loaded, clock, "C2", ["trigger:after_k2", "trigger:after_c2"]).await?;
        for Call { job, claim, .. } in calls {
            match outcomes.get(&claim.token) {
                Some(StartOutcome::Accepted(run_id)) => report.started.push(Started { job, run_id: *run_id }),
                Some(StartOutcome::Refused(reason)) => {
                    report.failed.push(Failed { job, reason: reason.clone() });
                }
                Some(StartOutcome::Unknown(why)) => report.failed.push(Failed {
                    job,
                    reason: format!("{why}; the next pass asks again with the same token"),
                }),
                None => {}
            }
        }
        Ok(report)
    }

    /// Settles, repairs, decides and claims, until the claims are written against the version decided on.
    async fn claim_starts(
        &self,
        jobs: &impl Jobs,
        selection: &Selection,
        domain_of: &(impl Fn(SourceKind) -> Domain + Sync),
        clock: &impl Clock,
        report: &mut TriggerReport,
    ) -> Result<(Loaded<C::Backing, S::Backing>, Vec<Call>), EngineError> {
        for _ in 0..ROUNDS {
            let loaded = self.load().await?;
            let Some(loaded) = self.settle(loaded, jobs, clock, report).await? else { continue };
            let loaded = self.project(loaded, clock, "repair", REPAIR).await?;
            let now = clock.now();
            let view = loaded.view();
            let Decision { starts, adoptions, waiting } = decide(&view, selection, now);
            let ids =
                TableIds { control: loaded.control.table_id.clone(), sensor: loaded.sensor.table_id.clone() };
            let claims: Vec<(JobId, Claim)> = starts
                .iter()
                .map(|start: &Start| {
                    (start.job.clone(), new_claim(&ids, start, domain_of(start.source), now))
                })
                .collect();
            let changes = claim(&view, &claims, now);
            if !changes.is_empty() {
                fail_point::reach("trigger:before_k");
            }
            let Some(loaded) = self.commit_sensor(loaded, changes, "K").await? else { continue };
            if !claims.is_empty() {
                fail_point::reach("trigger:after_k");
            }
            report.waiting = waiting;
            let fresh = claims.into_iter().map(|(job, claim)| Call { job, claim, origin: Origin::Fresh });
            let adopted = adoptions.into_iter().map(|Adoption { job, claim, in_doubt }| {
                let origin = if in_doubt { Origin::InDoubt } else { Origin::Adopted };
                Call { job, claim, origin }
            });
            let calls = fresh.chain(adopted).collect();
            return Ok((loaded, calls));
        }
        Err(EngineError::Contended { table: "sensor" })
    }

    /// D1 for claims beside which somebody else has marked rows as completed, when their runs say so too.
    async fn settle(
        &self,
        loaded: Loaded<C::Backing, S::Backing>,
        jobs: &impl Jobs,
        clock: &impl Clock,
        report: &mut TriggerReport,
    ) -> Result<Option<Loaded<C::Backing, S::Backing>>, EngineError> {
        let view = loaded.view();
        let mut changes = heartbeat_core::table::Changes::default();
        for (job, open) in claims_to_settle(&view) {
            let Some(run_id) = open.run_id() else { continue };
            match jobs.run(&open.domain, run_id).await.map(|run| run.state) {
                Ok(RunState::Succeeded) => {
                    let done = ClaimState::Done { run_id: Some(run_id) };
                    let finished = finish(&view, job, &open.token, &done, None, clock.now());
                    changes.update.extend(finished.update);
                    changes.insert.extend(finished.insert);
                }
                Ok(RunState::Active) => {}
                Ok(RunState::Failed(why) | RunState::Skipped(why)) => report.warnings.push(format!(
                    "rows of {} were changed by others, but its run {run_id} did not succeed: {why}",
                    name_of(job)
                )),
                Err(no_answer) => {
                    report
                        .warnings
                        .push(format!("run {run_id} of {} cannot be asked: {no_answer}", name_of(job)));
                }
            }
        }
        if changes.is_empty() {
            return Ok(Some(loaded));
        }
        let loaded = self.commit_sensor(loaded, changes, "D1").await?;
        fail_point::reach("settle:after_d1");
        Ok(loaded)
    }

    /// K2. The runs exist already: nothing but a broken store keeps their ids from being written.
    async fn record_outcomes(
        &self,
        mut loaded: Loaded<C::Backing, S::Backing>,
        outcomes: &BTreeMap<String, StartOutcome>,
    ) -> Result<Loaded<C::Backing, S::Backing>, EngineError> {
        for _ in 0..ROUNDS {
            let changes = record(&loaded.view(), outcomes);
            match self.commit_sensor(loaded, changes, "K2").await? {
                Some(done) => return Ok(done),
                None => loaded = self.load().await?,
            }
        }
        Err(EngineError::Contended { table: "sensor" })
    }
}

/// R for all claims at once; the client keeps to the API's limit. Outcomes by token.
async fn call_all(jobs: &impl Jobs, calls: &[Call], clock: &impl Clock) -> BTreeMap<String, StartOutcome> {
    let mut pending: FuturesUnordered<_> = calls
        .iter()
        .map(|call| async move { (call.claim.token.clone(), call_one(jobs, call, clock).await) })
        .collect();
    let mut outcomes = BTreeMap::new();
    while let Some((token, outcome)) = pending.next().await {
        outcomes.insert(token, outcome);
        fail_point::reach("trigger:after_first_r");
    }
    outcomes
}

async fn call_one(jobs: &impl Jobs, call: &Call, clock: &impl Clock) -> StartOutcome {
    let Call { job, claim, origin } = call;
    // A process that was stopped for long since the claim was read is in doubt as well.
    let now = clock.now();
    match origin {
        Origin::Fresh | Origin::Adopted if is_in_doubt(claim, now) => {
            resolve_doubt(jobs, job, claim, now).await
        }
        Origin::Fresh => jobs.run_now(&claim.domain, job, &claim.token).await,
        // A refusal now says nothing about the call that was made before: the claim stays open.
        Origin::Adopted => match jobs.run_now(&claim.domain, job, &claim.token).await {
            StartOutcome::Refused(why) => {
                StartOutcome::Unknown(format!("{why}; an earlier call may have started it all the same"))
            }
            outcome => outcome,
        },
        Origin::InDoubt => resolve_doubt(jobs, job, claim, now).await,
    }
}

/// Looks for the run of a claim whose token may have been forgotten.
async fn resolve_doubt(jobs: &impl Jobs, job: &JobId, claim: &Claim, now: Timestamp) -> StartOutcome {
    // A claim from the future: the clock has gone back, nobody knows how old it is.
    let margin = if claim.at > now { UNKNOWN_AGE } else { CLOCK_SKEW };
    let since = claim.at.min(now).checked_sub(margin).unwrap_or(Timestamp::MIN);
    let runs = match jobs.runs_since(&claim.domain, job, since).await {
        Ok(runs) => runs,
        Err(no_answer) => {
            return StartOutcome::Unknown(format!("whether a run exists is in doubt: {no_answer}"));
        }
    };
    let Some(first) = runs.first() else {
        return jobs.run_now(&claim.domain, job, &claim.token).await;
    };
    // Any run that began after the claim has read the claimed news; which of them the token started is not told.
    // A run within the clocks' skew before it may not have: that is for people to decide.
    let after = runs.iter().filter(|run| run.started.is_some_and(|started| started >= claim.at));
    match after.min_by_key(|run| run.started) {
        Some(run) => StartOutcome::Accepted(run.run_id),
        None => StartOutcome::Unknown(format!(
            "held: run {} began about when the start was claimed and may be it; look at the run, then \
             `heartbeat complete --job-id {job}` accounts for the news",
            first.run_id
        )),
    }
}
