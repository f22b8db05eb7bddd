//! Scenes for tests: both tables in memory, and the steps of the protocol as one-line calls.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::claim::{Completion, StartOutcome, TableIds, Workplace, claim, complete, new_claim, record};
use crate::decide::{Decision, Holds, Selection, Start, decide};
use crate::detect::{Mode, Seen, acquire};
use crate::domain::Domain;
use crate::ids::JobId;
use crate::position::{FilesPosition, Position};
use crate::project::{Completed, complete_job, project};
use crate::row::{ControlRow, SensorRow};
use crate::sensor::View;

/// Both tables; each step stamps the next second.
#[derive(Debug, Clone, Default)]
pub(crate) struct Scene {
    pub(crate) control: Vec<ControlRow>,
    pub(crate) sensor: Vec<SensorRow>,
    pub(crate) clock: i64,
}

pub(crate) fn files(names: &[&str]) -> Position {
    Position::Files(FilesPosition {
        folder: "file:///t/a".into(),
        seen: names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>(),
        ..FilesPosition::of("")
    })
}

pub(crate) fn job(text: &str) -> JobId {
    JobId::parse(text).unwrap()
}

impl Scene {
    pub(crate) fn hard(&mut self, source: &str, id: &str, job: &str) -> &mut ControlRow {
        self.add(source, id, job, "TRUE")
    }

    pub(crate) fn soft(&mut self, source: &str, id: &str, job: &str) -> &mut ControlRow {
        self.add(source, id, job, "FALSE")
    }

    fn add(&mut self, source: &str, id: &str, job: &str, flag: &str) -> &mut ControlRow {
        self.control.push(ControlRow {
            sensor_source: Some(source.into()),
            sensor_id: Some(id.into()),
            trigger_job_id: Some(job.into()),
            job_state: Some("UNPAUSED".into()),
            dependency_flag: Some(flag.into()),
            ..ControlRow::default()
        });
        self.control.last_mut().unwrap()
    }

    pub(crate) fn view(&self) -> View {
        View::new(self.control.clone(), self.sensor.clone())
    }

    fn now(&mut self) -> Timestamp {
        self.clock += 1;
        Timestamp::from_second(self.clock).unwrap()
    }

    /// S for one sensor.
    pub(crate) fn see(&mut self, sensor: usize, position: &Position, news: bool) {
        let now = self.now();
        let news = news.then(|| crate::state::StoredManifest::Files(Vec::new()));
        let seen = [Seen { sensor, position: position.clone().into(), news, keep: false }];
        self.sensor = acquire(&self.view(), &seen, Mode::Detect, now).apply(&self.sensor);
    }

    /// C1, C2, D2: whatever is due.
    pub(crate) fn project(&mut self) {
        let now = self.now();
        self.control = project(&self.view(), now).apply(&self.control);
    }

    /// S and C1.
    pub(crate) fn fire(&mut self, sensor: usize, names: &[&str]) {
        self.see(sensor, &files(names), true);
        self.project();
    }

    pub(crate) fn decide(&self) -> Decision {
        decide(&self.view(), &Selection::All, &Holds::default(), Timestamp::from_second(self.clock).unwrap())
    }

    /// K for everything that starts; the tokens by job.
    pub(crate) fn claim_starts(&mut self) -> BTreeMap<JobId, String> {
        let now = self.now();
        let starts: Vec<Start> = self.decide().starts;
        let ids = TableIds { control: "c".into(), sensor: "s".into() };
        let workplace = Workplace { domain: Domain::parse("dbc").unwrap(), pass_news: false };
        let claims: Vec<_> = starts
            .iter()
            .map(|start| (start.job.clone(), new_claim(&ids, start, workplace.clone(), now)))
            .collect();
        self.sensor = claim(&self.view(), &claims, &[], now).apply(&self.sensor);
        claims.into_iter().map(|(job, claim)| (job, claim.token)).collect()
    }

    /// Another pass finds the claims without a run, and sets out to post their tokens.
    pub(crate) fn adopt(&mut self) {
        let now = self.now();
        let adoptions = self.decide().adoptions;
        self.sensor = claim(&self.view(), &[], &adoptions, now).apply(&self.sensor);
    }

    /// K2.
    pub(crate) fn record(&mut self, token: &str, outcome: StartOutcome) {
        self.sensor = record(&self.view(), &[(token.to_owned(), outcome)].into()).apply(&self.sensor);
    }

    /// K, R, K2 and C2 with the given run id for every job that starts; the jobs.
    pub(crate) fn trigger(&mut self, run_id: i64) -> Vec<JobId> {
        let tokens = self.claim_starts();
        for token in tokens.values() {
            self.record(token, StartOutcome::Accepted(run_id));
        }
        self.project();
        tokens.into_keys().collect()
    }

    /// D1 only.
    pub(crate) fn complete_sensor(&mut self, id: &str, run_id: Option<i64>) -> Completion {
        let now = self.now();
        let (completion, changes) = complete(&self.view(), &job(id), run_id, now);
        self.sensor = changes.apply(&self.sensor);
        completion
    }

    /// D1 and D2.
    pub(crate) fn complete(&mut self, id: &str) -> Completion {
        let completion = self.complete_sensor(id, None);
        let now = self.now();
        let changes = match completion {
            Completion::UnknownJob | Completion::DoneBefore => project(&self.view(), now),
            Completion::Claimed => complete_job(&self.view(), &job(id), Completed::Claimed, now),
            Completion::ByHand => complete_job(&self.view(), &job(id), Completed::ByHand, now),
        };
        self.control = changes.apply(&self.control);
        completion
    }

    pub(crate) fn statuses(&self) -> Vec<&str> {
        self.control.iter().map(|row| row.status.as_deref().unwrap_or("NULL")).collect()
    }
}
