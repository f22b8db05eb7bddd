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
//! Layers, each knowing only those before it: `connection` (frames, versions), `line` (connecting again), `cluster` (leaders,
//! retries), `poll`
//! (all ends at once), `standing` (topics that need more than that), `reader` (fetches for scans), `look` (rows). What
//! is asked and what an answer means is decided by pure functions: `metadata`, `offsets`, `answer`, `epochs`, `fetch`,
//! `batches`, `scan`, `plan`, `layout`, `union`, `freshness`.

mod answer;
mod asked;
mod batches;
mod cluster;
mod connection;
mod epochs;
mod error;
mod fetch;
mod freshness;
mod layout;
mod line;
mod look;
mod metadata;
mod offsets;
mod plan;
mod poll;
mod reader;
mod scan;
mod security;
mod standing;
mod union;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex as StdMutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use futures::future::join_all;
use heartbeat_core::domain::Domain;
use heartbeat_core::secret::SecretRef;
use heartbeat_core::source::{Answer, Ask, Asset, Source, SourceError};
use tokio::sync::Mutex;
use tokio::time::timeout_at;

pub use heartbeat_core::acon::{Isolation, KafkaProduct, ReadOptions, Security};

pub use self::error::ClientError;
pub use self::security::{CertificateEnd, CertificateRole, LocationError, SecurityError, StoreProblem};

use self::cluster::{Cluster, remaining};
use self::connection::Connection;
use self::layout::Reads;
use self::look::{Answers, Terms, Watching, look};
use self::security::Access;
use crate::secrets::Secrets;

/// How old the description of an idle topic may be: partitions that were added to it, and an idle topic that was
/// made again with exactly as many records, are noticed after this time. What moves is checked at once.
pub const METADATA_MAX_AGE: Duration = Duration::from_secs(30);

/// The clusters of a process: whoever looks at the same brokers with the same credentials shares connections and what
/// is known of the topics.
#[derive(Debug)]
pub struct Clusters {
    known: StdMutex<Vec<(Identity, Weak<Shared>)>>,
    recheck: Duration,
}

/// Brokers in any order, how to connect and log in, and the workspace whose secrets that takes.
#[derive(Debug, PartialEq)]
struct Identity {
    brokers: Vec<String>,
    security: Security,
    workspace: Option<(Domain, Option<SecretRef>)>,
}

/// One cluster, with what its connections are opened with.
#[derive(Debug)]
struct Shared {
    access: Arc<Access>,
    cluster: Mutex<Cluster>,
}

impl Default for Clusters {
    fn default() -> Self {
        Self { known: StdMutex::default(), recheck: security::RECHECK }
    }
}

impl Clusters {
    /// Same; stores and secrets are looked at again after `recheck` instead of a minute.
    #[must_use]
    pub fn with_recheck(self, recheck: Duration) -> Self {
        Self { recheck, ..self }
    }

    fn get(&self, product: &KafkaProduct, secrets: &Arc<Secrets>) -> Arc<Shared> {
        let mut brokers = product.bootstrap.clone();
        brokers.sort_unstable();
        let has_secrets = product.security != Security::default();
        let workspace = secrets.workspace().filter(|_| has_secrets).cloned();
        let identity = Identity { brokers, security: product.security.clone(), workspace };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|(_, shared)| shared.strong_count() > 0);
        let found = known.iter().find(|(other, _)| *other == identity);
        if let Some(shared) = found.and_then(|(_, shared)| shared.upgrade()) {
            return shared;
        }
        let access = Access::new(product.security.clone(), Arc::clone(secrets)).with_recheck(self.recheck);
        let access = Arc::new(access);
        let cluster = Mutex::new(Cluster::new(product.bootstrap.clone(), Arc::clone(&access)));
        let shared = Arc::new(Shared { access, cluster });
        known.push((identity, Arc::downgrade(&shared)));
        shared
    }
}

/// All Kafka products of a configuration. Keep it: what it knows of its questions saves work.
#[derive(Debug)]
pub struct KafkaSource {
    products: BTreeMap<String, (usize, Arc<Reads>)>,
    groups: Vec<Group>,
    sorted: StdMutex<Option<Arc<Sorted>>>,
    turn: AtomicUsize,
    metadata_max_age: Duration,
}

/// What is looked at together: one cluster, one isolation level.
#[derive(Debug)]
struct Group {
    name: String,
    shared: Arc<Shared>,
    isolation: Isolation,
    watching: Mutex<Watching>,
}

impl Group {
    /// A right is somebody's.
    fn with_name(&self, error: SourceError) -> SourceError {
        match (error, self.shared.access.who()) {
            (SourceError::NotAllowed { what }, Some(who)) => {
                SourceError::NotAllowed { what: format!("{what} for {who}") }
            }
            (error, _) => error,
        }
    }
}

/// Questions by group.
#[derive(Debug)]
struct Sorted {
    asks: Arc<[Ask]>,
    by_group: Vec<Vec<(usize, Arc<Reads>)>>,
    /// Questions that no group can answer, and why.
    refused: Vec<(usize, String)>,
}

impl KafkaSource {
    /// Connects to nothing and reads no secret yet.
    pub fn new(
        products: BTreeMap<String, KafkaProduct>,
        clusters: &Clusters,
        secrets: &Arc<Secrets>,
    ) -> Self {
        let mut groups: Vec<Group> = Vec::new();
        let mut by_name = BTreeMap::new();
        for (name, product) in products {
            let shared = clusters.get(&product, secrets);
            let isolation = product.read.isolation;
            let known = groups
                .iter()
                .position(|group| Arc::ptr_eq(&group.shared, &shared) && group.isolation == isolation);
            let group = known.unwrap_or_else(|| {
                let (name, watching) = (product.bootstrap.join(","), Mutex::default());
                groups.push(Group { name, shared, isolation, watching });
                groups.len() - 1
            });
            by_name.insert(name, (group, Arc::new(Reads::new(product.read))));
        }
        Self {
            products: by_name,
            groups,
            sorted: StdMutex::default(),
            turn: AtomicUsize::new(0),
            metadata_max_age: METADATA_MAX_AGE,
        }
    }

    /// When the certificates end that were used or shown so far: ours, the trusted ones, the brokers'.
    pub fn certificate_ends(&self) -> Vec<CertificateEnd> {
        self.groups.iter().flat_map(|group| group.shared.access.certificate_ends()).collect()
    }

    /// Certificates that should be renewed, as sentences.
    pub fn ending_certificates(&self) -> Vec<String> {
        self.groups.iter().flat_map(|group| group.shared.access.ending()).collect()
    }

    /// Same, with another limit than [`METADATA_MAX_AGE`]; zero asks for metadata at every look.
    #[must_use]
    pub fn with_metadata_max_age(mut self, max_age: Duration) -> Self {
        self.metadata_max_age = max_age;
        self
    }

    /// Connects to one of a product's brokers and logs in, without a question.
    pub async fn reach(&self, product: &str, deadline: Instant) -> Result<(), SourceError> {
        let group = self.products.get(product).map(|(group, _)| &self.groups[*group]);
        let group = group.ok_or_else(|| SourceError::Misconfigured { problem: self.no_product(product) })?;
        let what = format!("kafka cluster {}", group.name);
        let brokers: Vec<&str> = group.name.split(',').collect();
        let mut last = SourceError::Timeout { what: what.clone() };
        for (index, address) in brokers.iter().enumerate() {
            // One that hangs leaves time for the others.
            let share = remaining(deadline) / u32::try_from(brokers.len() - index).unwrap_or(u32::MAX);
            match Connection::open(address, &group.shared.access, Instant::now() + share).await {
                Ok(_) => return Ok(()),
                Err(error) => last = Arc::new(error).for_row(&what),
            }
        }
        Err(last)
    }

    fn sorted(&self, asks: &Arc<[Ask]>) -> Arc<Sorted> {
        let mut known = self.sorted.lock().unwrap_or_else(PoisonError::into_inner);
        match &*known {
            Some(sorted) if Arc::ptr_eq(&sorted.asks, asks) => Arc::clone(sorted),
            _ => Arc::clone(known.insert(Arc::new(self.sort(asks)))),
        }
    }

    fn sort(&self, asks: &Arc<[Ask]>) -> Sorted {
        let by_group = self.groups.iter().map(|_| Vec::new()).collect();
        let mut sorted = Sorted { asks: Arc::clone(asks), by_group, refused: Vec::new() };
        for (index, ask) in asks.iter().enumerate() {
            match &ask.asset {
                Asset::Folder { name } => {
                    sorted.refused.push((index, format!("folder `{name}` is no topic")));
                }
                Asset::Topic { product, .. } => match self.products.get(product) {
                    Some((group, reads)) => sorted.by_group[*group].push((index, Arc::clone(reads))),
                    None => sorted.refused.push((index, self.no_product(product))),
                },
            }
        }
        sorted
    }

    fn no_product(&self, product: &str) -> String {
        let known: Vec<String> = self.products.keys().map(|name| format!("`{name}`")).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        format!("kafka_configs has no `{product}`; it has {known}")
    }

    async fn look_at_group(
        &self,
        group: &Group,
        asks: &Arc<[Ask]>,
        own: &[(usize, Arc<Reads>)],
        deadline: Instant,
    ) -> Answers {
        if own.is_empty() {
            return Answers::new();
        }
        let looking = async {
            let mut watching = group.watching.lock().await;
            let mut cluster = group.shared.cluster.lock().await;
            // Ends before the deadline does, so that what was found out by then is told.
            let deadline = deadline.checked_sub(remaining(deadline) / 20).unwrap_or(deadline);
            let terms = Terms { isolation: group.isolation, max_age: self.metadata_max_age, deadline };
            let answers = look(&mut cluster, &mut watching, asks, own, terms).await;
            let named = |answer: Result<Answer, SourceError>| answer.map_err(|error| group.with_name(error));
            answers.into_iter().map(|(ask, answer)| (ask, named(answer))).collect()
        };
        if let Ok(answers) = timeout_at(deadline.into(), looking).await {
            return answers;
        }
        tracing::warn!(cluster = group.name, "the look did not end in time");
        let what = format!("kafka cluster {}", group.name);
        own.iter().map(|(ask, _)| (*ask, Err(SourceError::Timeout { what: what.clone() }))).collect()
    }
}

impl Source for KafkaSource {
    async fn look(&self, asks: &Arc<[Ask]>, deadline: Instant) -> Vec<Result<Answer, SourceError>> {
        let sorted = self.sorted(asks);
        let mut answers: Vec<Result<Answer, SourceError>> = asks.iter().map(|_| Ok(Answer::Same)).collect();
        for (ask, problem) in &sorted.refused {
            answers[*ask] = Err(SourceError::Misconfigured { problem: problem.clone() });
        }
        // Groups of one cluster wait for each other; none is always the last.
        let first = self.turn.fetch_add(1, Ordering::Relaxed) % self.groups.len().max(1);
        let groups = self.groups.iter().zip(&sorted.by_group);
        let groups = groups.clone().skip(first).chain(groups.take(first));
        let looks = groups.map(|(group, own)| self.look_at_group(group, asks, own, deadline));
        for (ask, answer) in join_all(looks).await.into_iter().flatten() {
            answers[ask] = answer;
        }
        answers
    }
}

#[cfg(test)]
mod tests {
    use heartbeat_core::source::Since;

    use super::*;

    fn product(bootstrap: &[&str]) -> KafkaProduct {
        KafkaProduct {
            bootstrap: bootstrap.iter().map(|broker| (*broker).to_owned()).collect(),
            security: Security::default(),
            read: ReadOptions::default(),
        }
    }

    #[test]
    fn products_of_one_cluster_share_it_within_a_source_and_beyond() {
        let products =
            [("a", product(&["x:1", "z:1"])), ("b", product(&["y:1"])), ("c", product(&["z:1", "x:1"]))];
        let products: BTreeMap<_, _> = products.map(|(name, product)| (name.to_owned(), product)).into();
        let clusters = Clusters::default();
        let source = KafkaSource::new(products.clone(), &clusters, &Arc::default());
        assert_eq!(source.groups.len(), 2);
        assert_eq!(source.products["a"].0, source.products["c"].0);
        let another = KafkaSource::new(products, &clusters, &Arc::default());
        assert!(Arc::ptr_eq(&another.groups[0].shared, &source.groups[0].shared));
    }

    #[tokio::test]
    async fn unknown_product_is_named_with_the_known_ones() {
        let products = [("a".to_owned(), product(&["x:1"]))].into();
        let source = KafkaSource::new(products, &Clusters::default(), &Arc::default());
        let asset = Asset::Topic { product: "b".into(), topic: "t".into() };
        let asks = vec![Ask { asset, since: Since::Now }].into();
        let answers = source.look(&asks, Instant::now()).await;
        let message = answers[0].as_ref().unwrap_err().to_string();
        assert_eq!(message, "kafka_configs has no `b`; it has `a`");
    }
}
