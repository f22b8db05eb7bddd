//! The questions of a look, made once for as long as neither the tables nor the lane change.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError, Weak};

use futures::{StreamExt as _, stream};
use heartbeat_core::acon::SourceKind;
use heartbeat_core::detect::{Cursor, Mode, Question, questions, since_position, unasked};
use heartbeat_core::ids::SensorRowId;
use heartbeat_core::position::Position;
use heartbeat_core::row::{ControlRow, SensorRow};
use heartbeat_core::sensor::View;
use heartbeat_core::source::{Absent, Ask};
use heartbeat_core::state::StoredPosition;
use heartbeat_core::table::{Blobs, Table};

use super::Engine;
use super::check::{CheckReport, Looked, RowName};
use super::lane::Lane;
use crate::error_chain::chain;

/// Stored positions that are fetched at a time.
const FETCHES: usize = 16;

/// What a look asks, and what it can tell without asking.
#[derive(Debug)]
pub(super) struct Prepared {
    /// The tables that they were made from.
    view: Weak<View>,
    mode: Mode,
    resting: HashSet<SensorRowId>,
    asked: Vec<Asked>,
    asks: Arc<[Ask]>,
    /// The lane's other rows, where the source minds them.
    absent: Option<Arc<[Absent]>>,
    problems: Vec<(Arc<RowName>, String)>,
    /// Rows whose cursor could not be fetched; made anew the next time.
    unfetched: Vec<(Arc<RowName>, String)>,
    warnings: Vec<String>,
    watched: usize,
}

/// A row that is asked about.
#[derive(Debug)]
pub(super) struct Asked {
    /// Index in [`View::sensors`].
    pub(super) sensor: usize,
    pub(super) row: Arc<RowName>,
}

impl Prepared {
    pub(super) fn asked(&self) -> &[Asked] {
        &self.asked
    }

    /// In the order of [`Self::asked`].
    pub(super) fn asks(&self) -> &Arc<[Ask]> {
        &self.asks
    }

    /// Rows that are not asked about, where the source minds them.
    pub(super) fn absent(&self) -> Option<&Arc<[Absent]>> {
        self.absent.as_ref()
    }

    /// What can be told without asking.
    pub(super) fn report(&self) -> CheckReport {
        let of_row = self
            .problems
            .iter()
            .map(|(row, problem)| Looked { error: Some(problem.clone()), ..Looked::quiet(row) });
        let unfetched = self.unfetched.iter().map(|(row, problem)| Looked::failed(row, problem.clone()));
        let mut looked_at = Vec::with_capacity(self.asked.len() + self.problems.len());
        looked_at.extend(of_row.chain(unfetched));
        CheckReport { looked_at, warnings: self.warnings.clone(), watched: self.watched, losses: 0 }
    }

    fn holds_for(
        &self,
        view: &Arc<View>,
        resting: &HashSet<SensorRowId>,
        mode: Mode,
        minds_absent: bool,
    ) -> bool {
        std::ptr::eq(self.view.as_ptr(), Arc::as_ptr(view))
            && self.mode == mode
            && self.resting == *resting
            && self.unfetched.is_empty()
            && self.absent.is_some() == minds_absent
    }
}

impl<C, S, B> Engine<C, S, B>
where
    C: Table<ControlRow>,
    S: Table<SensorRow>,
    B: Blobs,
{
    /// The questions about the rows of a lane but those in `resting`; with where the others stand, if that is minded.
    pub(super) async fn prepared(
        &self,
        view: &Arc<View>,
        lane: &Lane,
        resting: &HashSet<SensorRowId>,
        mode: Mode,
        minds_absent: bool,
    ) -> Arc<Prepared> {
        let known = self.prepared.lock().unwrap_or_else(PoisonError::into_inner).get(lane).cloned();
        if let Some(known) = known.filter(|known| known.holds_for(view, resting, mode, minds_absent)) {
            return known;
        }
        let mut prepared = Prepared {
            view: Arc::downgrade(view),
            mode,
            resting: resting.clone(),
            asked: Vec::new(),
            asks: Arc::new([]),
            absent: None,
            problems: Vec::new(),
            unfetched: Vec::new(),
            warnings: Vec::new(),
            watched: view.sensors.iter().filter(|sensor| lane.watches(sensor)).count(),
        };
        if lane.tells_problems() {
            prepared.problems = problems(view, lane.kind);
            prepared.warnings = remarks_on_rows(view, lane.kind);
        }
        let of_lane: Vec<Question> = questions(view, lane.kind, mode)
            .into_iter()
            .filter(|question| lane.has(&question.asset))
            .filter(|question| !resting.contains(&view.sensors[question.sensor].row_id))
            .collect();
        let mut others = Vec::new();
        if minds_absent {
            others = unasked(view, lane.kind, &of_lane);
            others.retain(|question| lane.has(&question.asset));
        }
        let stored = self.fetch_positions(view, of_lane.iter().chain(&others)).await;
        let stands = |since: Cursor| match since {
            Cursor::Ready(since) => Ok(since),
            Cursor::Digest(digest) => {
                stored[&digest].clone().map(|position| since_position(lane.kind, position))
            }
        };
        let absent =
            others.into_iter().map(|other| Absent { asset: other.asset, since: stands(other.since).ok() });
        prepared.absent = minds_absent.then(|| absent.collect());
        let mut asks = Vec::with_capacity(of_lane.len());
        for Question { sensor, asset, since } in of_lane {
            let row = RowName::of(&view.sensors[sensor]);
            match stands(since) {
                Ok(since) => {
                    asks.push(Ask { asset, since });
                    prepared.asked.push(Asked { sensor, row });
                }
                Err(problem) => prepared.unfetched.push((row, problem)),
            }
        }
        prepared.asks = asks.into();
        let prepared = Arc::new(prepared);
        let mut kept = self.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        kept.insert(lane.clone(), Arc::clone(&prepared));
        prepared
    }

    /// The positions that are stored beside the table, by digest; or what is wrong with them.
    async fn fetch_positions(
        &self,
        view: &View,
        questions: impl Iterator<Item = &Question>,
    ) -> HashMap<String, Result<Position, String>> {
        let digests: HashSet<&str> = questions
            .filter_map(|question| match &question.since {
                Cursor::Digest(digest) => Some(digest.as_str()),
                Cursor::Ready(_) => None,
            })
            .collect();
        if digests.is_empty() {
            return HashMap::new();
        }
        let fetches: Vec<_> =
            digests.into_iter().map(|digest| self.fetch_position(digest.to_owned())).collect();
        let positions: HashMap<_, _> = stream::iter(fetches).buffer_unordered(FETCHES).collect().await;
        // What no row names any more has been superseded.
        let named = view.digests();
        self.fetched(|known| {
            known.retain(|digest, _| named.contains(digest));
            for (digest, position) in &positions {
                if let Ok(position) = position {
                    known.insert(digest.clone(), position.clone());
                }
            }
        });
        positions
    }

    async fn fetch_position(&self, digest: String) -> (String, Result<Position, String>) {
        let known = self.fetched(|known| known.get(&digest).cloned());
        let position = match known {
            Some(position) => Ok(position),
            None => self.read_position(&digest).await,
        };
        (digest, position)
    }

    /// A position as a row keeps it, read where it is stored beside the table; or what is wrong with it.
    pub(crate) async fn position(&self, stored: &StoredPosition) -> Result<Position, String> {
        match stored.inline() {
            Ok(position) => Ok(position),
            Err(digest) => self.read_position(digest).await,
        }
    }

    async fn read_position(&self, digest: &str) -> Result<Position, String> {
        let mend = "`check --baseline` starts anew from what is there";
        let stored = self.blobs.get(digest).await;
        let bytes = stored
            .map_err(|error| format!("its stored position cannot be read: {}; {mend}", chain(&error)))?
            .ok_or_else(|| {
                format!("its stored position {digest} is missing beside the sensor table; {mend}")
            })?;
        serde_json::from_slice::<Position>(&bytes)
            .map_err(|cause| format!("its stored position {digest} is damaged: {cause}; {mend}"))
    }

    fn fetched<T>(&self, with: impl FnOnce(&mut HashMap<String, Position>) -> T) -> T {
        with(&mut self.fetched.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }
}

/// Rows of this source that would be looked at if nothing were wrong with them.
fn problems(view: &View, kind: SourceKind) -> Vec<(Arc<RowName>, String)> {
    let broken = view
        .sensors
        .iter()
        .filter(|sensor| sensor.source == kind && sensor.unpaused && sensor.is_idle())
        .filter_map(|sensor| Some((RowName::of(sensor), sensor.problem.as_ref()?.to_string())));
    let unusable = view.unusable.iter().filter_map(|(index, problem)| {
        let row = &view.control[*index];
        let of_this_source = row.sensor_source.as_deref().and_then(SourceKind::parse) == Some(kind);
        let name = || RowName {
            sensor_id: row.sensor_id.clone().unwrap_or_default(),
            trigger_job_id: row.trigger_job_id.clone().unwrap_or_default(),
            row_id: None,
        };
        of_this_source.then(|| (Arc::new(name()), problem.to_string()))
    });
    broken.chain(unusable).collect()
}

fn remarks_on_rows(view: &View, kind: SourceKind) -> Vec<String> {
    let duplicates =
        view.duplicates.iter().map(|index| &view.sensors[*index]).filter(|row| row.source == kind);
    duplicates
        .map(|row| {
            format!(
                "`{}` of job {} stands in the control table more than once; it counts once",
                row.id, row.job
            )
        })
        .collect()
}
