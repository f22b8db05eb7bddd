//! A small Kafka broker in this process, for `heartbeat demo` and for tests: nothing to install, nothing on disk.
//!
//! It speaks the protocol to any client: topics, records as they come (compressed or not), transactions with their
//! markers, both isolation levels, deleted records. It has one broker, no replication, no groups, no login, and it
//! keeps everything in memory: none of it is meant for data that matters. The tests hold it against a real broker.
//!
//! `state` and `log` decide, `dispatch`, `answer` and `write` translate the protocol; only this file does I/O.

mod answer;
mod dispatch;
mod log;
mod state;
mod write;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use jiff::Timestamp;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::ApiKey;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use self::state::State;

const MAX_REQUEST: usize = 100 << 20;

/// Which broker to be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Era {
    /// All versions that are served.
    #[default]
    Current,
    /// As Kafka 2.1 tells them: no topic ids, no flexible versions.
    Kafka2_1,
    /// Too old for heartbeat: offsets without isolation level.
    Ancient,
}

/// The embedded broker.
#[derive(Debug)]
pub struct Broker;

/// A running broker; it ends when this is dropped.
#[derive(Debug)]
pub struct BrokerHandle {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

/// Why the broker would not do something.
#[derive(Debug, thiserror::Error)]
#[error("topic `{topic}`: {reason}")]
pub struct BrokerError {
    topic: String,
    reason: ResponseError,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    served: Vec<(ApiKey, i16, i16)>,
    hanging: AtomicBool,
    requests: Mutex<BTreeMap<String, u64>>,
    generation: watch::Sender<u64>,
}

impl Broker {
    /// Listens on `address` (port 0: a free one) until the handle is dropped. Needs a tokio runtime.
    ///
    /// # Errors
    /// The address cannot be listened on.
    pub async fn start(address: &str) -> io::Result<BrokerHandle> {
        Self::start_as(address, Era::Current).await
    }

    /// Same, as a broker of another era.
    ///
    /// # Errors
    /// The address cannot be listened on.
    pub async fn start_as(address: &str, era: Era) -> io::Result<BrokerHandle> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let mut served = answer::SERVED.to_vec();
        match era {
            Era::Current => {}
            Era::Kafka2_1 => dispatch::limit(
                &mut served,
                &[
                    (ApiKey::Metadata, 7),
                    (ApiKey::ListOffsets, 4),
                    (ApiKey::Fetch, 10),
                    (ApiKey::ApiVersions, 2),
                ],
            ),
            Era::Ancient => dispatch::limit(&mut served, &[(ApiKey::ListOffsets, 1)]),
        }
        let shared = Arc::new(Shared {
            state: Mutex::new(State::new()),
            served,
            hanging: AtomicBool::new(false),
            requests: Mutex::default(),
            generation: watch::Sender::new(0),
        });
        let accepting = tokio::spawn(accept(listener, address, Arc::clone(&shared)));
        Ok(BrokerHandle { address, shared, accepting })
    }
}

impl BrokerHandle {
    /// Address for `kafka_bootstrap_servers_list`.
    pub fn bootstrap(&self) -> String {
        self.address.to_string()
    }

    /// Creates a topic with partitions `0..partitions`.
    ///
    /// # Errors
    /// It exists, its name is none that Kafka takes, or it would have no partition.
    pub fn create_topic(&self, name: &str, partitions: i32) -> Result<(), BrokerError> {
        self.change(name, |state| state.create_topic(name, partitions).map(drop))
    }

    /// Deletes a topic with its records.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn delete_topic(&self, name: &str) -> Result<(), BrokerError> {
        self.change(name, |state| state.delete_topic(name))
    }

    /// Appends records with these values, of the present time, and returns the offset of the first.
    ///
    /// # Errors
    /// There is no such partition.
    pub fn append(&self, topic: &str, partition: i32, values: &[Bytes]) -> Result<i64, BrokerError> {
        self.change(topic, |state| {
            let now = Timestamp::now().as_millisecond();
            let batch = log::batch_of(values, now, -1).ok_or(ResponseError::InvalidRecord)?;
            state.append(topic, partition, batch)
        })
    }

    /// Appends a transaction with these values that ends with a marker: committed, or aborted.
    ///
    /// # Errors
    /// There is no such partition.
    pub fn append_transaction(
        &self,
        topic: &str,
        partition: i32,
        values: &[Bytes],
        end: TransactionEnd,
    ) -> Result<(), BrokerError> {
        self.change(topic, |state| {
            let producer = state.init_producer(None);
            let now = Timestamp::now().as_millisecond();
            let batch = log::batch_of(values, now, producer).ok_or(ResponseError::InvalidRecord)?;
            state.append(topic, partition, batch)?;
            let log = state.log_mut(topic, partition)?;
            log.end_transaction(producer, end == TransactionEnd::Commit);
            Ok(())
        })
    }

    /// Elects a leader for a partition that has the log only up to `reach`: what came after it is lost, as in an unclean
    /// election.
    ///
    /// # Errors
    /// There is no such partition.
    pub fn elect(&self, topic: &str, partition: i32, reach: i64) -> Result<(), BrokerError> {
        self.change(topic, |state| {
            state.log_mut(topic, partition)?.elect(reach);
            Ok(())
        })
    }

    /// Requests answered so far, by the name of their API.
    pub fn requests(&self) -> BTreeMap<String, u64> {
        self.shared.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From now on requests are taken and not answered, or answered again.
    pub fn hang(&self, hanging: bool) {
        self.shared.hanging.store(hanging, Ordering::SeqCst);
    }

    /// Closes all connections; new ones are taken.
    pub fn drop_connections(&self) {
        self.shared.generation.send_modify(|generation| *generation += 1);
    }

    /// Ends the broker: connections are closed, new ones refused.
    pub fn stop(self) {
        drop(self);
    }

    fn change<T>(
        &self,
        topic: &str,
        change: impl FnOnce(&mut State) -> Result<T, ResponseError>,
    ) -> Result<T, BrokerError> {
        change(&mut self.shared.lock()).map_err(|reason| BrokerError { topic: topic.to_owned(), reason })
    }
}

/// How a transaction ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransactionEnd {
    /// Its records count.
    Commit,
    /// They do not.
    Abort,
}

impl Drop for BrokerHandle {
    fn drop(&mut self) {
        self.accepting.abort();
        self.drop_connections();
    }
}

impl Shared {
    fn count(&self, frame: &[u8]) {
        let key = frame.first_chunk().map(|bytes| i16::from_be_bytes(*bytes));
        let name =
            key.and_then(|key| ApiKey::try_from(key).ok()).map_or_else(String::new, |key| format!("{key:?}"));
        *self.requests.lock().unwrap_or_else(PoisonError::into_inner).entry(name).or_default() += 1;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // Requests change the state in steps that leave it valid, so a panic elsewhere spoils nothing.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn accept(listener: TcpListener, address: SocketAddr, shared: Arc<Shared>) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let shared = Arc::clone(&shared);
                tokio::spawn(async move {
                    let mut generation = shared.generation.subscribe();
                    tokio::select! {
                        ended = serve(stream, address, &shared) => {
                            if let Err(error) = ended {
                                tracing::debug!(%peer, %error, "embedded broker closed a connection");
                            }
                        }
                        _ = generation.changed() => {}
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "embedded broker cannot accept");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
}

async fn serve(mut stream: TcpStream, address: SocketAddr, shared: &Shared) -> io::Result<()> {
    stream.set_nodelay(true)?;
    loop {
        let length = match stream.read_i32().await {
            Ok(length) => usize::try_from(length).unwrap_or(usize::MAX),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error),
        };
        if length > MAX_REQUEST {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a request of {length} bytes")));
        }
        let mut frame = vec![0; length];
        stream.read_exact(&mut frame).await?;
        if shared.hanging.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        shared.count(&frame);
        let answer = dispatch::dispatch(&mut shared.lock(), &shared.served, address, Bytes::from(frame));
        let answer = answer.map_err(|refused| io::Error::new(io::ErrorKind::InvalidData, refused.0))?;
        stream.write_all(&answer).await?;
    }
}
