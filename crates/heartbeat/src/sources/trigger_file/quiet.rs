//! Folders of this machine that need not be read, and the reading of the others.

use std::sync::{Arc, Mutex, PoisonError};

use heartbeat_core::files::is_trigger;
use heartbeat_core::source::{Answer, Ask, SourceError};

use super::judge::Sight;
use super::pass::{Answers, Group, Pass};
use super::{Memory, here, large};
use crate::stores::{Fault, Store, StoreError};

/// Directories in which nothing was new for these questions.
#[derive(Debug)]
pub(super) struct Quiet {
    pub(super) directories: here::Directories,
    asks: Vec<Ask>,
}

impl<'a> Pass<'a> {
    /// A folder of this machine.
    pub(super) async fn here(&self, group: &Group<'a>, memory: &mut Memory) -> Result<Answers, StoreError> {
        if self.is_large(group) {
            return large::look(self, group, memory).await;
        }
        let (sight, directories) = self.read_here(group.name, None, self.source.limits.stretch).await?;
        if !sight.is_everything() {
            return large::look(self, group, memory).await;
        }
        let answers = self.judged(group, &sight).await;
        self.is_quiet(group, &answers, directories, memory);
        Ok(answers)
    }

    /// Remembers that nothing was new in directories.
    pub(super) fn is_quiet(
        &self,
        group: &Group<'a>,
        answers: &Answers,
        directories: here::Directories,
        memory: &mut Memory,
    ) {
        if answers.iter().all(|(_, answer)| matches!(answer, Ok(Answer::Same))) {
            let asks = group.asks.iter().map(|index| self.asks[*index].clone()).collect();
            memory.quiet = Some(Quiet { directories, asks });
        }
    }

    /// Folders of this machine that need not be read, because no directory has changed since nothing was new: they are
    /// answered, and the others left. A directory that hangs keeps one reader.
    pub(super) async fn stand(
        &self,
        groups: &[Group<'a>],
        answers: &mut [Option<Result<Answer, SourceError>>],
    ) -> Vec<usize> {
        let Store::Local(local) = &*self.store else { return (0..groups.len()).collect() };
        let mut left = Vec::new();
        let mut quiet = Vec::new();
        {
            let mut folders = self.source.folders();
            for (index, group) in groups.iter().enumerate() {
                let memory = folders.get_mut(group.name);
                let memory = memory.filter(|memory| !memory.large.has_work());
                let asked = group.asks.iter().map(|index| &self.asks[*index]);
                match memory.and_then(|memory| memory.quiet.take()) {
                    Some(found) if found.asks.iter().eq(asked) => quiet.push((index, found)),
                    _ => left.push(index),
                }
            }
        }
        let (done, mut arriving) = tokio::sync::mpsc::unbounded_channel();
        let queue = Arc::new(Mutex::new(quiet));
        for thread in local.free_threads() {
            let (queue, done, local) = (Arc::clone(&queue), done.clone(), local.clone());
            tokio::task::spawn_blocking(move || {
                let _thread = thread;
                while let Some((index, quiet)) = pop(&queue) {
                    let call = local.begin(quiet.directories.folder());
                    let stands = call.is_some() && quiet.directories.stand(local.root());
                    if done.send((index, quiet, stands)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(done);
        while let Ok(Some((index, quiet, stands))) =
            tokio::time::timeout_at(self.end.into(), arriving.recv()).await
        {
            let group = &groups[index];
            if stands {
                for ask in &group.asks {
                    answers[*ask] = Some(Ok(Answer::Same));
                }
                self.source.folders().entry(group.name.to_owned()).or_default().quiet = Some(quiet);
            } else {
                left.push(index);
            }
        }
        // No thread was free for these.
        left.extend(std::iter::from_fn(|| pop(&queue)).map(|(index, _)| index));
        left.sort_unstable();
        left
    }

    pub(super) async fn read_here(
        &self,
        name: &str,
        after: Option<String>,
        most: usize,
    ) -> Result<(Sight, here::Directories), StoreError> {
        let Store::Local(local) = &*self.store else {
            return Err(Fault::Misconfigured("is not on this machine".to_owned()).of("folder"));
        };
        let (root, name, deadline) = (local.root().to_owned(), name.to_owned(), self.deadline);
        let pattern = self.source.config.pattern.clone();
        let folder = name.clone();
        local
            .call(&folder, self.deadline, move || {
                let counts = move |path: &str, folder: &str| {
                    is_trigger(path) && pattern.as_ref().is_none_or(|pattern| pattern.matches(path, folder))
                };
                here::read(&root, &name, after.as_deref(), most, &counts, deadline)
            })
            .await
    }
}

fn pop<T>(queue: &Mutex<Vec<T>>) -> Option<T> {
    queue.lock().unwrap_or_else(PoisonError::into_inner).pop()
}
