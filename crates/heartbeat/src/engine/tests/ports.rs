//! The engine's ports. Each outside effect has a pause before and after it: there a process may be killed or another
//! one go first.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use heartbeat_core::claim::{StartOutcome, hex};
use heartbeat_core::domain::Domain;
use heartbeat_core::ids::JobId;
use heartbeat_core::jobs::{Jobs, NoAnswer, Order, Run};
use heartbeat_core::position::{FilesPosition, KafkaPosition, Manifest, NewFile, OffsetRange, Position};
use heartbeat_core::row::{ControlRow, SensorRow};
use heartbeat_core::source::{self, Ask, Asset, Finding, Since, Source, SourceError};
use heartbeat_core::table::{Blobs, Changes, Commit, Snapshot, Table};
use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::world::{Answer, World, at_once};
use crate::engine::Clock;

/// All ports of a world.
#[derive(Clone, Copy)]
pub(crate) struct Port<'w>(pub(crate) &'w World);

impl Table<ControlRow> for Port<'_> {
    type Backing = ();
    type Error = Infallible;

    async fn load(&self) -> Result<Snapshot<ControlRow, ()>, Infallible> {
        self.0.pause().await;
        let loaded = self.0.control.load().await;
        self.0.pause().await;
        loaded
    }

    async fn is_current(&self, version: u64, (): &()) -> Result<bool, Infallible> {
        self.0.pause().await;
        self.0.control.is_current(version, &()).await
    }

    async fn commit(
        &self,
        base: Snapshot<ControlRow, ()>,
        changes: Changes<ControlRow>,
        step: &str,
    ) -> Result<Commit<Snapshot<ControlRow, ()>>, Infallible> {
        let writes = !changes.is_empty();
        self.0.pause().await;
        let commit = self.0.control.commit(base, changes, step).await;
        if writes && matches!(commit, Ok(Commit::Done(_))) {
            self.0.commits[0].fetch_add(1, Ordering::Relaxed);
        }
        self.0.pause().await;
        commit
    }
}

impl Table<SensorRow> for Port<'_> {
    type Backing = ();
    type Error = Infallible;

    async fn load(&self) -> Result<Snapshot<SensorRow, ()>, Infallible> {
        self.0.pause().await;
        let loaded = self.0.sensor.load().await;
        self.0.pause().await;
        loaded
    }

    async fn is_current(&self, version: u64, (): &()) -> Result<bool, Infallible> {
        self.0.pause().await;
        self.0.sensor.is_current(version, &()).await
    }

    async fn commit(
        &self,
        base: Snapshot<SensorRow, ()>,
        changes: Changes<SensorRow>,
        step: &str,
    ) -> Result<Commit<Snapshot<SensorRow, ()>>, Infallible> {
        let writes = !changes.is_empty();
        self.0.pause().await;
        let before = at_once(self.0.sensor.load())?.rows;
        let commit = self.0.sensor.commit(base, changes, step).await;
        if let (true, Ok(Commit::Done(next))) = (writes, &commit) {
            self.0.commits[1].fetch_add(1, Ordering::Relaxed);
            let now = self.0.now();
            self.0.ledger().committed(step, &before, &next.rows, &self.0.workspace(), now);
        }
        self.0.pause().await;
        commit
    }
}

impl Source for Port<'_> {
    async fn look(&self, asks: &Arc<[Ask]>, _deadline: Instant) -> Vec<Result<source::Answer, SourceError>> {
        self.0.pause().await;
        let answers = asks.iter().map(|ask| answer(self.0, ask).map(source::Answer::from)).collect();
        self.0.pause().await;
        answers
    }
}

fn answer(world: &World, ask: &Ask) -> Result<Finding, SourceError> {
    let (Asset::Folder { name } | Asset::Topic { topic: name, .. }) = &ask.asset;
    if world.chance() % 20 == 19 {
        return Err(SourceError::Timeout { what: name.clone() });
    }
    let arrived = world.upstreams.lock().unwrap().get(name).cloned().unwrap_or_default();
    let (position, news) = match &ask.asset {
        Asset::Folder { .. } => {
            let position =
                FilesPosition { seen: arrived.iter().cloned().collect(), ..FilesPosition::of(name.clone()) };
            let known = match &ask.since {
                Since::Position(Position::Files(known)) => known.seen.clone(),
                _ => std::collections::BTreeSet::default(),
            };
            let new = arrived.iter().filter(|path| !known.contains(*path));
            let files =
                new.map(|path| NewFile { path: path.clone(), size: 7, etag: None, modified: None }).collect();
            (Position::Files(position), Manifest::Files(files))
        }
        Asset::Topic { .. } => {
            let end = arrived.len() as i64;
            let from = match &ask.since {
                Since::Position(Position::Kafka(known)) => known.offsets[&0],
                _ => 0,
            };
            let position = KafkaPosition {
                cluster: "c".to_owned(),
                topic: name.clone(),
                topic_id: None,
                offsets: [(0, end)].into(),
                epochs: BTreeMap::new(),
            };
            let moved = (end > from).then_some(OffsetRange { partition: 0, from, to: end });
            (Position::Kafka(position), Manifest::Offsets(moved.into_iter().collect()))
        }
    };
    Ok(Finding { news: (!news.is_empty()).then_some(news), ..Finding::at(position) })
}

/// A call that was sent; if its process dies before it has arrived, it may arrive later.
struct Sent<'w> {
    world: &'w World,
    call: Option<(JobId, String)>,
}

impl Drop for Sent<'_> {
    fn drop(&mut self) {
        self.world.workspace().in_flight -= 1;
        if let Some(call) = self.call.take() {
            self.world.workspace().on_the_way.push(call);
        }
    }
}

impl Jobs for Port<'_> {
    async fn run_now(&self, order: Order<'_>) -> StartOutcome {
        let Order { job, token, .. } = order;
        let mut sent = Sent { world: self.0, call: Some((job.clone(), token.to_owned())) };
        self.0.workspace().in_flight += 1;
        self.0.pause().await;
        let (chance, now) = (self.0.chance(), self.0.now());
        let outcome = {
            let mut workspace = self.0.workspace();
            workspace.calls += 1;
            let gone = workspace.deleted.contains(token);
            let answer = if gone || workspace.storm { Answer::Refused } else { workspace.answer(chance) };
            let arrives = matches!(answer, Answer::Told | Answer::Lost);
            answer.outcome(arrives.then(|| workspace.run_now(job, token, now)))
        };
        sent.call = None;
        self.0.pause().await;
        outcome
    }

    async fn runs(&self, _domain: &Domain, run_ids: &[i64]) -> BTreeMap<i64, Result<Run, NoAnswer>> {
        self.0.pause().await;
        let lost = self.0.chance() % 20 == 19 || self.0.workspace().storm;
        let answers = run_ids.iter().filter_map(|run_id| {
            if lost {
                return Some((*run_id, Err(NoAnswer("429".to_owned()))));
            }
            let workspace = self.0.workspace();
            let (_, run) = workspace.runs.iter().find(|(_, run)| run.run_id == *run_id)?;
            Some((*run_id, Ok(run.clone())))
        });
        let answers = answers.collect();
        self.0.pause().await;
        answers
    }

    async fn runs_since(
        &self,
        _domain: &Domain,
        job: &JobId,
        since: Timestamp,
    ) -> Result<Vec<Run>, NoAnswer> {
        self.0.pause().await;
        let workspace = self.0.workspace();
        if workspace.storm {
            return Err(NoAnswer("429".to_owned()));
        }
        let runs = workspace.runs.iter().filter(|(of, run)| of == job && run.started >= Some(since));
        Ok(runs.map(|(_, run)| run.clone()).collect())
    }
}

impl Blobs for Port<'_> {
    type Error = Infallible;

    async fn put(&self, bytes: Vec<u8>) -> Result<String, Infallible> {
        let digest = hex(&Sha256::digest(&bytes));
        self.0.blobs.lock().unwrap().insert(digest.clone(), bytes);
        Ok(digest)
    }

    async fn get(&self, digest: &str) -> Result<Option<Vec<u8>>, Infallible> {
        Ok(self.0.blobs.lock().unwrap().get(digest).cloned())
    }
}

impl Clock for Port<'_> {
    fn now(&self) -> Timestamp {
        self.0.our_now()
    }
}
