//! Kafka topics: where they end, and whether a record lies between a cursor and the end.
//!
//! One look costs one ListOffsets request per leader when nothing moved, however many topics and rows there are.
//! Where offsets moved, record batch headers are fetched from the cursor on until one proves a record: transaction
//! markers, aborted transactions and what compaction took away move offsets without being news. Nothing is ever
//! written to a cluster, no topic created, no group joined; a reader needs DESCRIBE and READ on its topics.
//!
//! What the end of a partition is depends on [`Isolation`]. A topic is known by its id (KIP-516), so that one that
//! was deleted and made again is noticed; brokers before 2.8 have no ids, there it is noticed only while it is
//! shorter than before.
//!
//! Layers, each knowing only those before it: `connection` (frames, versions), `cluster` (leaders, retries),
//! `reader` (fetches for scans), `look` (rows). What is asked and what an answer means is decided by pure functions:
//! `metadata`, `offsets`, `fetch`, `batches`, `scan`, `plan`.

mod batches;
mod cluster;
mod connection;
mod error;
mod fetch;
mod look;
mod metadata;
mod offsets;
mod plan;
mod reader;
mod scan;
mod security;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use heartbeat_core::source::{Ask, Asset, Finding, Source, SourceError};
use tokio::sync::Mutex;
use tokio::time::timeout_at;

pub use self::error::ClientError;
pub use self::security::{CertificateEnd, CertificateRole, LocationError, SecurityError, StoreProblem};

use self::cluster::{Cluster, remaining};
use self::look::{Row, look};
use self::security::Access;
use crate::secrets::Secrets;

/// How old the description of an idle topic may be: partitions that were added to it, and an idle topic that was
/// made again with exactly as many records, are noticed after this time. What moves is checked at once.
pub const METADATA_MAX_AGE: Duration = Duration::from_secs(30);

pub use heartbeat_core::acon::{Isolation, KafkaProduct, ReadOptions, Security};

/// All Kafka products of a configuration. Keep it: it holds the connections and what is known of the topics.
#[derive(Debug)]
pub struct KafkaSource {
    products: BTreeMap<String, (usize, Isolation)>,
    clusters: Vec<(String, Mutex<Cluster>)>,
    accesses: Vec<Arc<Access>>,
    metadata_max_age: Duration,
}

impl KafkaSource {
    /// Connects to nothing and reads no secret yet. Products with the same addresses and security share their
    /// connections.
    pub fn new(products: BTreeMap<String, KafkaProduct>, secrets: &Arc<Secrets>) -> Self {
        Self::with_recheck(products, secrets, security::RECHECK)
    }

    /// Same; stores and secrets are looked at again after `recheck` instead of a minute.
    pub fn with_recheck(
        products: BTreeMap<String, KafkaProduct>,
        secrets: &Arc<Secrets>,
        recheck: Duration,
    ) -> Self {
        let mut known: HashMap<(Vec<String>, Security), usize> = HashMap::new();
        let mut clusters = Vec::new();
        let mut accesses = Vec::new();
        let mut by_name = BTreeMap::new();
        for (name, product) in products {
            let key = (product.bootstrap.clone(), product.security.clone());
            let index = *known.entry(key).or_insert_with(|| {
                let access = Access::new(product.security, Arc::clone(secrets)).with_recheck(recheck);
                let access = Arc::new(access);
                let cluster = Cluster::new(product.bootstrap, Arc::clone(&access));
                clusters.push((cluster.name(), Mutex::new(cluster)));
                accesses.push(access);
                clusters.len() - 1
            });
            by_name.insert(name, (index, product.read.isolation));
        }
        Self { products: by_name, clusters, accesses, metadata_max_age: METADATA_MAX_AGE }
    }

    /// When the certificates end that were used or shown so far: ours, the trusted ones, the brokers'.
    pub fn certificate_ends(&self) -> Vec<CertificateEnd> {
        self.accesses.iter().flat_map(|access| access.certificate_ends()).collect()
    }

    /// Certificates that should be renewed, as sentences.
    pub fn ending_certificates(&self) -> Vec<String> {
        self.accesses.iter().flat_map(|access| access.ending()).collect()
    }

    /// Same, with another limit than [`METADATA_MAX_AGE`]; zero asks for metadata at every look.
    #[must_use]
    pub fn with_metadata_max_age(mut self, max_age: Duration) -> Self {
        self.metadata_max_age = max_age;
        self
    }

    fn find_product(&self, product: &str) -> Result<(usize, Isolation), SourceError> {
        self.products.get(product).copied().ok_or_else(|| {
            let known: Vec<String> = self.products.keys().map(|name| format!("`{name}`")).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            SourceError::Misconfigured {
                problem: format!("kafka_configs has no `{product}`; it has {known}"),
            }
        })
    }

    /// A right is somebody's.
    fn with_name(&self, index: usize, error: SourceError) -> SourceError {
        match (error, self.accesses[index].who()) {
            (SourceError::NotAllowed { what }, Some(who)) => {
                SourceError::NotAllowed { what: format!("{what} for {who}") }
            }
            (error, _) => error,
        }
    }

    async fn look_at_cluster(
        &self,
        index: usize,
        rows: &[(usize, Isolation, Row<'_>)],
        deadline: Instant,
    ) -> Vec<(usize, Result<Finding, SourceError>)> {
        let (name, cluster) = &self.clusters[index];
        let mut answers = Vec::with_capacity(rows.len());
        let looks = async {
            let mut cluster = cluster.lock().await;
            for isolation in [Isolation::ReadUncommitted, Isolation::ReadCommitted] {
                let own: Vec<_> = rows.iter().filter(|(_, level, _)| *level == isolation).collect();
                if own.is_empty() {
                    continue;
                }
                let asked: Vec<Row<'_>> = own.iter().map(|(_, _, row)| *row).collect();
                // Ends before the deadline does, so that what was found out by then is told.
                let end = deadline.checked_sub(remaining(deadline) / 20).unwrap_or(deadline);
                let found = look(&mut cluster, &asked, isolation, self.metadata_max_age, end).await;
                let found =
                    found.into_iter().map(|found| found.map_err(|error| self.with_name(index, error)));
                answers.extend(own.iter().map(|(row, _, _)| *row).zip(found));
            }
        };
        if timeout_at(deadline.into(), looks).await.is_err() {
            tracing::warn!(cluster = name, "the look did not end in time");
        }
        answers
    }
}

impl Source for KafkaSource {
    async fn look(&self, asks: &[Ask], deadline: Instant) -> Vec<Result<Finding, SourceError>> {
        let mut answers: Vec<Option<Result<Finding, SourceError>>> = Vec::with_capacity(asks.len());
        let mut by_cluster: BTreeMap<usize, Vec<(usize, Isolation, Row<'_>)>> = BTreeMap::new();
        let mut clusters = Vec::with_capacity(asks.len());
        for (row, ask) in asks.iter().enumerate() {
            let found = match &ask.asset {
                Asset::Topic { product, topic } => self.find_product(product).map(|found| (topic, found)),
                Asset::Folder { name } => {
                    Err(SourceError::Misconfigured { problem: format!("folder `{name}` is no topic") })
                }
            };
            match found {
                Ok((topic, (cluster, isolation))) => {
                    by_cluster.entry(cluster).or_default().push((
                        row,
                        isolation,
                        Row { topic, since: &ask.since },
                    ));
                    clusters.push(cluster);
                    answers.push(None);
                }
                Err(error) => {
                    clusters.push(usize::MAX);
                    answers.push(Some(Err(error)));
                }
            }
        }
        let looks = by_cluster.iter().map(|(index, rows)| self.look_at_cluster(*index, rows, deadline));
        for (row, answer) in join_all(looks).await.into_iter().flatten() {
            answers[row] = Some(answer);
        }
        let timeout = |cluster: usize| {
            let name = self.clusters.get(cluster).map_or("", |(name, _)| name);
            Err(SourceError::Timeout { what: format!("kafka cluster {name}") })
        };
        answers.into_iter().zip(clusters).map(|(a, cluster)| a.unwrap_or_else(|| timeout(cluster))).collect()
    }
}

#[cfg(test)]
mod tests {
    use heartbeat_core::source::Since;

    use super::*;

    fn product(bootstrap: &str) -> KafkaProduct {
        KafkaProduct {
            bootstrap: vec![bootstrap.to_owned()],
            security: Security::default(),
            read: ReadOptions::default(),
        }
    }

    #[test]
    fn products_of_one_cluster_share_it() {
        let products = [("a", product("x:1")), ("b", product("y:1")), ("c", product("x:1"))];
        let source = KafkaSource::new(
            products.map(|(name, product)| (name.to_owned(), product)).into(),
            &Arc::default(),
        );
        assert_eq!(source.clusters.len(), 2);
        assert_eq!(source.products["a"], source.products["c"]);
    }

    #[tokio::test]
    async fn unknown_product_is_named_with_the_known_ones() {
        let source = KafkaSource::new([("a".to_owned(), product("x:1"))].into(), &Arc::default());
        let asset = Asset::Topic { product: "b".into(), topic: "t".into() };
        let answers = source.look(&[Ask { asset, since: Since::Now }], Instant::now()).await;
        let message = answers[0].as_ref().unwrap_err().to_string();
        assert_eq!(message, "kafka_configs has no `b`; it has `a`");
    }
}
