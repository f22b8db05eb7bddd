//! The Kafka source against real record batches: every scenario runs on the embedded broker and on a real one, with
//! the same expectations, so the embedded broker is held to the real one's behaviour as well.
//!
//! The real one is given by `HEARTBEAT_TEST_KAFKA=host:port` (`scripts/kafka/start` runs one). Without it these cases
//! are skipped aloud; with `CI=true` that is a failure.

mod changes;
mod failures;
mod options;
mod scale;
mod security;
mod transactions;

use std::time::{Duration, Instant};

use heartbeat::broker::{Broker, BrokerHandle};
use heartbeat::sources::kafka::{Clusters, Isolation, KafkaProduct, KafkaSource, ReadOptions, Security};
use heartbeat_core::position::{KafkaPosition, LossCause, Manifest, Position};
use heartbeat_core::source::{Answer, Ask, Asset, Finding, Since, Source, SourceError};

use crate::support::kafka::{Client, Plain};

/// Which broker a scenario runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Against {
    Embedded,
    Real,
}

/// A broker and a client of it.
struct World {
    bootstrap: String,
    client: Client,
    embedded: Option<BrokerHandle>,
}

impl World {
    /// `None` when the real broker is asked for and none is given.
    async fn new(against: Against) -> Option<Self> {
        let (bootstrap, embedded) = match against {
            Against::Embedded => {
                let broker = Broker::start("127.0.0.1:0").await.unwrap();
                (broker.bootstrap(), Some(broker))
            }
            Against::Real => (real_bootstrap()?, None),
        };
        let client = Client::connect(&bootstrap).await;
        Some(Self { bootstrap, client, embedded })
    }

    fn source(&self) -> KafkaSource {
        source(&[("p", &self.bootstrap)])
    }
}

#[expect(clippy::disallowed_methods, reason = "the gate of the real broker")]
fn real_bootstrap() -> Option<String> {
    match std::env::var("HEARTBEAT_TEST_KAFKA") {
        Ok(address) if !address.is_empty() => Some(address),
        _ if std::env::var("CI").as_deref() == Ok("true") => panic!("HEARTBEAT_TEST_KAFKA is unset in CI"),
        _ => {
            eprintln!("SKIPPED: no real Kafka, HEARTBEAT_TEST_KAFKA is unset");
            None
        }
    }
}

/// Each product reads uncommitted; with `+committed` behind its name, it reads committed.
fn source(products: &[(&str, &str)]) -> KafkaSource {
    let of = |bootstrap: &str, isolation| KafkaProduct {
        bootstrap: bootstrap.split(',').map(str::to_owned).collect(),
        security: Security::default(),
        read: ReadOptions { isolation, ..ReadOptions::default() },
    };
    let products = products.iter().flat_map(|(name, bootstrap)| {
        [
            ((*name).to_owned(), of(bootstrap, Isolation::ReadUncommitted)),
            (format!("{name}+committed"), of(bootstrap, Isolation::ReadCommitted)),
        ]
    });
    KafkaSource::new(products.collect(), &Clusters::default(), &std::sync::Arc::default())
}

fn random_topic() -> String {
    format!("hb-{}", uuid::Uuid::new_v4().simple())
}

fn ask(product: &str, topic: &str, since: Since) -> Ask {
    Ask { asset: Asset::Topic { product: product.into(), topic: topic.into() }, since }
}

async fn look(source: &KafkaSource, asks: &[Ask]) -> Vec<Result<Finding, SourceError>> {
    look_for(source, asks, Duration::from_mins(1)).await
}

async fn look_for(
    source: &KafkaSource,
    asks: &[Ask],
    patience: Duration,
) -> Vec<Result<Finding, SourceError>> {
    let answers = source.look(&asks.into(), Instant::now() + patience).await;
    answers.into_iter().zip(asks).map(|(answer, ask)| answer.map(|answer| found(answer, ask))).collect()
}

/// A row of which nothing is to be told stands where it stood; one that never stood anywhere, at nothing.
fn found(answer: Answer, ask: &Ask) -> Finding {
    match (answer, &ask.since) {
        (Answer::Found(found), _) => *found,
        (Answer::Same, Since::Position(position)) => Finding::at(position.clone()),
        (Answer::Same, _) => Finding::at(Position::Kafka(KafkaPosition {
            cluster: String::new(),
            topic: String::new(),
            topic_id: None,
            offsets: [].into(),
            epochs: [].into(),
        })),
    }
}

async fn look_at(source: &KafkaSource, topic: &str, since: Since) -> Result<Finding, SourceError> {
    look(source, &[ask("p", topic, since)]).await.remove(0)
}

/// Where a finding leaves off is where the next look begins.
fn after(finding: &Finding) -> Since {
    Since::Position(finding.position.clone())
}

fn ends(finding: &Finding) -> Vec<(i32, i64)> {
    match &finding.position {
        Position::Kafka(position) => {
            position.offsets.iter().map(|(partition, end)| (*partition, *end)).collect()
        }
        Position::Topics(_) | Position::Files(_) => panic!("a position of a topic"),
    }
}

/// Ranges with news: partition, from, to.
fn news(finding: &Finding) -> Vec<(i32, i64, i64)> {
    match &finding.news {
        None => Vec::new(),
        Some(Manifest::Offsets(ranges)) => {
            ranges.iter().map(|range| (range.partition, range.from, range.to)).collect()
        }
        Some(Manifest::Topics(_) | Manifest::Files(_) | Manifest::ManyFiles(_)) => panic!("news of a topic"),
    }
}

/// Partition, from, to and cause of what was lost.
fn lost(finding: &Finding) -> Vec<(i32, i64, Option<i64>, LossCause)> {
    finding.losses.iter().map(|loss| (loss.partition.unwrap_or(-1), loss.from, loss.to, loss.cause)).collect()
}

const ONE: &[Plain] = &[(Some("k"), Some("v"), 1_000)];
const TWO: &[Plain] = &[(Some("k"), Some("v"), 1_000), (Some("l"), Some("w"), 2_000)];
