//! Calls to the file system. A mount that hangs keeps the thread of a call, perhaps for ever.
//!
//! So there is one call at a time about each folder, and a few for each base: what waits for them fails, and takes no thread
//! more. The tables of this machine are read by threads of the same pool, and go on.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::super::error::{Fault, StoreError};

/// Calls of a base that are under way at a time.
pub(crate) const AT_A_TIME: usize = 8;

/// The calls of a base.
#[derive(Debug, Clone)]
pub(crate) struct Calls {
    threads: Arc<Semaphore>,
    under_way: Arc<Mutex<BTreeSet<String>>>,
}

/// A thread for calls.
#[derive(Debug)]
pub(crate) struct Thread(#[expect(dead_code, reason = "held")] OwnedSemaphorePermit);

/// A call under way; it is over when this goes.
#[derive(Debug)]
pub(crate) struct Call {
    calls: Calls,
    about: String,
}

impl Default for Calls {
    fn default() -> Self {
        Self { threads: Arc::new(Semaphore::new(AT_A_TIME)), under_way: Arc::default() }
    }
}

impl Calls {
    /// Makes a call in a thread of its own. An error when an earlier call about the same has not come back, or when no
    /// thread is free until the deadline. Once it has begun it goes on to its end, whoever still waits for it.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        about: String,
        deadline: Instant,
        work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let what = || format!("`{about}`");
        let call = self.begin(&about).ok_or_else(|| {
            let told = "an earlier call has not come back, as when a mount hangs".to_owned();
            Fault::Unreachable { told, cause: None }.of(what())
        })?;
        let thread = Arc::clone(&self.threads).acquire_owned();
        let Ok(Ok(thread)) = tokio::time::timeout_at(deadline.into(), thread).await else {
            return Err(Fault::Timeout.of(what()));
        };
        let held = (call, Thread(thread));
        let done = tokio::task::spawn_blocking(move || {
            let _held = held;
            work()
        });
        done.await.unwrap_or_else(|error| {
            Err(Fault::Unreachable { told: error.to_string(), cause: None }.of(what()))
        })
    }

    /// Threads that are free now.
    pub(crate) fn free_threads(&self) -> Vec<Thread> {
        std::iter::from_fn(|| Arc::clone(&self.threads).try_acquire_owned().ok()).map(Thread).collect()
    }

    /// A call about something; `None` while another is under way.
    pub(crate) fn begin(&self, about: &str) -> Option<Call> {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        under_way.insert(about.to_owned()).then(|| Call { calls: self.clone(), about: about.to_owned() })
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.calls.under_way.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.about);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_millis(20)
    }

    #[tokio::test]
    async fn what_hangs_keeps_one_thread_and_others_go_on_while_there_are_any() {
        let calls = Calls::default();
        let mut ends = Vec::new();
        for number in 0..AT_A_TIME {
            let about = format!("f{number}");
            let (end, hangs) = mpsc::channel::<()>();
            ends.push(end);
            let cut_off = tokio::time::timeout(
                Duration::from_millis(20),
                calls.run(about.clone(), soon(), move || {
                    let _ = hangs.recv();
                    Ok(())
                }),
            );
            assert!(cut_off.await.is_err());
            let again = calls.run(about, soon(), || Ok(())).await.unwrap_err();
            assert!(again.to_string().contains("an earlier call has not come back"), "{again}");
            let is_last = number + 1 == AT_A_TIME;
            let other = calls.run("other".to_owned(), soon(), || Ok(())).await;
            assert_eq!(matches!(other, Err(StoreError { fault: Fault::Timeout, .. })), is_last, "{other:?}");
        }
        assert!(calls.free_threads().is_empty());
        ends.pop();
        let later = Instant::now() + Duration::from_mins(1);
        calls.run("other".to_owned(), later, || Ok(())).await.unwrap();
        drop(ends);
        // All of them come back, and their folders can be asked about again.
        let all = Arc::clone(&calls.threads).acquire_many_owned(AT_A_TIME as u32).await.unwrap();
        drop(all);
        calls.run("f0".to_owned(), later, || Ok(())).await.unwrap();
    }
}
