//! Queues that a bucket tells of new objects: receiving, deleting and hiding messages. Delivery is at least once, in no
//! order; a message that is received is hidden for a while, and comes again unless it is deleted.

#[cfg(test)]
pub(crate) mod memory;
mod sqs;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant};

use heartbeat_core::acon::StorageOptions;
use jiff::Timestamp;

use super::error::StoreError;
use crate::secrets::Secrets;

/// Messages of one answer, and entries of one request.
pub(crate) const BATCH: usize = 10;

/// A queue.
#[derive(Debug)]
pub(crate) enum Queue {
    /// Amazon SQS, or what speaks its protocol.
    Sqs(Box<sqs::Sqs>),
    /// This process.
    #[cfg(test)]
    Memory(memory::Memory),
}

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    /// Of the message, however often it comes.
    pub(crate) id: String,
    /// Of this delivery.
    pub(crate) receipt: String,
    pub(crate) body: String,
}

/// What one request received.
#[derive(Debug, Default)]
pub(crate) struct Received {
    /// At most [`BATCH`]. Fewer do not say that there are no more.
    pub(crate) messages: Vec<Message>,
    /// What time it is for the queue, where it says so.
    pub(crate) now: Option<Timestamp>,
}

impl Queue {
    /// The queue behind a URL. Credentials are read, nothing is asked yet.
    pub(crate) async fn open(
        url: &str,
        options: &StorageOptions,
        secrets: &Arc<Secrets>,
    ) -> Result<Self, StoreError> {
        Ok(Self::Sqs(Box::new(sqs::Sqs::open(url, options, secrets).await?)))
    }

    /// Messages, hidden from now on for so long. Waits at most `wait` for the first.
    pub(crate) async fn receive(
        &self,
        wait: Duration,
        hidden: Duration,
        deadline: Instant,
    ) -> Result<Received, StoreError> {
        match self {
            Self::Sqs(queue) => queue.receive(wait, hidden, deadline).await,
            #[cfg(test)]
            Self::Memory(queue) => queue.receive(),
        }
    }

    /// Deletes messages by the receipts of their deliveries, at most [`BATCH`]. Those whose receipt has run out may come
    /// again.
    pub(crate) async fn delete(&self, receipts: &[&str], deadline: Instant) -> Result<(), StoreError> {
        match self {
            Self::Sqs(queue) => queue.delete(receipts, deadline).await,
            #[cfg(test)]
            Self::Memory(queue) => queue.delete(receipts),
        }
    }

    /// Hides messages for so long from now on, at most [`BATCH`]. Tells for each whether it is.
    pub(crate) async fn hide(
        &self,
        receipts: &[&str],
        hidden: Duration,
        deadline: Instant,
    ) -> Result<Vec<bool>, StoreError> {
        match self {
            Self::Sqs(queue) => queue.hide(receipts, hidden, deadline).await,
            #[cfg(test)]
            Self::Memory(queue) => queue.hide(receipts),
        }
    }

    /// Whether all that is needed is allowed, with remarks on how the queue is set up. Nothing is hidden or deleted.
    pub(crate) async fn probe(&self, deadline: Instant) -> Result<Vec<String>, StoreError> {
        match self {
            Self::Sqs(queue) => queue.probe(deadline).await,
            #[cfg(test)]
            Self::Memory(_) => Ok(Vec::new()),
        }
    }
}
