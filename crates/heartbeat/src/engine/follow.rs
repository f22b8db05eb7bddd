//! Following runs to their end: ask about them, write what they tell (D1), mark the rows (D2).

use std::collections::BTreeMap;

use futures::{FutureExt as _, StreamExt as _, stream};
use heartbeat_core::domain::Domain;
use heartbeat_core::follow::{Followed, Told, followed, later_success, tell};
use heartbeat_core::ids::JobId;
use heartbeat_core::jobs::{Jobs, NoAnswer, Run, RunState};
use heartbeat_core::row::{ControlRow, SensorRow};
use heartbeat_core::sensor::View;
use heartbeat_core::state::Claim;
use heartbeat_core::table::{Blobs, Table};

use super::start::CLOCK_SKEW;
use super::{Clock, Engine, EngineError, ROUNDS};
use crate::fail_point;

/// Which of the open runs are asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// All.
    All,
    /// Those that go on as far as is known.
    Going,
    /// Those that did not succeed, and whose jobs rest.
    Resting,
    /// Those beside which somebody else has marked rows as completed.
    Marked,
}

/// What was found out.
#[derive(Debug, Default)]
pub struct FollowReport {
    /// Runs that go on.
    pub going: usize,
    /// Runs that did not succeed, and whose jobs rest.
    pub resting: usize,
    /// Runs whose news is accounted for now.
    pub succeeded: usize,
    /// Runs that were found to have failed, or to have been deleted.
    pub failed: usize,
    /// Runs that never ran.
    pub skipped: usize,
    /// What people should know: runs that could not be asked about, states that are not known.
    pub warnings: Vec<String>,
}

/// Lists of runs that are asked for at a time; the client keeps to the API's limit.
const LISTS_AT_A_TIME: usize = 8;

impl<C, S, B> Engine<C, S, B>
where
    C: Table<ControlRow>,
    S: Table<SensorRow>,
    B: Blobs,
{
    /// Asks the workspaces about open runs, and writes what they tell.
    pub async fn follow(
        &self,
        jobs: &impl Jobs,
        which: Which,
        clock: &impl Clock,
    ) -> Result<FollowReport, EngineError> {
        let mut report = FollowReport::default();
        let (view, _) = self.view().await?;
        let asked: Vec<Followed> = followed(&view).into_iter().filter(|run| is_of(run, which)).collect();
        drop(view);
        if asked.is_empty() {
            return Ok(report);
        }
        let told = ask(jobs, &asked, &mut report).await;
        self.count(&asked, &told, which, &mut report, clock);
        let mut held = self.newest.lock().await;
        for _ in 0..ROUNDS {
            let loaded = self.load(&mut held).await?;
            let now = clock.now();
            let changes = tell(&loaded.view, &told, now);
            if changes.is_empty() {
                *held = Some(loaded);
                return Ok(report);
            }
            let before = claims_of(&loaded.view, &told);
            let Some(loaded) = self.commit_sensor(loaded, changes, "D1").await? else { continue };
            fail_point::reach("settle:after_d1");
            self.note_followed(&before, &loaded.view, &told, now);
            *held = Some(self.project(&mut held, loaded, clock, "D2", super::REPAIR).await?);
            return Ok(report);
        }
        Err(EngineError::Contended { table: "sensor" })
    }

    fn count(
        &self,
        asked: &[Followed],
        told: &BTreeMap<String, Told>,
        which: Which,
        report: &mut FollowReport,
        clock: &impl Clock,
    ) {
        for run in asked {
            let Some(Told { run: answer, success }) = told.get(&run.token) else { continue };
            match (answer.as_ref().map(|answer| &answer.state), success) {
                (_, Some(_)) | (Some(RunState::Succeeded), _) => report.succeeded += 1,
                (Some(RunState::Active), _) => report.going += 1,
                (Some(RunState::Unknown(state)), _) => {
                    report.going += 1;
                    self.note_unknown_state(run, state, clock.now());
                }
                (Some(RunState::Skipped(_)), _) => report.skipped += 1,
                (Some(RunState::Failed(why)), _) if which == Which::Marked => {
                    report.failed += 1;
                    report.warnings.push(format!(
                        "rows of job {} were changed by others, but its run {} did not succeed: {why}",
                        run.job, run.run_id
                    ));
                }
                (Some(RunState::Failed(_)) | None, _) if run.rests => report.resting += 1,
                (Some(RunState::Failed(_)) | None, _) => report.failed += 1,
            }
        }
    }
}

/// The open claims that were asked about, to be noted once what they became is committed.
fn claims_of(view: &View, told: &BTreeMap<String, Told>) -> Vec<(JobId, Claim)> {
    let jobs = view.jobs.keys().chain(view.orphan_jobs());
    let open = jobs.filter_map(|job| Some((job, view.open_claim(job)?)));
    open.filter(|(_, claim)| told.contains_key(&claim.token))
        .map(|(job, claim)| (job.clone(), claim.clone()))
        .collect()
}

fn is_of(run: &Followed, which: Which) -> bool {
    match which {
        Which::All => true,
        Which::Going => !run.rests,
        Which::Resting => run.rests,
        Which::Marked => run.marked,
    }
}

/// What the workspaces say, by token. A run that cannot be asked about is a warning, and absent.
async fn ask(jobs: &impl Jobs, asked: &[Followed], report: &mut FollowReport) -> BTreeMap<String, Told> {
    let mut by_domain: BTreeMap<&Domain, Vec<&Followed>> = BTreeMap::new();
    for run in asked {
        by_domain.entry(&run.domain).or_default().push(run);
    }
    let mut asks = Vec::with_capacity(by_domain.len());
    for (domain, runs) in by_domain {
        asks.push(ask_workspace(jobs, domain, runs).boxed());
    }
    let answers = futures::future::join_all(asks).await.into_iter().flatten();
    let mut questions = Vec::new();
    for (run, answer) in answers {
        questions.push(told(jobs, run, answer).boxed());
    }
    let told: Vec<_> = stream::iter(questions).buffered(LISTS_AT_A_TIME).collect().await;
    let mut by_token = BTreeMap::new();
    for (run, told) in told {
        match told {
            Ok(told) => drop(by_token.insert(run.token.clone(), told)),
            Err(no_answer) => report
                .warnings
                .push(format!("run {} of job {} cannot be asked: {no_answer}", run.run_id, run.job)),
        }
    }
    by_token
}

async fn ask_workspace<'r>(
    jobs: &impl Jobs,
    domain: &Domain,
    runs: Vec<&'r Followed>,
) -> Vec<(&'r Followed, Option<Result<Run, NoAnswer>>)> {
    let ids: Vec<i64> = runs.iter().map(|run| run.run_id).collect();
    let mut answered = jobs.runs(domain, &ids).await;
    runs.into_iter().map(|run| (run, answered.remove(&run.run_id))).collect()
}

/// Of a run that did not succeed also whether a later one did.
async fn told<'r>(
    jobs: &impl Jobs,
    run: &'r Followed,
    answer: Option<Result<Run, NoAnswer>>,
) -> (&'r Followed, Result<Told, NoAnswer>) {
    let own = match answer {
        Some(Err(no_answer)) => return (run, Err(no_answer)),
        Some(Ok(own)) => Some(own),
        None => None,
    };
    let did_not_succeed = own.as_ref().is_none_or(|own| matches!(own.state, RunState::Failed(_)));
    if !did_not_succeed {
        return (run, Ok(Told { run: own, success: None }));
    }
    let began = own.as_ref().and_then(|own| own.started);
    let since = began.unwrap_or(run.claimed_at).checked_sub(CLOCK_SKEW).unwrap_or(jiff::Timestamp::MIN);
    match jobs.runs_since(&run.domain, &run.job, since).await {
        Ok(mut runs) => {
            runs.extend(own.clone());
            let success = later_success(runs, run);
            (run, Ok(Told { run: own, success }))
        }
        // That it failed is known, and is told; whether a later one succeeded is asked again.
        Err(no_answer) if run.rests => (run, Err(no_answer)),
        Err(_) => (run, Ok(Told { run: own, success: None })),
    }
}
