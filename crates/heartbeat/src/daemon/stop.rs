//! Stopping: one signal that all tasks of a daemon wait for besides their work.

use std::time::Duration;

use tokio::sync::watch;

/// Asks all tasks to stop.
#[derive(Debug)]
pub(super) struct Stopper(watch::Sender<bool>);

/// What a task asks.
#[derive(Debug, Clone)]
pub(super) struct Stop(watch::Receiver<bool>);

/// A stopper, and what its tasks get.
pub(super) fn stop() -> (Stopper, Stop) {
    let (sender, receiver) = watch::channel(false);
    (Stopper(sender), Stop(receiver))
}

impl Stopper {
    /// From now on [`Stop::asked`] returns.
    pub(super) fn stop(&self) {
        self.0.send_replace(true);
    }
}

impl Stop {
    /// Returns once the task is to stop. A stopper that is gone stops it as well.
    pub(super) async fn asked(&mut self) {
        drop(self.0.wait_for(|stop| *stop).await);
    }

    /// Waits; `None` when the task is to stop first.
    pub(super) async fn sleep(&mut self, time: Duration) -> Option<()> {
        self.unless_asked(tokio::time::sleep(time)).await
    }

    /// What `work` returns; `None` when the task is to stop first. The work is given up then.
    pub(super) async fn unless_asked<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.asked() => None,
            done = work => Some(done),
        }
    }
}
