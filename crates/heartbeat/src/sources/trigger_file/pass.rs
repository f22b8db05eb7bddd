//! One look: which folders are listed together, and what each listing means for the rows that asked.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use futures::{StreamExt as _, stream};
use heartbeat_core::files::is_trigger;
use heartbeat_core::secret::Secret;
use heartbeat_core::source::{Answer, Ask, Asset, Finding, Since, SourceError};

use super::judge::{self, FirstLook, Sight, Standing};
use super::part::Folder;
use super::sweep::{self, Swept};
use super::trust::Judge;
use super::{AT_A_TIME, Memory, REOPENED, TriggerFileSource, large, plan, queue};
use crate::stores::local;
use crate::stores::queue::Queue;
use crate::stores::{Fault, Order, Store, StoreError};

/// One look.
pub(super) struct Pass<'a> {
    pub(super) source: &'a TriggerFileSource,
    pub(super) store: Arc<Store>,
    pub(super) keys: Vec<Secret>,
    pub(super) queue: Option<Arc<Queue>>,
    pub(super) asks: &'a Arc<[Ask]>,
    /// Of calls to the store.
    pub(super) deadline: Instant,
    /// Of the look.
    pub(super) end: Instant,
    /// Folders that may not be listed, where a queue tells of their files.
    pub(super) unlisted: Mutex<BTreeSet<String>>,
}

pub(super) type Answers = Vec<(usize, Result<Answer, SourceError>)>;

/// A folder that is asked about, with the numbers of the questions.
#[derive(Clone)]
pub(super) struct Group<'a> {
    pub(super) name: &'a str,
    pub(super) asks: Vec<usize>,
}

impl<'a> Pass<'a> {
    pub(super) async fn run(self) -> Vec<Result<Answer, SourceError>> {
        let mut groups: BTreeMap<Vec<u8>, Group<'a>> = BTreeMap::new();
        let mut answers: Vec<Option<Result<Answer, SourceError>>> = self.asks.iter().map(|_| None).collect();
        for (index, ask) in self.asks.iter().enumerate() {
            match &ask.asset {
                // In the order of paths: `a-b/x` stands before `a/x`.
                Asset::Folder { name } => groups
                    .entry(format!("{name}/").into_bytes())
                    .or_insert_with(|| Group { name, asks: Vec::new() })
                    .asks
                    .push(index),
                Asset::Topic { .. } => {
                    let problem = "a Kafka topic is not a trigger folder".to_owned();
                    answers[index] = Some(Err(SourceError::Misconfigured { problem }));
                }
            }
        }
        let groups: Vec<Group<'a>> = groups.into_values().collect();
        let doubts = match &self.queue {
            Some(queue) => queue::look(&self, queue, &groups, &mut answers).await,
            None => self.listed(&groups, &mut answers).await,
        };
        if doubts {
            let mut opened = self.source.opened.lock().await;
            if opened.as_ref().is_some_and(|opened| opened.at.elapsed() > REOPENED) {
                self.source.secrets.doubt();
                *opened = None;
            }
        }
        let answered = answers.into_iter().zip(self.asks.iter());
        answered.map(|(answer, ask)| answer.unwrap_or_else(|| Err(self.timeout(ask)))).collect()
    }

    /// Lists the folders and judges them. True when the credentials should be read again.
    pub(super) async fn listed(
        &self,
        groups: &[Group<'a>],
        answers: &mut [Option<Result<Answer, SourceError>>],
    ) -> bool {
        let plan = self.plan(groups);
        let mut doubts = false;
        let mut alone = plan.alone;
        if let Store::Local(_) = &*self.store {
            alone = self.stand(groups, answers).await;
        }
        let at_a_time = if matches!(*self.store, Store::Local(_)) { local::AT_A_TIME } else { AT_A_TIME };
        let mut sweeps = plan.sweeps;
        // Folders that turn out to be large while they are swept come behind.
        while !(sweeps.is_empty() && alone.is_empty()) {
            let (these, those) = (std::mem::take(&mut sweeps), std::mem::take(&mut alone));
            let swept: Vec<_> = these.iter().map(|folders| self.sweep(groups, folders)).collect();
            let folders: Vec<_> = those.iter().map(|index| self.alone(&groups[*index])).collect();
            let swept = stream::iter(swept).buffer_unordered(AT_A_TIME);
            let folders = stream::iter(folders).buffer_unordered(at_a_time);
            let mut found = std::pin::pin!(stream::select(swept, folders));
            while let Ok(Some(found)) = tokio::time::timeout_at(self.end.into(), found.next()).await {
                doubts |= found.doubts;
                alone.extend(found.too_much);
                for (index, answer) in found.answers {
                    answers[index] = Some(answer);
                }
            }
        }
        doubts
    }

    fn plan(&self, groups: &[Group<'a>]) -> plan::Plan {
        let files: Vec<Option<u64>> = groups.iter().map(|group| self.known(group)).collect();
        let swept = self.source.limits.swept;
        match self.store.order() {
            Order::ByPath => plan::by_path(&files, swept),
            Order::None if self.store.has_directories() => {
                plan::Plan { sweeps: Vec::new(), alone: (0..groups.len()).collect() }
            }
            Order::None => {
                let beside = *self.source.beside.lock().unwrap_or_else(PoisonError::into_inner);
                plan::whole_or_each(&files, beside, swept)
            }
        }
    }

    /// Files that were seen in a folder; `None` where a row has not looked yet.
    fn known(&self, group: &Group<'a>) -> Option<u64> {
        let of = |index: &usize| match &self.asks[*index].since {
            Since::Position(heartbeat_core::position::Position::Files(cursor)) => Some(cursor.names()),
            _ => None,
        };
        let is_being_listed =
            self.source.folders().get(group.name).is_some_and(|memory| memory.large.is_first());
        // Where one row knows that it is large, it is.
        let known = group.asks.iter().filter_map(of).max();
        if is_being_listed { known.max(Some(u64::from(u32::MAX))) } else { known }
    }

    async fn sweep(&self, groups: &[Group<'a>], folders: &[usize]) -> Found {
        let names: Vec<&str> = folders.iter().map(|index| groups[*index].name).collect();
        let counts = |path: &str, folder: &str| self.counts(path, folder);
        let taken = self.source.limits.taken;
        let (swept, broke_off) = match self.store.order() {
            Order::ByPath => sweep::by_path(&self.store, &names, &counts, taken, self.deadline).await,
            Order::None => {
                let known: u64 = folders.iter().filter_map(|index| self.known(&groups[*index])).sum();
                let most = known + self.source.limits.swept * folders.len() as u64;
                let (swept, beside, broke_off) =
                    sweep::whole(&self.store, &names, &counts, taken, most, self.deadline).await;
                *self.source.beside.lock().unwrap_or_else(PoisonError::into_inner) = beside;
                (swept, broke_off)
            }
        };
        let mut sweep = Found { answers: Vec::new(), too_much: Vec::new(), doubts: false };
        if let Some(error) = broke_off {
            sweep.doubts = self.doubts(&error);
            let left = folders[swept.len()..].iter();
            sweep.answers = left.flat_map(|index| self.failed(&groups[*index], &error)).collect();
        }
        for (index, swept) in folders.iter().zip(swept) {
            match swept {
                Swept::TooMuch => sweep.too_much.push(*index),
                Swept::Whole(sight) => sweep.answers.extend(self.judged(&groups[*index], &sight).await),
            }
        }
        sweep
    }

    /// One folder by itself.
    async fn alone(&self, group: &Group<'a>) -> Found {
        let mut memory = self.source.folders().remove(group.name).unwrap_or_default();
        let found = match &*self.store {
            Store::Local(_) => self.here(group, &mut memory).await,
            _ => self.there(group, &mut memory).await,
        };
        self.source.folders().insert(group.name.to_owned(), memory);
        match found {
            Ok(answers) => Found { answers, too_much: Vec::new(), doubts: false },
            Err(error) => Found {
                answers: self.failed(group, &error),
                too_much: Vec::new(),
                doubts: self.doubts(&error),
            },
        }
    }

    /// What it means for the questions about a folder that it could not be listed. Where a queue tells of its files it need
    /// not be.
    fn failed(&self, group: &Group<'a>, error: &StoreError) -> Answers {
        if self.need_not_list(error) {
            self.unlisted().insert(group.name.to_owned());
            return Vec::new();
        }
        group.asks.iter().map(|index| (*index, Err(error.to_source()))).collect()
    }

    fn doubts(&self, error: &StoreError) -> bool {
        error.doubts_credentials() && !self.need_not_list(error)
    }

    /// Whether it may not list, and a queue tells of the files.
    pub(super) fn need_not_list(&self, error: &StoreError) -> bool {
        self.queue.is_some() && matches!(error.fault, Fault::Forbidden { .. })
    }

    pub(super) fn unlisted(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.unlisted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A folder on a store.
    async fn there(&self, group: &Group<'a>, memory: &mut Memory) -> Result<Answers, StoreError> {
        if self.is_large(group) || self.store.order() == Order::ByPath {
            return large::look(self, group, memory).await;
        }
        let counts = |path: &str, folder: &str| self.counts(path, folder);
        let folder = self.folder(group.name, &counts);
        let sight = folder.next(None).await?;
        if sight.is_everything() {
            return Ok(self.judged(group, &sight).await);
        }
        large::look(self, group, memory).await
    }

    pub(super) fn is_large(&self, group: &Group<'a>) -> bool {
        self.known(group).is_some_and(|files| files > self.source.limits.inline as u64)
    }

    pub(super) fn folder<'f>(
        &'f self,
        name: &'f str,
        counts: &'f (dyn Fn(&str, &str) -> bool + Sync),
    ) -> Folder<'f> {
        Folder {
            store: &self.store,
            name,
            counts,
            stretch: self.source.limits.stretch,
            deadline: self.deadline,
        }
    }

    /// Whether a file in a folder can be news.
    pub(super) fn counts(&self, path: &str, folder: &str) -> bool {
        let pattern = self.source.config.pattern.as_ref();
        is_trigger(path) && pattern.is_none_or(|pattern| pattern.matches(path, folder))
    }

    /// All questions about a folder that was seen whole.
    pub(super) async fn judged(&self, group: &Group<'a>, sight: &Sight) -> Answers {
        let mut answers = Vec::with_capacity(group.asks.len());
        for index in &group.asks {
            answers
                .push((*index, self.judge(group.name, &self.asks[*index], sight).await.map(judge::answer)));
        }
        answers
    }

    async fn judge(&self, name: &str, ask: &Ask, sight: &Sight) -> Result<Option<Finding>, SourceError> {
        let (rules, runs) = (self.source.rules(), &self.source.runs);
        let folder = self.source.folder_url(&self.store, name);
        let trusts = self.trusts(name);
        match judge::standing(ask, &folder, rules)? {
            Standing::At(cursor) => judge::compare(cursor, sight, rules, runs, &trusts).await,
            Standing::New(first, remark) => {
                let mut look = FirstLook::new(&folder, first, remark, rules);
                let part = look.judge(sight, rules, &trusts).await?;
                look.add(part);
                look.finish(runs).await.map(Some)
            }
        }
    }

    pub(super) fn trusts<'s>(&'s self, name: &'s str) -> Judge<'s> {
        Judge {
            store: &self.store,
            sensor_id: name,
            trust: &self.source.config.trust,
            keys: &self.keys,
            verdicts: &self.source.verdicts,
            deadline: self.deadline,
        }
    }

    fn timeout(&self, ask: &Ask) -> SourceError {
        let what = match &ask.asset {
            Asset::Folder { name } => self.store.url(name),
            Asset::Topic { .. } => self.store.url(""),
        };
        SourceError::Timeout { what: format!("folder `{what}`") }
    }
}

/// What some folders gave.
struct Found {
    answers: Answers,
    /// Those that have more files than were taken along.
    too_much: Vec<usize>,
    /// Whether the credentials should be read again.
    doubts: bool,
}
