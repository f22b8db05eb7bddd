//! A table in memory, for tests and as the model that real stores are held against.

use std::convert::Infallible;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::table::{Changes, Commit, Record, Snapshot, Table};

/// Rows under a version number; commits are compare-and-swap.
#[derive(Debug)]
pub struct MemoryTable<R> {
    id: String,
    inner: Mutex<(u64, Vec<R>)>,
}

impl<R: Record> MemoryTable<R> {
    /// A table with these rows at version 0.
    pub fn new(id: impl Into<String>, rows: Vec<R>) -> Self {
        Self { id: id.into(), inner: Mutex::new((0, rows)) }
    }

    /// Changes the rows as a foreign writer would: one more version.
    pub fn edit(&self, change: impl FnOnce(&mut Vec<R>)) {
        let mut inner = self.lock();
        change(&mut inner.1);
        inner.0 += 1;
    }

    fn lock(&self) -> MutexGuard<'_, (u64, Vec<R>)> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn snapshot(&self, inner: &(u64, Vec<R>)) -> Snapshot<R, ()> {
        Snapshot { table_id: self.id.clone(), version: inner.0, rows: inner.1.clone(), backing: () }
    }
}

impl<R: Record> Table<R> for MemoryTable<R> {
    type Backing = ();
    type Error = Infallible;

    async fn load(&self) -> Result<Snapshot<R, ()>, Infallible> {
        Ok(self.snapshot(&self.lock()))
    }

    async fn is_current(&self, version: u64, (): &()) -> Result<bool, Infallible> {
        Ok(self.lock().0 == version)
    }

    async fn commit(
        &self,
        base: Snapshot<R, ()>,
        changes: Changes<R>,
        _step: &str,
    ) -> Result<Commit<Snapshot<R, ()>>, Infallible> {
        if changes.is_empty() {
            return Ok(Commit::Done(base));
        }
        let mut inner = self.lock();
        if inner.0 != base.version {
            return Ok(Commit::Conflict);
        }
        *inner = (base.version + 1, changes.apply(&inner.1));
        Ok(Commit::Done(self.snapshot(&inner)))
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;
    use crate::row::SensorRow;

    #[test]
    fn conforms() {
        let row = |id: &str| SensorRow { sensor_id: Some(id.into()), ..SensorRow::default() };
        let make = |rows| async { MemoryTable::new("id", rows) };
        let all = pin!(crate::conformance::all(make, ["a", "b", "c"].map(row)));
        assert_eq!(all.poll(&mut Context::from_waker(Waker::noop())), Poll::Ready(()), "nothing here waits");
    }
}
