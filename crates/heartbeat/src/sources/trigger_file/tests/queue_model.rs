//! Random histories of files that a queue tells of: messages come late, in any order, twice, again after they were deleted,
//! or never; listings are forbidden, fail or lag; rows wait; the watcher is killed. Every path is news once.

use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;
use heartbeat_core::files::REMEMBERED;
use heartbeat_core::source::Absent;
use jiff::Timestamp;
use serde_json::json;

use super::random::{self, Row, histories, limits};
use super::*;

struct World {
    rng: Rng,
    store: Arc<Store>,
    queue: Arc<Queue>,
    kept: Arc<MemoryRuns>,
    source: TriggerFileSource,
    rows: Vec<Row>,
    now: Timestamp,
    number: u32,
    forbids_listing: bool,
    /// Messages that were sent, to be sent again: the file, and the body.
    sent: Vec<(String, String)>,
    /// Files that a message was sent for, in folders that have rows.
    told: BTreeSet<String>,
    /// Messages that nobody deletes.
    strangers: usize,
    /// When a listing was first to leave files out. One that does so a week later is as good as a file that has gone.
    cut_off: Option<Timestamp>,
}

const FOLDERS: [&str; 3] = ["a", "a-b", "b"];
const HIDDEN_FOR: u64 = 5;

fn source(
    rng: &mut Rng,
    store: &Arc<Store>,
    queue: &Arc<Queue>,
    kept: &Arc<MemoryRuns>,
) -> TriggerFileSource {
    let config = TriggerFiles::at(Location::parse("s3://bucket/base").unwrap());
    let small = limits(rng);
    let limits = Limits {
        in_hand: rng.usize(10..40),
        hidden: if rng.bool() { Duration::ZERO } else { Duration::from_mins(5) },
        ..small
    };
    let runs: Arc<dyn RunStore> = Arc::<MemoryRuns>::clone(kept);
    let source = TriggerFileSource::new(&config, &Arc::new(Secrets::default()), runs);
    source.with_limits(limits).on(Arc::clone(store)).told_by(Arc::clone(queue))
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let order = if rng.bool() { Order::ByPath } else { Order::None };
        let store = Arc::new(Store::Memory(MemoryStore::new(order, rng.usize(1..9))));
        let queue = Arc::new(Queue::Memory(MemoryQueue::new(seed, HIDDEN_FOR)));
        let kept = Arc::new(MemoryRuns::default());
        let source = source(&mut rng, &store, &queue, &kept);
        let mut rows = Vec::new();
        for folder in FOLDERS.iter().take(rng.usize(1..=3)) {
            for _ in 0..rng.usize(1..=3) {
                rows.push(Row::of(folder));
            }
        }
        let forbids_listing = rng.bool();
        let now = "2026-03-01T12:00:00Z".parse().unwrap();
        let mut world = Self {
            rng,
            store,
            queue,
            kept,
            source,
            rows,
            now,
            number: 0,
            forbids_listing,
            sent: Vec::new(),
            told: BTreeSet::new(),
            strangers: 0,
            cut_off: None,
        };
        world.memory().forbid_listing(forbids_listing);
        world.pass(0, SignedDuration::ZERO);
        world
    }

    fn memory(&self) -> &MemoryStore {
        memory(&self.store)
    }

    fn messages(&self) -> &MemoryQueue {
        messages(&self.queue)
    }

    fn pass(&mut self, ticks: u64, time: SignedDuration) {
        self.now += time;
        self.memory().set_now(self.now);
        if self.cut_off.is_some_and(|at| self.now.duration_since(at) >= REMEMBERED) {
            self.memory().clear_troubles();
        }
        self.messages().tick(ticks, self.now);
    }

    /// Names never come back once they were removed: those that are forgotten would rightly be new.
    fn path(&mut self) -> String {
        let folder = FOLDERS[self.rng.usize(0..FOLDERS.len())];
        self.number += 1;
        let number = self.number;
        let path = match self.rng.u32(0..8) {
            0 => format!("late/{number:03}.txt"),
            1 => format!("z {number}+é"),
            2 => [format!("_hidden{number}"), format!("{number}.tmp")][self.rng.usize(0..2)].clone(),
            3 => format!("{folder}_20260201_0000{:02}.txt", number % 60) + &"x".repeat(number as usize / 60),
            _ => format!(
                "{folder}_20260301_{:02}{:02}{:02}.txt",
                12 + number / 3600,
                number / 60 % 60,
                number % 60
            ),
        };
        format!("{folder}/{path}")
    }

    fn event(&mut self, kind: &str, path: &str) -> String {
        let key: String = url::form_urlencoded::byte_serialize(format!("base/{path}").as_bytes()).collect();
        let event = json!({"Records": [{
            "eventName": kind, "eventTime": self.now.to_string(),
            "s3": {"bucket": {"name": "bucket"}, "object": {"key": key, "size": 7, "sequencer": "0A"}},
        }]});
        match self.rng.u32(0..4) {
            0 => json!({"Type": "Notification", "Message": event.to_string()}).to_string(),
            _ => event.to_string(),
        }
    }

    fn send(&mut self, body: String) {
        let delay = if self.rng.bool() { 0 } else { self.rng.u64(0..30) };
        self.messages().send(body, delay);
    }

    /// A file is written, and the queue told of it; perhaps twice, or never, if somebody else finds it.
    fn put(&mut self, path: &str) {
        self.memory().put(path, "Success");
        let body = self.event("ObjectCreated:Put", path);
        if !self.forbids_listing && self.rng.u32(0..6) == 0 {
            return;
        }
        let times = if self.rng.u32(0..5) == 0 { 2 } else { 1 };
        for _ in 0..times {
            self.send_of(path, body.clone());
        }
        self.sent.push((path.to_owned(), body));
    }

    fn send_of(&mut self, path: &str, body: String) {
        let (folder, name) = path.split_once('/').unwrap();
        if is_trigger(name) {
            if self.rows.iter().any(|row| row.folder == folder) {
                self.told.insert(path.to_owned());
            } else {
                self.strangers += 1;
            }
        }
        self.send(body);
    }

    async fn step(&mut self) {
        match self.rng.u32(0..24) {
            0..=6 => {
                let many = if self.rng.u32(0..12) == 0 { 40 } else { 1 };
                for _ in 0..many {
                    let path = self.path();
                    self.put(&path);
                }
            }
            7..=8 => {
                let paths = self.memory().paths();
                if !paths.is_empty() {
                    let path = paths[self.rng.usize(0..paths.len())].clone();
                    if self.rng.bool() {
                        self.memory().remove(&path);
                        let body = self.event("ObjectRemoved:Delete", &path);
                        self.send(body);
                    } else {
                        self.put(&path);
                    }
                }
            }
            9 => {
                // Somebody else's, or nobody's.
                let bodies = [
                    json!({"Records": [{"eventName": "ObjectCreated:Put",
                        "s3": {"bucket": {"name": "other"}, "object": {"key": "base/a/x"}}}]})
                    .to_string(),
                    "hello".to_owned(),
                ];
                self.strangers += 1;
                let body = bodies[self.rng.usize(0..2)].clone();
                self.send(body);
            }
            10 => {
                let trial = json!({"Event": "s3:TestEvent", "Bucket": "bucket"}).to_string();
                self.send(trial);
            }
            11 => {
                // An old message comes once more.
                if !self.sent.is_empty() {
                    let (path, body) = self.sent[self.rng.usize(0..self.sent.len())].clone();
                    self.send_of(&path, body);
                }
            }
            12 => {
                let trouble = random::trouble(&mut self.rng, self.now, &mut self.cut_off);
                self.memory().trouble(trouble);
            }
            13 => {
                let fails = self.rng.bool();
                self.messages().fail(fails);
            }
            // Killed: whatever was in hand or not committed is lost.
            14 => self.source = source(&mut self.rng, &self.store, &self.queue, &self.kept),
            15 => {
                let hours = if self.rng.u32(0..3) == 0 { 100 } else { 2 };
                let ticks = self.rng.u64(0..20);
                let minutes = self.rng.i64(1..hours * 60);
                self.pass(ticks, SignedDuration::from_mins(minutes));
            }
            _ => {
                let is_partial = self.rng.u32(0..2) == 0;
                let lists = self.rng.u32(0..4) == 0;
                self.look(0.7, is_partial, lists).await;
            }
        }
    }

    /// A look, of some rows only where it is partial; each answer is committed with this probability.
    async fn look(&mut self, commits: f64, is_partial: bool, lists: bool) {
        let mut asked: Vec<usize> = (0..self.rows.len()).collect();
        let mut others = Vec::new();
        if is_partial {
            self.rng.shuffle(&mut asked);
            others = asked.split_off(self.rng.usize(1..=self.rows.len()));
        }
        let asks: Arc<[Ask]> =
            asked.iter().map(|row| ask(self.rows[*row].folder, self.rows[*row].since.clone())).collect();
        let absent = others.into_iter().map(|row| {
            let row = &self.rows[row];
            let asset = Asset::Folder { name: row.folder.to_owned() };
            Absent { asset, since: Some(row.since.clone()).filter(|_| self.rng.u32(0..5) > 0) }
        });
        self.source.absent(&absent.collect());
        if lists {
            self.source.told().make_due();
            for memory in self.source.folders().values_mut() {
                memory.large.make_due();
            }
        }
        let answers = self.source.look(&asks, soon()).await;
        let ticks = self.rng.u64(0..3);
        self.pass(ticks, SignedDuration::ZERO);
        for (row, answer) in asked.into_iter().zip(answers) {
            if self.rng.f64() >= commits {
                continue;
            }
            self.rows[row].commit(answer);
        }
    }

    async fn settle(&mut self) {
        self.memory().clear_troubles();
        self.messages().behave();
        // A look may list no more than a page, and that may be one file; a hidden message comes after a while.
        let looks = self.memory().paths().len() + self.messages().len() + 40;
        for round in 0..3 {
            for look in 0..looks {
                self.look(1.0, false, !self.forbids_listing && look == 0 && round < 2).await;
                self.pass(1, SignedDuration::ZERO);
            }
        }
    }

    fn verdict(&self) -> Result<(), String> {
        let there: BTreeSet<String> = self.memory().paths().into_iter().collect();
        let expected = if self.forbids_listing { &self.told } else { &there };
        self.rows.iter().try_for_each(|row| row.verdict(expected, &BTreeMap::new()))?;
        if self.messages().len() != self.strangers {
            let (left, strangers) = (self.messages().len(), self.strangers);
            return Err(format!("{left} messages are left of {strangers} that are nobody's"));
        }
        Ok(())
    }
}

async fn history(seed: u64) -> Result<(u64, u64), String> {
    let mut world = World::new(seed);
    for _ in 0..world.rng.u32(5..70) {
        world.step().await;
    }
    world.settle().await;
    world.verdict().map(|()| world.messages().counts())
}

#[test]
fn every_path_is_news_once_however_messages_come() {
    let counts = histories(history);
    let (delivered, deleted): (Vec<u64>, Vec<u64>) = counts.into_iter().unzip();
    println!("{} deliveries, {} deletions", delivered.iter().sum::<u64>(), deleted.iter().sum::<u64>());
}
