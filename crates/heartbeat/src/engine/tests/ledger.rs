//! What must hold after every commit, whoever makes it.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use heartbeat_core::jobs::RunState;
use heartbeat_core::position::{Manifest, NewFile, Position};
use heartbeat_core::row::{PROCESSED_NEW_DATA, SensorRow};
use heartbeat_core::state::{ClaimState, SensorState, StoredPosition};

use jiff::Timestamp;

use super::world::Workspace;

#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Rows and news counts by token, from the claims that were written.
    claims: HashMap<String, BTreeMap<String, u64>>,
    /// When a set of news was first claimed, by the workspace's clock; it may be claimed again.
    since: HashMap<BTreeMap<String, u64>, Timestamp>,
    /// A completion without run id is being told: all acquired news may be accounted for.
    pub(crate) by_hand: bool,
    /// How many things of a row's upstream completed runs have accounted for, where that is followed.
    pub(crate) watermarks: Option<BTreeMap<String, i64>>,
    pub(crate) broken: Vec<String>,
    /// How claims went on, for a failure's message.
    pub(crate) trace: VecDeque<String>,
}

impl Ledger {
    pub(crate) fn committed(
        &mut self,
        step: &str,
        before: &[SensorRow],
        after: &[SensorRow],
        workspace: &Workspace,
        now: Timestamp,
    ) {
        let (before, after) = (self.states(before), self.states(after));
        let mut open: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (id, state) in &after {
            if let Some(claim) = &state.claim {
                self.claims.insert(claim.token.clone(), claim.rows.clone());
                self.since.entry(claim.rows.clone()).or_insert(now);
                if claim.is_open() {
                    let job = id.rsplit('_').next().unwrap_or_default();
                    open.entry(job).or_default().insert(&claim.token);
                }
            }
            let old = before.get(id).cloned().unwrap_or_default();
            if old.claim != state.claim || old.news != state.news {
                let claim =
                    state.claim.as_ref().map(|c| (&c.token[..6], c.attempt, &c.rows, c.adopted, &c.state));
                self.tell(format!("{now:.0} {step} {id} news {}/{} {claim:?}", state.news_done, state.news));
            }
            if state.news_done > old.news_done {
                let gap = self.account(id, &old);
                self.broken.extend(gap.map(|gap| format!("{step} {id}: {gap}: {old:?} -> {state:?}")));
            }
            let trouble = judge(&old, state, id, workspace, &self.since)
                .filter(|trouble| *trouble != "accounted for by no run that began after it" || !self.by_hand);
            self.broken
                .extend(trouble.map(|trouble| format!("{step} {id}: {trouble}: {old:?} -> {state:?}")));
        }
        let twice = open.iter().filter(|(_, tokens)| tokens.len() > 1);
        self.broken.extend(twice.map(|(job, _)| format!("{step}: job {job} has two open claims")));
    }

    pub(crate) fn tell(&mut self, line: String) {
        self.trace.push_back(line);
        if self.trace.len() > 2000 {
            self.trace.pop_front();
        }
    }

    /// A completed run accounts for exactly what came after the one before it.
    pub(crate) fn account(&mut self, id: &str, old: &SensorState) -> Option<String> {
        let watermark = self.watermarks.as_mut()?.entry(id.to_owned()).or_default();
        let (from, to) = match old.manifest.as_ref().and_then(|stored| stored.inline().ok()) {
            None => return Some("news without a manifest is accounted for".to_owned()),
            Some(Manifest::Offsets(ranges)) => (ranges[0].from, ranges[0].to),
            Some(Manifest::Topics(_) | Manifest::ManyFiles(_)) => {
                return Some("a row of another kind".to_owned());
            }
            Some(Manifest::Files(files)) => {
                let number = |file: &NewFile| file.path.parse::<i64>().unwrap();
                let (first, last) = (files.iter().map(number).min()?, files.iter().map(number).max()?);
                let whole = last - first + 1 == files.len() as i64;
                if !whole {
                    return Some("a manifest leaves out files".to_owned());
                }
                (first, last + 1)
            }
        };
        let exact = *watermark == from;
        let gap = format!("{from}..{to} is accounted for, after all up to {watermark}");
        *watermark = to;
        (!exact).then_some(gap)
    }

    fn states(&mut self, rows: &[SensorRow]) -> BTreeMap<String, SensorState> {
        let mut states = BTreeMap::new();
        let job_of = |row: &SensorRow| {
            row.sensor_id.as_deref().and_then(|id| id.rsplit('_').next()).map(str::to_owned)
        };
        let is_open = |row: &&SensorRow| {
            SensorState::of_row(row).ok().flatten().is_some_and(|state| state.open_claim().is_some())
        };
        let open: BTreeSet<_> = rows.iter().filter(is_open).filter_map(job_of).collect();
        for row in rows {
            let id = row.sensor_id.clone().unwrap_or_default();
            match SensorState::of_row(row) {
                Ok(state) => {
                    let mut state = state.unwrap_or_default();
                    // The original's last task has told of a run by hand: that accounts for all acquired news.
                    let told = row.status.as_deref() == Some(PROCESSED_NEW_DATA);
                    if told && !job_of(row).is_some_and(|job| open.contains(&job)) {
                        state.account(state.news);
                    }
                    states.insert(id.clone(), state);
                }
                Err(bad) => self.broken.push(format!("{id}: {bad}")),
            }
        }
        states
    }

    /// No news of any row is in two runs.
    pub(crate) fn judge_runs(&mut self, workspace: &Workspace) {
        let mut taken = HashMap::new();
        for (token, run_id) in &workspace.started {
            let run = workspace.runs.iter().find(|(_, run)| run.run_id == *run_id);
            // A run that never ran or did not succeed has processed nothing; one that was deleted had not succeeded.
            let counts =
                run.is_some_and(|(_, run)| matches!(run.state, RunState::Active | RunState::Succeeded));
            let Some(rows) = self.claims.get(token) else {
                self.broken.push(format!("run {run_id} was started without a claim"));
                continue;
            };
            for news in rows.iter().filter(|_| counts) {
                if let Some(other) = taken.insert(news, run_id) {
                    self.broken.push(format!("{news:?} is in the runs {run_id} and {other}"));
                }
            }
        }
    }
}

fn judge(
    old: &SensorState,
    new: &SensorState,
    id: &str,
    workspace: &Workspace,
    since: &HashMap<BTreeMap<String, u64>, Timestamp>,
) -> Option<&'static str> {
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
    if new.news_done > old.news_done && !accounted(new, id, workspace, since) {
        return Some("accounted for by no run that began after it");
    }
    None
}

/// Number of things seen; upstreams only grow here.
fn reach(position: Option<&StoredPosition>) -> Option<i64> {
    match position?.inline().ok()? {
        Position::Files(folder) => Some(folder.seen.len() as i64),
        Position::Kafka(topic) => topic.offsets.get(&0).copied(),
        Position::Topics(_) => None,
    }
}

fn accounted(
    state: &SensorState,
    id: &str,
    workspace: &Workspace,
    since: &HashMap<BTreeMap<String, u64>, Timestamp>,
) -> bool {
    if state.by_hand && state.last_run.is_some() {
        // A run by hand has told of itself: that accounts for all news that was acquired by then.
        let told = workspace.runs.iter().find(|(_, run)| Some(run.run_id) == state.last_run);
        return told.is_some_and(|(_, run)| run.state == RunState::Succeeded);
    }
    let Some(claim) = &state.claim else { return false };
    let ClaimState::Done { run_id: Some(run_id) } = claim.state else { return false };
    let run = workspace.runs.iter().find(|(_, run)| run.run_id == run_id);
    let in_time = run.is_some_and(|(_, run)| {
        run.state == RunState::Succeeded && run.started >= since.get(&claim.rows).copied()
    });
    in_time && claim.rows.get(id).is_some_and(|count| *count >= state.news_done)
}
