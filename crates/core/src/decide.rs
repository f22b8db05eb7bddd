//! Decision: which jobs start now, and for every other job why not.
//!
//! A job starts when at least one UNPAUSED row of it has news and every hard row has news (a paused hard row
//! counts by its status). Of its UNPAUSED rows with news the newest is the *anchor* (ties: smaller sensor_id):
//! only a pass over the anchor's source starts the job, so that passes over several sources, run side by
//! side, start it once.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::{SignedDuration, Timestamp};

use crate::acon::SourceKind;
use crate::ids::JobId;
use crate::sensor::{Dependency, RowProblem, Sensor, Status, View};
use crate::state::{Claim, ClaimState, Release, SensorState};

/// How long a token is trusted to find its run again. The documentation names no life for a token; after this
/// the run is looked for in runs/list before anything is posted.
pub const TOKEN_LIFE: SignedDuration = SignedDuration::from_hours(1);

/// How long the next attempt waits after a run that never ran, by the attempt that did not: the job is at its limit of
/// concurrent runs, and asking at every pass would only fill its list of runs.
pub fn wait_after_skip(attempt: u32) -> SignedDuration {
    let doubled = SignedDuration::from_secs(15 << attempt.saturating_sub(1).min(5));
    doubled.min(SignedDuration::from_mins(5))
}

/// True when the token of a claim may have been forgotten; also when the clock has gone back far, so that the claim's
/// age is not known.
pub fn is_in_doubt(claim: &Claim, now: Timestamp) -> bool {
    now.duration_since(claim.at).abs() > TOKEN_LIFE
}

/// Whose jobs a pass starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// Jobs whose anchor is of one of these sources.
    Sources(BTreeSet<SourceKind>),
    /// Every job (`trigger --all`).
    All,
}

/// What a daemon that goes on from pass to pass holds back. A single pass holds nothing back.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Holds {
    /// Jobs whose call is on its way from this process.
    pub calling: BTreeSet<JobId>,
    /// Jobs that are not tried again before a time, because the last try did not succeed.
    pub not_before: BTreeMap<JobId, Timestamp>,
    /// A claim without a run that is younger than this is left to the process that made it, whose call may be on its
    /// way: the same token would be posted twice.
    pub leave_young_claims: SignedDuration,
}

/// What a pass does about jobs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[must_use = "a decision that nobody carries out or reads is lost"]
pub struct Decision {
    /// Jobs to claim and start, by job id.
    pub starts: Vec<Start>,
    /// Claims of an earlier pass whose outcome is unknown, to be carried on.
    pub adoptions: Vec<Adoption>,
    /// Every other job, with the reason.
    pub waiting: Vec<(JobId, WaitReason)>,
}

/// A job to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// The job.
    pub job: JobId,
    /// Source of the anchor row.
    pub source: SourceKind,
    /// `sensor_id` of the anchor row.
    pub anchor: String,
    /// Sensor rows that the start accounts for, with their news count.
    pub rows: BTreeMap<String, u64>,
    /// When those rows were made, where that is known.
    pub born: BTreeMap<String, Timestamp>,
    /// When a refused claim that is claimed again was made first: its token is that old.
    pub first_claimed: Option<Timestamp>,
    /// Attempt of this set of news, from 1.
    pub attempt: u32,
}

/// A claim without a run id, found in the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adoption {
    /// The job.
    pub job: JobId,
    /// The claim.
    pub claim: Claim,
    /// True when the token is older than [`TOKEN_LIFE`].
    pub in_doubt: bool,
}

/// Why a job is not started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WaitReason {
    /// No row has news.
    NoNews,
    /// Every row is paused, or those with news are.
    Paused,
    /// Hard rows have no news yet.
    HardRows(Vec<(String, Status)>),
    /// Another source's pass starts it.
    AnchorElsewhere {
        /// That source.
        source: SourceKind,
        /// The row.
        sensor_id: String,
    },
    /// A run of ours goes on.
    Running {
        /// The run.
        run_id: i64,
    },
    /// The run of ours ended badly; the job rests until one run of it succeeds.
    RunFailed {
        /// The run.
        run_id: i64,
        /// How it ended.
        reason: String,
    },
    /// The call that starts it is on its way.
    Starting {
        /// When it is asked for here, where the call is another process's.
        asked_at: Option<Timestamp>,
    },
    /// The last try did not succeed.
    NotBefore {
        /// When it is tried again.
        at: Timestamp,
    },
    /// Rows say IN_PROGRESS and no claim of ours is open: started by somebody else.
    RunningElsewhere,
    /// Every row with news has a problem.
    RowProblems(Vec<(String, RowProblem)>),
}

/// Decides over the whole table.
pub fn decide(view: &View, selection: &Selection, holds: &Holds, now: Timestamp) -> Decision {
    let mut decision = Decision::default();
    for job in view.jobs.keys() {
        decision.add(job, held(judge(view, job, selection, now), job, holds, now));
    }
    decision
}

/// Decides over one job, as a single pass over every source would.
pub fn decide_job(view: &View, job: &JobId, now: Timestamp) -> Decision {
    let mut decision = Decision::default();
    decision.add(job, judge(view, job, &Selection::All, now));
    decision
}

impl Decision {
    fn add(&mut self, job: &JobId, verdict: Verdict) {
        match verdict {
            Verdict::Start(start) => self.starts.push(start),
            Verdict::Adopt(adoption) => self.adoptions.push(adoption),
            Verdict::Wait(reason) => self.waiting.push((job.clone(), reason)),
        }
    }
}

enum Verdict {
    Start(Start),
    Adopt(Adoption),
    Wait(WaitReason),
}

/// What is about to be called waits where this process holds it back.
fn held(verdict: Verdict, job: &JobId, holds: &Holds, now: Timestamp) -> Verdict {
    if matches!(verdict, Verdict::Wait(_)) {
        return verdict;
    }
    if holds.calling.contains(job) {
        return Verdict::Wait(WaitReason::Starting { asked_at: None });
    }
    if let Some(at) = holds.not_before.get(job).filter(|at| now < **at) {
        return Verdict::Wait(WaitReason::NotBefore { at: *at });
    }
    match &verdict {
        Verdict::Adopt(Adoption { claim, .. })
            if now.duration_since(claim.at).abs() < holds.leave_young_claims =>
        {
            let asked_at = claim.at.checked_add(holds.leave_young_claims).ok();
            Verdict::Wait(WaitReason::Starting { asked_at })
        }
        _ => verdict,
    }
}

fn judge(view: &View, job: &JobId, selection: &Selection, now: Timestamp) -> Verdict {
    if let Some(claim) = view.open_claim(job) {
        return match &claim.state {
            ClaimState::Accepted { run_id } => Verdict::Wait(WaitReason::Running { run_id: *run_id }),
            ClaimState::Failed { run_id, reason } => {
                Verdict::Wait(WaitReason::RunFailed { run_id: *run_id, reason: reason.clone() })
            }
            _ => Verdict::Adopt(Adoption {
                job: job.clone(),
                claim: claim.clone(),
                in_doubt: is_in_doubt(claim, now),
            }),
        };
    }
    let rows: Vec<&Sensor> = view.of_job(job).collect();
    if rows.iter().any(|row| row.status == Status::InProgress) {
        return Verdict::Wait(WaitReason::RunningElsewhere);
    }
    let Some(anchor) = anchor(&rows) else {
        return Verdict::Wait(why_no_candidate(&rows));
    };
    let unusable = view.unusable_hard.get(job).into_iter().flatten();
    let missing: Vec<(String, Status)> = rows
        .iter()
        .filter(|row| row.dependency == Dependency::Hard && !row.is_new())
        .map(|row| (row.id.clone(), row.status.clone()))
        .chain(unusable.filter(|(_, status)| *status != Status::NewEvent).cloned())
        .collect();
    if !missing.is_empty() {
        return Verdict::Wait(WaitReason::HardRows(missing));
    }
    let ours = match selection {
        Selection::All => true,
        Selection::Sources(kinds) => kinds.contains(&anchor.source),
    };
    if !ours {
        return Verdict::Wait(WaitReason::AnchorElsewhere {
            source: anchor.source,
            sensor_id: anchor.id.clone(),
        });
    }
    if let Some(at) = waits_after_skip(&rows, now) {
        return Verdict::Wait(WaitReason::NotBefore { at });
    }
    let refused = refused_claim(&rows);
    let covered = refused.map_or_else(|| covered_rows(&rows), |claim| claim.rows.clone());
    let attempt = attempt(&rows, &covered);
    Verdict::Start(Start {
        job: job.clone(),
        source: anchor.source,
        anchor: anchor.id.clone(),
        born: born(&rows, &covered, now),
        first_claimed: refused.map(|claim| claim.at),
        rows: covered,
        attempt,
    })
}

/// Until when the job waits after a run of it that never ran. A time that lies further ahead than any wait is that of
/// a clock that has gone back since.
fn waits_after_skip(rows: &[&Sensor], now: Timestamp) -> Option<Timestamp> {
    let claims = rows.iter().filter_map(|row| row.state.claim.as_ref());
    let waits = claims.filter_map(|claim| match &claim.state {
        ClaimState::Released { why: Release::Skipped { at, .. }, .. } => {
            let wait = wait_after_skip(claim.attempt);
            at.checked_add(wait).ok().filter(|until| now < *until && until.duration_since(now) <= wait)
        }
        _ => None,
    });
    waits.max()
}

fn is_candidate(row: &Sensor) -> bool {
    row.unpaused && row.is_new() && row.problem.is_none()
}

fn anchor<'a>(rows: &[&'a Sensor]) -> Option<&'a Sensor> {
    rows.iter()
        .copied()
        .filter(|row| is_candidate(row))
        .min_by_key(|row| (Reverse(row.status_changed), &row.id))
}

/// All rows of the job with news, paused ones too: the run reads their upstreams as well. News that others
/// marked in the control table counts as one more detection.
fn covered_rows(rows: &[&Sensor]) -> BTreeMap<String, u64> {
    rows.iter()
        .filter(|row| row.problem.is_none() && (row.state.has_news() || row.is_new()))
        .map(|row| {
            let count = if row.state.has_news() { row.state.news } else { row.state.news + 1 };
            (row.row_id.as_str().to_owned(), count)
        })
        .collect()
}

/// The claim that was refused and whose news still waits. It is claimed again as it was, with the same token:
/// another pass may have posted that token as well, and not have written down yet that it has a run.
fn refused_claim<'a>(rows: &[&'a Sensor]) -> Option<&'a Claim> {
    let waits = |id: &String, count: &u64| {
        rows.iter().any(|row| {
            let free = row.problem.is_none() && row.row_id.as_str() == id;
            free && row.state.has_news() && row.state.news == *count
        })
    };
    rows.iter()
        .filter_map(|row| row.state.claim.as_ref())
        .filter(|claim| matches!(claim.state, ClaimState::Refused { .. }))
        .find(|claim| claim.rows.iter().all(|(id, count)| waits(id, count)))
}

/// When the covered rows were made; a row without a state is made by the claim.
fn born(rows: &[&Sensor], covered: &BTreeMap<String, u64>, now: Timestamp) -> BTreeMap<String, Timestamp> {
    rows.iter()
        .filter(|row| covered.contains_key(row.row_id.as_str()))
        .filter_map(|row| {
            let fresh = (*row.state == SensorState::default()).then_some(now);
            Some((row.row_id.as_str().to_owned(), row.state.born.or(fresh)?))
        })
        .collect()
}

/// One more than that of the newest claim whose run does not count; otherwise that of the claim that is made again.
fn attempt(rows: &[&Sensor], covered: &BTreeMap<String, u64>) -> u32 {
    let claims = || rows.iter().filter_map(|row| row.state.claim.as_ref());
    let released = claims().filter(|claim| matches!(claim.state, ClaimState::Released { .. }));
    let next = released.map(|claim| claim.attempt.saturating_add(1)).max();
    let again = claims().filter(|claim| claim.rows == *covered).map(|claim| claim.attempt).max();
    next.max(again).unwrap_or(1)
}

fn why_no_candidate(rows: &[&Sensor]) -> WaitReason {
    let with_news: Vec<&&Sensor> = rows.iter().filter(|row| row.is_new()).collect();
    let problems = |of: &[&&Sensor]| -> Vec<(String, RowProblem)> {
        of.iter().filter_map(|row| Some((row.id.clone(), row.problem.clone()?))).collect()
    };
    let blocked = problems(&with_news);
    if !blocked.is_empty() {
        return WaitReason::RowProblems(blocked);
    }
    let everything: Vec<&&Sensor> = rows.iter().collect();
    let broken = problems(&everything);
    if !with_news.is_empty() || rows.iter().all(|row| !row.unpaused) {
        WaitReason::Paused
    } else if broken.len() == rows.len() {
        WaitReason::RowProblems(broken)
    } else {
        WaitReason::NoNews
    }
}

impl WaitReason {
    /// A stable word for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoNews => "no_news",
            Self::Paused => "paused",
            Self::HardRows(_) => "hard_rows",
            Self::AnchorElsewhere { .. } => "anchor_elsewhere",
            Self::Running { .. } => "running",
            Self::RunFailed { .. } => "run_failed",
            Self::Starting { .. } => "starting",
            Self::NotBefore { .. } => "not_before",
            Self::RunningElsewhere => "running_elsewhere",
            Self::RowProblems(_) => "row_problems",
        }
    }
}

impl fmt::Display for WaitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoNews => f.write_str("no news"),
            Self::Paused => f.write_str("paused: job_state of its rows with news is not UNPAUSED"),
            Self::HardRows(missing) => {
                f.write_str("waits for the hard row")?;
                f.write_str(if missing.len() > 1 { "s " } else { " " })?;
                for (index, (id, status)) in missing.iter().enumerate() {
                    let comma = if index > 0 { ", " } else { "" };
                    write!(f, "{comma}`{id}` ({status})")?;
                }
                Ok(())
            }
            Self::AnchorElsewhere { source, sensor_id } => {
                write!(
                    f,
                    "its newest news is {source} `{sensor_id}`: started by the pass over {source}, or with --all"
                )
            }
            Self::Running { run_id } => write!(f, "started as run {run_id}, which has not completed yet"),
            Self::RunFailed { run_id, reason } => write!(
                f,
                "rests: run {run_id} did not succeed ({reason}); it goes on after a run that does, or `heartbeat \
                 retrigger`"
            ),
            Self::Starting { .. } => f.write_str("the call that starts it is on its way"),
            Self::NotBefore { at } => {
                write!(f, "its last start did not lead to a run; the next is made at {at:.0}")
            }
            Self::RunningElsewhere => {
                f.write_str("in progress, not started by heartbeat: waits for its completion")
            }
            Self::RowProblems(problems) => {
                for (index, (id, problem)) in problems.iter().enumerate() {
                    let comma = if index > 0 { "; " } else { "" };
                    write!(f, "{comma}`{id}`: {problem}")?;
                }
                Ok(())
            }
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Never => "never fired",
            Self::Completed => crate::row::COMPLETED,
            Self::NewEvent => crate::row::NEW_EVENT_AVAILABLE,
            Self::InProgress => crate::row::IN_PROGRESS,
            Self::Other(text) => text,
        })
    }
}

#[cfg(test)]
mod tests;
