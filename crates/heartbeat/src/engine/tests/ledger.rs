//! What must hold after every commit, whoever makes it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use heartbeat_core::jobs::RunState;
use heartbeat_core::position::Position;
use heartbeat_core::row::SensorRow;
use heartbeat_core::state::{ClaimState, SensorState, StoredPosition};

use super::world::Workspace;

#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Rows and news counts by token, from the claims that were written.
    claims: HashMap<String, BTreeMap<String, u64>>,
    /// A completion without run id is being told: all acquired news may be accounted for.
    pub(super) by_hand: bool,
    pub(super) broken: Vec<String>,
}

impl Ledger {
    pub(super) fn committed(
        &mut self,
        step: &str,
        before: &[SensorRow],
        after: &[SensorRow],
        workspace: &Workspace,
    ) {
        let (before, after) = (self.states(before), self.states(after));
        let mut open: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (id, state) in &after {
            if let Some(claim) = &state.claim {
                self.claims.insert(claim.token.clone(), claim.rows.clone());
                if claim.is_open() {
                    let job = id.rsplit('_').next().unwrap_or_default();
                    open.entry(job).or_default().insert(&claim.token);
                }
            }
            let old = before.get(id).cloned().unwrap_or_default();
            let trouble = judge(&old, state, id, workspace)
                .filter(|trouble| *trouble != "accounted for by no run that began after it" || !self.by_hand);
            self.broken
                .extend(trouble.map(|trouble| format!("{step} {id}: {trouble}: {old:?} -> {state:?}")));
        }
        let twice = open.iter().filter(|(_, tokens)| tokens.len() > 1);
        self.broken.extend(twice.map(|(job, _)| format!("{step}: job {job} has two open claims")));
    }

    fn states(&mut self, rows: &[SensorRow]) -> BTreeMap<String, SensorState> {
        let mut states = BTreeMap::new();
        for row in rows {
            let id = row.sensor_id.clone().unwrap_or_default();
            match SensorState::of_row(row) {
                Ok(state) => drop(states.insert(id.clone(), state.unwrap_or_default())),
                Err(bad) => self.broken.push(format!("{id}: {bad}")),
            }
        }
        states
    }

    /// No news of any row is in two runs.
    pub(super) fn judge_runs(&mut self, workspace: &Workspace) {
        let mut taken = HashMap::new();
        for (token, run_id) in &workspace.started {
            let Some(rows) = self.claims.get(token) else {
                self.broken.push(format!("run {run_id} was started without a claim"));
                continue;
            };
            for news in rows {
                if let Some(other) = taken.insert(news, run_id) {
                    self.broken.push(format!("{news:?} is in the runs {run_id} and {other}"));
                }
            }
        }
    }
}

fn judge(old: &SensorState, new: &SensorState, id: &str, workspace: &Workspace) -> Option<&'static str> {
    if new.news < old.news || new.news_done < old.news_done || new.news_done > new.news {
        return Some("a count went back");
    }
    let (from, to) = (reach(old.acquired.as_ref()), reach(new.acquired.as_ref()));
    if from.is_some() && to < from {
        return Some("the position went back");
    }
    if to > from.or(Some(0)) && new.news == old.news {
        return Some("the position passed over news");
    }
    if new.news_done > old.news_done && !accounted(new, id, workspace) {
        return Some("accounted for by no run that began after it");
    }
    None
}

/// Number of things seen; upstreams only grow here.
fn reach(position: Option<&StoredPosition>) -> Option<i64> {
    match position?.inline().ok()? {
        Position::Files(folder) => Some(folder.seen.len() as i64),
        Position::Kafka(topic) => topic.offsets.get(&0).copied(),
    }
}

fn accounted(state: &SensorState, id: &str, workspace: &Workspace) -> bool {
    let Some(claim) = &state.claim else { return false };
    let ClaimState::Done { run_id: Some(run_id) } = claim.state else { return false };
    let run = workspace.runs.iter().find(|(_, run)| run.run_id == run_id);
    let in_time =
        run.is_some_and(|(_, run)| run.state == RunState::Succeeded && run.started >= Some(claim.at));
    in_time && claim.rows.get(id).is_some_and(|count| *count >= state.news_done)
}
