//! Collects journal entries until somebody writes them: off the critical path, and never more than fit in memory.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use heartbeat_core::acon::SourceKind;
use heartbeat_core::ids::JobId;
use heartbeat_core::journal::{Entry, Event};
use jiff::Timestamp;

/// Most entries that wait to be written; beyond it the oldest are lost, and counted.
const MOST_WAITING: usize = 100_000;

/// Entries of one process, waiting to be written.
#[derive(Debug)]
pub struct Scribe {
    writer: String,
    keeps: bool,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    waiting: VecDeque<Entry>,
    lost: u64,
    /// Keys of what is noted once.
    once: HashSet<String>,
}

/// What an entry is about.
#[derive(Debug, Clone, Copy, Default)]
pub struct About<'a> {
    /// Source of the row.
    pub source: Option<SourceKind>,
    /// `sensor_id` of the row.
    pub sensor_id: Option<&'a str>,
    /// The job.
    pub job: Option<&'a JobId>,
    /// The run.
    pub run_id: Option<i64>,
}

impl Scribe {
    /// Entries will say that `command` wrote them, with this machine's name and the process id.
    pub fn new(command: &str) -> Self {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Self {
            writer: format!("{command}@{host}:{}", std::process::id()),
            keeps: true,
            inner: Mutex::default(),
        }
    }

    /// The same, keeping nothing: nobody will write it.
    #[must_use]
    pub fn silent(self) -> Self {
        Self { keeps: false, ..self }
    }

    /// Who writes.
    pub fn writer(&self) -> &str {
        &self.writer
    }

    /// Notes what happened.
    pub fn note(
        &self,
        at: Timestamp,
        event: Event,
        about: About<'_>,
        message: impl Into<String>,
        detail: Option<String>,
    ) {
        if !self.keeps {
            return;
        }
        let entry = Entry {
            at,
            event: event.as_str().to_owned(),
            sensor_source: about.source.map(|source| source.as_str().to_owned()),
            sensor_id: about.sensor_id.map(str::to_owned),
            trigger_job_id: about.job.map(ToString::to_string),
            run_id: about.run_id,
            writer: self.writer.clone(),
            message: message.into(),
            detail,
        };
        let mut inner = self.lock();
        inner.waiting.push_back(entry);
        inner.shorten();
    }

    /// Notes what would be told again and again, once per `key`; true that once.
    pub fn note_once(
        &self,
        key: String,
        at: Timestamp,
        event: Event,
        about: About<'_>,
        message: &str,
    ) -> bool {
        let is_new = self.lock().remember(key);
        if is_new {
            self.note(at, event, about, message, None);
        }
        is_new
    }

    /// Takes all that waits, oldest first, and how many were lost since the last time.
    pub fn take(&self) -> (Vec<Entry>, u64) {
        let mut inner = self.lock();
        (inner.waiting.drain(..).collect(), std::mem::take(&mut inner.lost))
    }

    /// Gives back what could not be written; it goes before what came since.
    pub fn give_back(&self, entries: Vec<Entry>) {
        let mut inner = self.lock();
        for entry in entries.into_iter().rev() {
            inner.waiting.push_front(entry);
        }
        inner.shorten();
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// True the first time. Forgets all when there are too many: telling twice does no harm.
    fn remember(&mut self, key: String) -> bool {
        if self.once.len() >= MOST_WAITING {
            self.once.clear();
        }
        self.once.insert(key)
    }

    fn shorten(&mut self) {
        while self.waiting.len() > MOST_WAITING {
            self.waiting.pop_front();
            self.lost += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_taken_in_order_and_given_back_before_newer_ones() {
        let scribe = Scribe::new("test");
        let note = |message: &str| {
            scribe.note(Timestamp::UNIX_EPOCH, Event::Daemon, About::default(), message, None);
        };
        note("one");
        note("two");
        let (taken, lost) = scribe.take();
        note("three");
        scribe.give_back(taken);
        let messages: Vec<String> = scribe.take().0.into_iter().map(|entry| entry.message).collect();
        assert_eq!((messages, lost), (vec!["one".to_owned(), "two".to_owned(), "three".to_owned()], 0));
    }

    #[test]
    fn the_oldest_are_lost_and_counted() {
        let scribe = Scribe::new("test");
        for index in 0..MOST_WAITING + 3 {
            scribe.note(Timestamp::UNIX_EPOCH, Event::Daemon, About::default(), index.to_string(), None);
        }
        let (entries, lost) = scribe.take();
        assert_eq!((entries.len(), lost, entries[0].message.as_str()), (MOST_WAITING, 3, "3"));
    }
}
