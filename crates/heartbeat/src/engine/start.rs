//! Starting jobs: decide, write the claims (K), call run-now (R), write the outcomes (K2), mark the rows (C2).

use std::collections::{BTreeMap, BTreeSet};

use heartbeat_core::acon::SourceKind;
use heartbeat_core::claim::{StartOutcome, TableIds, Workplace, claim, new_claim, record};
use heartbeat_core::decide::{Adoption, Decision, Holds, Selection, Start, WaitReason, decide, is_in_doubt};
use heartbeat_core::follow::{earlier_runs, retain_later};
use heartbeat_core::ids::JobId;
use heartbeat_core::jobs::{Jobs, Order, Run, RunState};
use heartbeat_core::news;
use heartbeat_core::position::{Manifest, ManyFiles};
use heartbeat_core::row::{ControlRow, SensorRow};
use heartbeat_core::sensor::View;
use heartbeat_core::state::{Claim, StoredManifest};
use heartbeat_core::table::{Blobs, Table};
use jiff::{SignedDuration, Timestamp};

use super::{Clock, Engine, EngineError, Held, LoadedBy, REPAIR, ROUNDS};
use crate::fail_point;

/// A call to make: its claim is written down.
#[derive(Debug, Clone)]
pub struct Call {
    /// The job.
    pub job: JobId,
    /// Source of the newest news that the claim covers.
    pub source: Option<SourceKind>,
    /// When that was detected; `None` where others have marked the rows.
    pub detected_at: Option<Timestamp>,
    /// When the oldest of it arrived, where the source tells.
    pub arrived_at: Option<Timestamp>,
    pub(super) claim: Claim,
    origin: Origin,
    /// What the run is told.
    news: Option<String>,
    /// Runs that have accounted for earlier news of the job, as far as its rows remember.
    earlier_runs: BTreeSet<i64>,
}

/// What was decided and written down.
#[derive(Debug, Default)]
pub struct Claimed {
    /// Calls to make, oldest news first.
    pub calls: Vec<Call>,
    /// Every other job, with the reason.
    pub waiting: Vec<(JobId, WaitReason)>,
}

/// Outcomes of calls, by token.
pub type Outcomes = BTreeMap<String, StartOutcome>;

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
pub(super) const CLOCK_SKEW: SignedDuration = SignedDuration::from_mins(5);

/// How far back a run is looked for when the clock has gone back since the claim.
const UNKNOWN_AGE: SignedDuration = SignedDuration::from_hours(24);

impl Call {
    /// Whether nothing was tried for this news before: what was is no measure of how quick a start is.
    pub fn is_first(&self) -> bool {
        self.claim.attempt == 1 && self.origin == Origin::Fresh
    }

    /// Token of the claim, by which its outcome is told.
    pub fn token(&self) -> &str {
        &self.claim.token
    }
}

impl<C, S, B> Engine<C, S, B>
where
    C: Table<ControlRow>,
    S: Table<SensorRow>,
    B: Blobs,
{
    /// What a pass would do now. Nothing is written or called.
    pub async fn plan(&self, selection: &Selection, clock: &impl Clock) -> Result<Decision, EngineError> {
        let (view, _) = self.view().await?;
        let now = clock.now();
        let control = heartbeat_core::project::project(&view, now).apply(&view.control);
        let view = View::new(control, std::sync::Arc::clone(&view.sensor));
        Ok(decide(&view, selection, &Holds::default(), now))
    }

    /// Repairs, decides and claims, until the claims are written against the version decided on. `workplace_of` names
    /// the workspace for jobs whose anchor is of a source.
    pub async fn claim(
        &self,
        selection: &Selection,
        holds: &Holds,
        workplace_of: &(impl Fn(SourceKind) -> Workplace + Sync),
        clock: &impl Clock,
    ) -> Result<Claimed, EngineError> {
        let mut held = self.newest.lock().await;
        for _ in 0..ROUNDS {
            let loaded = self.load(&mut held).await?;
            let loaded = self.project(&mut held, loaded, clock, "repair", REPAIR).await?;
            let now = clock.now();
            let Decision { starts, adoptions, waiting } = decide(&loaded.view, selection, holds, now);
            let ids =
                TableIds { control: loaded.control.table_id.clone(), sensor: loaded.sensor.table_id.clone() };
            let claims: Vec<(JobId, Claim)> = starts
                .iter()
                .map(|start: &Start| {
                    (start.job.clone(), new_claim(&ids, start, workplace_of(start.source), now))
                })
                .collect();
            let changes = claim(&loaded.view, &claims, &adoptions, now);
            if !changes.is_empty() {
                fail_point::reach("trigger:before_k");
            }
            let Some(loaded) = self.commit_sensor(loaded, changes, "K").await? else { continue };
            if !claims.is_empty() {
                fail_point::reach("trigger:after_k");
            }
            self.note_claims(&loaded.view, &claims, now);
            let fresh = claims.into_iter().map(|(job, claim)| (job, claim, Origin::Fresh));
            let adopted = adoptions.into_iter().map(|Adoption { job, claim, in_doubt }| {
                (job, claim, if in_doubt { Origin::InDoubt } else { Origin::Adopted })
            });
            let mut calls = Vec::new();
            for (job, claim, origin) in fresh.chain(adopted) {
                calls.push(self.call_of(&loaded.view, job, claim, origin).await);
            }
            // Whoever waits longest goes first where the API's limit makes some wait.
            calls.sort_by_key(|call| call.detected_at);
            *held = Some(loaded);
            return Ok(Claimed { calls, waiting });
        }
        Err(EngineError::Contended { table: "sensor" })
    }

    async fn call_of(&self, view: &View, job: JobId, claim: Claim, origin: Origin) -> Call {
        let covered = view.of_job(&job).filter(|sensor| claim.rows.contains_key(sensor.row_id.as_str()));
        let newest = covered
            .filter_map(|row| Some((view.sensor[row.sensor?].status_change_timestamp?, row)))
            .max_by_key(|(detected, _)| *detected);
        let arrived_at = newest.and_then(|(_, row)| arrival(row.state.manifest.as_ref()?));
        let (detected_at, source) = newest.map(|(detected, row)| (detected, row.source)).unzip();
        let news = if claim.pass_news { Some(self.news_of(view, &claim).await) } else { None };
        let earlier_runs = earlier_runs(view, &job);
        Call { job, source, detected_at, arrived_at, claim, origin, news, earlier_runs }
    }

    /// What the run of a claim is told. News that cannot be read from beside the table is left out of it: the start
    /// does not depend on it.
    async fn news_of(&self, view: &View, claim: &Claim) -> String {
        let mut fetched: BTreeMap<String, Manifest> = BTreeMap::new();
        for digest in news::digests(view, claim) {
            let stored = self.blobs.get(digest).await.ok().flatten();
            if let Some(manifest) = stored.and_then(|bytes| serde_json::from_slice(&bytes).ok()) {
                fetched.insert(digest.to_owned(), manifest);
            }
        }
        news::parameter(&news::of_claim(view, claim, &fetched))
    }

    /// K2 and C2. The runs exist already: nothing but a broken store keeps their ids from being written.
    pub async fn record(&self, outcomes: &Outcomes, clock: &impl Clock) -> Result<(), EngineError> {
        let mut held = self.newest.lock().await;
        let loaded = self.record_outcomes(&mut held, outcomes).await?;
        fail_point::reach("trigger:after_k2");
        let points = ["trigger:after_k2", "trigger:after_c2"];
        *held = Some(self.project(&mut held, loaded, clock, "C2", points).await?);
        Ok(())
    }

    async fn record_outcomes(
        &self,
        held: &mut Held<'_, C, S>,
        outcomes: &Outcomes,
    ) -> Result<LoadedBy<C, S>, EngineError> {
        for _ in 0..ROUNDS {
            let loaded = self.load(held).await?;
            let changes = record(&loaded.view, outcomes);
            if let Some(done) = self.commit_sensor(loaded, changes, "K2").await? {
                return Ok(done);
            }
        }
        Err(EngineError::Contended { table: "sensor" })
    }

    /// R: makes a call, and notes how it went.
    pub async fn call(&self, jobs: &impl Jobs, call: &Call, clock: &impl Clock) -> StartOutcome {
        let outcome = call_once(jobs, call, clock).await;
        self.note_outcome(call, &outcome, clock.now());
        outcome
    }
}

/// When the oldest of the news arrived, where the source tells.
fn arrival(manifest: &StoredManifest) -> Option<Timestamp> {
    match manifest {
        StoredManifest::Files(files) | StoredManifest::ManyFiles(ManyFiles { first: files, .. }) => {
            files.iter().filter_map(|file| file.modified).min()
        }
        StoredManifest::Offsets(_) | StoredManifest::Topics(_) | StoredManifest::Sha256(_) => None,
    }
}

async fn call_once(jobs: &impl Jobs, call: &Call, clock: &impl Clock) -> StartOutcome {
    // A process that was stopped for long since the claim was read is in doubt as well.
    let now = clock.now();
    match call.origin {
        Origin::Fresh | Origin::Adopted if is_in_doubt(&call.claim, now) => {
            resolve_doubt(jobs, call, now).await
        }
        Origin::Fresh => jobs.run_now(order(call)).await,
        // A refusal now says nothing about the call that was made before: the claim stays open.
        Origin::Adopted => match jobs.run_now(order(call)).await {
            StartOutcome::Refused(why) => {
                StartOutcome::Unknown(format!("{why}; an earlier call may have started it all the same"))
            }
            outcome => outcome,
        },
        Origin::InDoubt => resolve_doubt(jobs, call, now).await,
    }
}

fn order(call: &Call) -> Order<'_> {
    let Call { job, claim, news, .. } = call;
    Order { domain: &claim.domain, job, token: &claim.token, news: news.as_deref() }
}

/// Looks for the run of a claim whose token may have been forgotten.
async fn resolve_doubt(jobs: &impl Jobs, call: &Call, now: Timestamp) -> StartOutcome {
    let Call { job, claim, .. } = call;
    // A claim from the future: the clock has gone back, nobody knows how old it is.
    let margin = if claim.at > now { UNKNOWN_AGE } else { CLOCK_SKEW };
    let since = claim.at.min(now).checked_sub(margin).unwrap_or(Timestamp::MIN);
    let mut runs = match jobs.runs_since(&claim.domain, job, since).await {
        Ok(runs) => runs,
        Err(no_answer) => {
            return StartOutcome::Unknown(format!("whether a run exists is in doubt: {no_answer}"));
        }
    };
    retain_later(&mut runs, &call.earlier_runs);
    let never_ran = |run: &Run| matches!(run.state, RunState::Skipped(_));
    // Any run that began after the claim has read the claimed news; which of them the token started is not told. One
    // that never ran may be the token's all the same: it is followed like any other, and the news stays.
    let after = runs.iter().filter(|run| run.started.is_some_and(|started| started >= claim.at));
    if let Some(run) = after.min_by_key(|run| (never_ran(run), run.started)) {
        return StartOutcome::Accepted(run.run_id);
    }
    // A run within the clocks' skew before it may have read them or not: that is for people to decide.
    match runs.iter().find(|run| !never_ran(run)) {
        None => jobs.run_now(order(call)).await,
        Some(run) => StartOutcome::Unknown(format!(
            "held: run {} began about when the start was claimed and may be it; look at the run, then \
             `heartbeat complete --job-id {job}` accounts for the news",
            run.run_id
        )),
    }
}
