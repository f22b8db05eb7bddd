//! Random histories of files that come, are overwritten, go, come late or under odd names, while listings fail or are cut
//! off and the watcher is killed: every path is news once.

use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;
use heartbeat_core::files::REMEMBERED;
use jiff::Timestamp;

use super::random::{self, Row, histories, limits};
use super::*;
use crate::stores::memory::Trouble;

struct World {
    rng: Rng,
    store: Arc<Store>,
    kept: Arc<MemoryRuns>,
    source: TriggerFileSource,
    rows: Vec<Row>,
    now: Timestamp,
    /// Seconds of the newest documented name.
    stamp: u32,
    /// When a listing was first to leave files out.
    cut_off: Option<Timestamp>,
    /// Files that were there at some time.
    ever: BTreeSet<String>,
    /// How often a file that had gone was made again after so long that names may be forgotten.
    again: BTreeMap<String, u32>,
}

const BEGAN: &str = "2026-03-01T12:00:00Z";

const FOLDERS: [&str; 4] = ["a", "a-b", "a.b", "b"];

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let order = if rng.bool() { Order::ByPath } else { Order::None };
        let store = Arc::new(Store::Memory(MemoryStore::new(order, rng.usize(1..9))));
        let kept = Arc::new(MemoryRuns::default());
        let source = source(&mut rng, &store, &kept);
        let mut rows = Vec::new();
        for folder in FOLDERS.iter().take(rng.usize(1..=4)) {
            for _ in 0..rng.usize(1..=2) {
                rows.push(Row::of(folder));
            }
        }
        let now = BEGAN.parse().unwrap();
        memory(&store).set_now(now);
        Self {
            rng,
            store,
            kept,
            source,
            rows,
            now,
            stamp: 0,
            cut_off: None,
            ever: BTreeSet::new(),
            again: BTreeMap::new(),
        }
    }

    fn name(&mut self) -> String {
        let folder = FOLDERS[self.rng.usize(0..4)];
        let number = self.rng.u32(0..40);
        let path = match self.rng.u32(0..10) {
            0 => format!("late/{number:03}.txt"),
            1 => format!("z{number}"),
            2 => format!("{folder}_20260201_0000{:02}.txt", number % 60),
            3 => format!("{folder}_20990101_0000{:02}.txt", number % 60),
            4 => ["_SUCCESS", ".x", "y.tmp", "_d/x", "sub/", "a//b"][self.rng.usize(0..6)].to_owned(),
            _ => {
                self.stamp += self.rng.u32(0..3);
                format!(
                    "{folder}_20260301_{:02}{:02}{:02}.txt",
                    12 + self.stamp / 3600,
                    self.stamp / 60 % 60,
                    self.stamp % 60
                )
            }
        };
        format!("{folder}/{path}")
    }

    fn put(&mut self, path: &str) {
        let is_there = memory(&self.store).paths().iter().any(|there| there == path);
        let is_late = self.now.duration_since(BEGAN.parse().unwrap()) >= REMEMBERED;
        if !self.ever.insert(path.to_owned()) && !is_there && is_late {
            *self.again.entry(path.to_owned()).or_default() += 1;
        }
        memory(&self.store).put(path, "Success");
    }

    async fn step(&mut self) {
        match self.rng.u32(0..20) {
            0..=6 => {
                let many = if self.rng.u32(0..12) == 0 { 30 } else { 1 };
                for _ in 0..many {
                    let path = self.name();
                    self.put(&path);
                }
            }
            7..=8 => {
                let paths = memory(&self.store).paths();
                if !paths.is_empty() {
                    let path = &paths[self.rng.usize(0..paths.len())];
                    if self.rng.bool() {
                        memory(&self.store).remove(path);
                    } else {
                        memory(&self.store).put(path, "Again");
                    }
                }
            }
            9 => memory(&self.store).put(["other/x", "a-/x", "c"][self.rng.usize(0..3)], "x"),
            10 => {
                for _ in 0..self.rng.u32(1..4) {
                    memory(&self.store).trouble(Trouble::None);
                }
                let trouble = random::trouble(&mut self.rng, self.now, &mut self.cut_off);
                memory(&self.store).trouble(trouble);
            }
            // Killed: whatever was not committed is lost.
            11 => self.source = source(&mut self.rng, &self.store, &self.kept),
            12 => {
                let hours = if self.rng.u32(0..3) == 0 { 250 } else { 10 };
                self.now += SignedDuration::from_mins(self.rng.i64(1..hours * 60));
                memory(&self.store).set_now(self.now);
                if self.cut_off.is_some_and(|at| self.now.duration_since(at) >= REMEMBERED) {
                    memory(&self.store).clear_troubles();
                }
            }
            _ => {
                let is_partial = self.rng.u32(0..4) == 0;
                self.look(0.7, is_partial).await;
            }
        }
    }

    /// A look, of some rows only where it is partial; each answer is committed with this probability.
    async fn look(&mut self, commits: f64, is_partial: bool) {
        let mut asked: Vec<usize> = (0..self.rows.len()).collect();
        if is_partial {
            self.rng.shuffle(&mut asked);
            asked.truncate(self.rng.usize(1..=self.rows.len()));
        }
        let asks: Arc<[Ask]> =
            asked.iter().map(|row| ask(self.rows[*row].folder, self.rows[*row].since.clone())).collect();
        if self.rng.bool() {
            // The next full listing is due.
            for memory in self.source.folders().values_mut() {
                memory.large.make_due();
            }
        }
        let answers = self.source.look(&asks, soon()).await;
        for (row, answer) in asked.into_iter().zip(answers) {
            if self.rng.f64() >= commits {
                continue;
            }
            self.rows[row].commit(answer);
        }
    }

    async fn settle(&mut self) {
        memory(&self.store).clear_troubles();
        // A look may list no more than a page, and that may be one file.
        let parts = memory(&self.store).paths().len() + 20;
        for _ in 0..2 {
            for _ in 0..parts {
                self.look(1.0, false).await;
            }
            for memory in self.source.folders().values_mut() {
                memory.large.make_due();
            }
        }
        for _ in 0..parts {
            self.look(1.0, false).await;
        }
    }

    fn verdict(&self) -> Result<(), String> {
        let there: BTreeSet<String> = memory(&self.store).paths().into_iter().collect();
        self.rows.iter().try_for_each(|row| row.verdict(&there, &self.again))
    }
}

fn source(rng: &mut Rng, store: &Arc<Store>, kept: &Arc<MemoryRuns>) -> TriggerFileSource {
    let config = TriggerFiles::at(Location::parse("s3://bucket/base").unwrap());
    let limits = limits(rng);
    let runs: Arc<dyn RunStore> = Arc::<MemoryRuns>::clone(kept);
    let source = TriggerFileSource::new(&config, &Arc::new(Secrets::default()), runs);
    source.with_limits(limits).on(Arc::clone(store))
}

async fn history(seed: u64) -> Result<(), String> {
    let mut world = World::new(seed);
    for _ in 0..world.rng.u32(5..60) {
        world.step().await;
    }
    world.settle().await;
    world.verdict()
}

#[test]
fn every_path_is_news_once() {
    histories(history);
}
