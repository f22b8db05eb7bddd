//! What will happen next to a job, and the command for what people can do about it.

use heartbeat_core::decide::{Decision, WaitReason};
use heartbeat_core::ids::JobId;
use heartbeat_core::state::{Claim, ClaimState};
use jiff::Timestamp;
use serde::Serialize;

use super::Row;
use crate::cli::args::Tables;

/// What will happen next.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Next {
    /// In words.
    pub(super) what: String,
    /// When, if that is planned.
    pub(super) at: Option<Timestamp>,
    /// What to do so that it happens, where somebody has to.
    pub(super) command: Option<String>,
}

/// Judges by the decision over the job and its rows.
pub(super) fn next(
    decision: &Decision,
    rows: &[Row<'_>],
    claim: Option<&Claim>,
    job: &JobId,
    tables: &Tables,
) -> Next {
    let commands = Commands { job, tables };
    if let Some(start) = decision.starts.first() {
        let refused = claim.is_some_and(|claim| matches!(claim.state, ClaimState::Refused { .. }));
        let does = if refused { "tries it again with the same token" } else { "starts it" };
        let who = "the daemon within seconds, or the next `heartbeat trigger`";
        let what = format!("{who} over {}, {does}", start.source);
        return Next::by_itself(what);
    }
    if let Some(adoption) = decision.adoptions.first() {
        return adopted(&adoption.claim, adoption.in_doubt, &commands);
    }
    let Some((_, reason)) = decision.waiting.first() else {
        return Next::by_itself("nothing");
    };
    match reason {
        WaitReason::RowProblems(_) => Next::by_itself("nothing, until its rows are mended and fed again"),
        WaitReason::Paused if rows.iter().all(|row| row.problem.is_some()) => {
            Next::by_itself("nothing, until its rows are mended and fed again")
        }
        WaitReason::Paused => Next::of("nothing, until its rows are resumed", commands.resume(None)),
        WaitReason::NoNews => no_news(rows),
        WaitReason::HardRows(missing) => {
            let missing: Vec<&str> = missing.iter().map(|(id, _)| id.as_str()).collect();
            hard_rows(rows, &missing, &commands)
        }
        WaitReason::Running { run_id } => Next::by_itself(format!(
            "when the run has succeeded the daemon finds out, or its last task tells it (`heartbeat complete \
             --run-id {run_id}`); then its news is accounted for and its sources are looked at again"
        )),
        WaitReason::RunFailed { run_id, .. } => {
            let what = format!(
                "nothing, until a run of the job succeeds: repair run {run_id} or run the job by hand in the workspace, \
                 and the daemon finds out; or start it again for the same news"
            );
            Next::of(what, commands.retrigger(false))
        }
        WaitReason::NotBefore { at } => {
            let why = if claim.is_some_and(|claim| matches!(claim.state, ClaimState::Released { .. })) {
                "it is started again for the same news, with the next attempt, since the last run never ran"
            } else {
                "it is tried again"
            };
            Next { at: Some(*at), ..Next::by_itself(why) }
        }
        WaitReason::RunningElsewhere => Next::of(
            "nothing, until somebody tells that the run which heartbeat did not start has completed: its last task, or you",
            commands.complete(),
        ),
        WaitReason::AnchorElsewhere { source, .. } => {
            Next::by_itself(format!("a `heartbeat trigger` over {source} starts it"))
        }
        WaitReason::Starting { .. } => Next::by_itself("the call that starts it is answered"),
    }
}

fn adopted(claim: &Claim, in_doubt: bool, commands: &Commands<'_>) -> Next {
    let held = matches!(&claim.state, ClaimState::Claimed { trouble: Some(why) } if why.starts_with("held"));
    if held {
        let again = commands.retrigger(true);
        return Next::of(
            format!(
                "nothing, until somebody has looked at that run in the workspace: if it has read the news, the command \
                 below; if it has not, `{again}`"
            ),
            commands.complete(),
        );
    }
    Next::by_itself(if in_doubt {
        "the claim is older than its token is trusted: the next `heartbeat trigger`, or the daemon, looks for the run, \
         and starts the job only if there is none"
    } else {
        "the next `heartbeat trigger`, or the daemon, posts the same token again: it gets the run that there is, or \
         starts the only one"
    })
}

fn no_news(rows: &[Row<'_>]) -> Next {
    let served = || rows.iter().filter(|row| !row.is_paused() && row.problem.is_none());
    let failing = served().filter(|row| row.failing.is_some()).count();
    let looks = "the daemon by its schedule, or the next `heartbeat check`, looks for news";
    if failing == 0 {
        return Next::by_itself(looks);
    }
    let all = served().count();
    Next::by_itself(format!(
        "{looks}; {failing} of {all} row(s) cannot be looked at, see below, and are tried again"
    ))
}

/// The hard rows that are missed say what holds them up.
fn hard_rows(rows: &[Row<'_>], missing: &[&str], commands: &Commands<'_>) -> Next {
    let of_missing = || rows.iter().filter(|row| row.sensor_id.is_some_and(|id| missing.contains(&id)));
    let named = |row: &Row<'_>| format!("`{}`", row.sensor_id.unwrap_or_default());
    if let Some(row) = of_missing().find(|row| row.problem.is_some()) {
        return Next::by_itself(format!(
            "nothing: {} is never looked at; mend the row, or make it soft, and feed again",
            named(row)
        ));
    }
    if let Some(row) = of_missing().find(|row| row.is_paused()) {
        let what = format!("nothing, until {} is resumed: it is paused and has no news", named(row));
        return Next::of(what, commands.resume(row.sensor_id));
    }
    if let Some(row) = of_missing().find(|row| row.failing.is_some()) {
        return Next::by_itself(format!(
            "{} cannot be looked at, see below; it is tried again, and the job starts once all of them have news",
            named(row)
        ));
    }
    Next::by_itself(
        "the daemon by its schedule, or the next `heartbeat check`, looks for it; the job starts once all hard rows have \
         news",
    )
}

impl Next {
    fn by_itself(what: impl Into<String>) -> Self {
        Self { what: what.into(), at: None, command: None }
    }

    fn of(what: impl Into<String>, command: String) -> Self {
        Self { command: Some(command), ..Self::by_itself(what) }
    }
}

/// Commands with the tables and the job filled in.
struct Commands<'a> {
    job: &'a JobId,
    tables: &'a Tables,
}

impl Commands<'_> {
    fn retrigger(&self, force: bool) -> String {
        let force = if force { " --force" } else { "" };
        format!("heartbeat retrigger {} {}{force}", self.job, self.both())
    }

    fn complete(&self) -> String {
        format!("heartbeat complete --job-id {} {}", self.job, self.both())
    }

    fn resume(&self, sensor_id: Option<&str>) -> String {
        let row =
            sensor_id.map(|id| format!(" --sensor-id '{}'", id.replace('\'', r"'\''"))).unwrap_or_default();
        format!("heartbeat resume --control-table {} --job-id {}{row}", self.tables.control_table, self.job)
    }

    fn both(&self) -> String {
        let Tables { control_table, sensor_table } = self.tables;
        format!("--control-table {control_table} --sensor-table {sensor_table}")
    }
}
