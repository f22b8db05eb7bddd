//! A queue in memory that is as bad as a queue may be: messages come late, in any order, more than once, and deletions may
//! be lost.

use std::sync::{Mutex, MutexGuard, PoisonError};

use fastrand::Rng;
use jiff::Timestamp;

use super::super::error::{Fault, StoreError};
use super::{BATCH, Message, Received};

/// A queue that is gone with the process. Its time is counted in ticks.
#[derive(Debug)]
pub(crate) struct Memory(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    rng: Rng,
    tick: u64,
    now: Timestamp,
    hidden_for: u64,
    messages: Vec<Kept>,
    sent: u64,
    deliveries: u64,
    deleted: u64,
    behaves: bool,
    fails: bool,
}

#[derive(Debug)]
struct Kept {
    id: u64,
    body: String,
    shown_from: u64,
    receipt: Option<String>,
}

impl Memory {
    /// An empty queue whose messages are hidden for so many ticks.
    pub(crate) fn new(seed: u64, hidden_for: u64) -> Self {
        Self(Mutex::new(Inner {
            rng: Rng::with_seed(seed),
            tick: 0,
            now: Timestamp::UNIX_EPOCH,
            hidden_for,
            messages: Vec::new(),
            sent: 0,
            deliveries: 0,
            deleted: 0,
            behaves: false,
            fails: false,
        }))
    }

    /// A message that is there from so many ticks on.
    pub(crate) fn send(&self, body: String, delay: u64) {
        let mut inner = self.inner();
        inner.sent += 1;
        let (id, shown_from) = (inner.sent, inner.tick + delay);
        inner.messages.push(Kept { id, body, shown_from, receipt: None });
    }

    pub(crate) fn tick(&self, ticks: u64, now: Timestamp) {
        let mut inner = self.inner();
        inner.tick += ticks;
        inner.now = now;
    }

    /// From now on every message comes, and deletions count.
    pub(crate) fn behave(&self) {
        let mut inner = self.inner();
        inner.behaves = true;
        inner.fails = false;
    }

    /// Whether no call is answered.
    pub(crate) fn fail(&self, fails: bool) {
        self.inner().fails = fails;
    }

    /// Messages that were not deleted.
    pub(crate) fn len(&self) -> usize {
        self.inner().messages.len()
    }

    /// Deliveries so far, and deletions.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let inner = self.inner();
        (inner.deliveries, inner.deleted)
    }

    pub(super) fn receive(&self) -> Result<Received, StoreError> {
        let mut inner = self.inner();
        inner.answer()?;
        let tick = inner.tick;
        let mut shown: Vec<usize> =
            (0..inner.messages.len()).filter(|index| inner.messages[*index].shown_from <= tick).collect();
        let mut rng = inner.rng.fork();
        rng.shuffle(&mut shown);
        let most = if inner.behaves { BATCH } else { rng.usize(0..=BATCH) };
        shown.truncate(most);
        let mut messages = Vec::new();
        for index in shown {
            inner.deliveries += 1;
            let (delivery, hidden) = (inner.deliveries, inner.hidden_for);
            let is_hidden = inner.behaves || rng.u32(0..8) > 0;
            let kept = &mut inner.messages[index];
            let receipt = format!("{}-{delivery}", kept.id);
            if is_hidden {
                kept.shown_from = tick + hidden;
            }
            kept.receipt = Some(receipt.clone());
            messages.push(Message { id: kept.id.to_string(), receipt, body: kept.body.clone() });
        }
        Ok(Received { messages, now: Some(inner.now) })
    }

    pub(super) fn delete(&self, receipts: &[&str]) -> Result<(), StoreError> {
        let mut inner = self.inner();
        inner.answer()?;
        for receipt in receipts {
            let is_lost = !inner.behaves && inner.rng.u32(0..10) == 0;
            let found = inner.messages.iter().position(|kept| kept.receipt.as_deref() == Some(*receipt));
            if let Some(index) = found.filter(|_| !is_lost) {
                inner.messages.swap_remove(index);
                inner.deleted += 1;
            }
        }
        Ok(())
    }

    pub(super) fn hide(&self, receipts: &[&str]) -> Result<Vec<bool>, StoreError> {
        let mut inner = self.inner();
        inner.answer()?;
        let until = inner.tick + inner.hidden_for * 3;
        let hidden = receipts.iter().map(|receipt| {
            let kept = inner.messages.iter_mut().find(|kept| kept.receipt.as_deref() == Some(*receipt));
            kept.map(|kept| kept.shown_from = until).is_some()
        });
        Ok(hidden.collect())
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn answer(&self) -> Result<(), StoreError> {
        if self.fails {
            return Err(Fault::Unreachable { told: "trouble".to_owned(), cause: None }.of("queue"));
        }
        Ok(())
    }
}
