//! Every way to come in to a real broker, every way to be refused, and what happens when stores change.
//!
//! The broker is given by `HEARTBEAT_TEST_KAFKA_SECURE=DIR` (`scripts/kafka/secure DIR` runs one). Without it these
//! cases are skipped aloud; with `CI=true` that is a failure. Every text that is told is held against the secrets.

mod failures;
mod modes;
mod renewal;
mod seeds;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use heartbeat::sources::kafka::{Clusters, KafkaSource};
use heartbeat_core::acon::{Acon, KafkaProduct, SourceConfig};
use heartbeat_core::source::{Finding, Since, Source, SourceError};
use kafka_protocol::records::Compression;
use serde_json::{Value, json};

use super::{ONE, ask, random_topic};
use crate::support::kafka::Client;

/// What nobody may be told.
const SECRETS: [&str; 8] = [
    "heartbeat-test",
    "heartbeat-key",
    "alice-secret",
    "bob-secret",
    "oidc-secret",
    "msk-secret",
    "msk-role-secret",
    "wrong-secret",
];

/// A real broker with all its listeners, and a topic with one record.
struct Bed {
    addresses: BTreeMap<String, String>,
    client: Client,
    topic: String,
}

impl Bed {
    /// `None`: there is no such broker.
    async fn new() -> Option<Self> {
        let addresses = addresses()?;
        let client = Client::connect(&addresses["PLAINTEXT"]).await;
        let topic = random_topic();
        client.create_topic(&topic, 1).await;
        client.produce(&topic, 0, ONE, Compression::None).await;
        Some(Self { addresses, client, topic })
    }

    /// Path of a file of the stores.
    fn store(&self, name: &str) -> String {
        format!("{}/{name}", self.addresses["STORES"])
    }

    /// Options that trust the broker's authority, with these ones beside.
    fn trusting(&self, more: &Value) -> Value {
        let mut options = json!({
            "ssl.truststore.location": self.store("truststore.jks"), "ssl.truststore.password": "heartbeat-test",
        });
        options.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        options
    }

    /// Trusting options with a client's JKS.
    fn showing(&self, client: &str) -> Value {
        self.trusting(&json!({
            "ssl.keystore.location": self.store(client), "ssl.keystore.password": "heartbeat-test",
            "ssl.key.password": "heartbeat-key",
        }))
    }

    fn source(&self, listener: &str, options: &Value) -> KafkaSource {
        let product = product(&self.addresses[listener], options);
        KafkaSource::new(
            [product].into(),
            &Clusters::default().with_recheck(Duration::from_millis(100)),
            &Arc::default(),
        )
    }

    /// One look at the topic.
    async fn look(&self, listener: &str, options: &Value) -> Result<Finding, String> {
        self.look_at(&self.topic, listener, options).await
    }

    async fn look_at(&self, topic: &str, listener: &str, options: &Value) -> Result<Finding, String> {
        look(&self.source(listener, options), topic).await
    }

    /// The record is news, whatever was needed to get there.
    async fn comes_in(&self, listener: &str, options: &Value) {
        let finding = self.look(listener, options).await;
        let finding = finding.unwrap_or_else(|error| panic!("{listener} with {options}: {error}"));
        assert_eq!(super::news(&finding), [(0, 0, 1)], "{listener} with {options}");
    }

    /// The look fails with a text that has all of this.
    async fn is_told(&self, listener: &str, options: &Value, parts: &[&str]) {
        let told = self.look(listener, options).await.expect_err(listener);
        for part in parts {
            assert!(told.contains(part), "`{part}` is not in: {told}");
        }
    }
}

/// A product `p` as an ACON configures it.
fn product(bootstrap: &str, options: &Value) -> (String, KafkaProduct) {
    let document = json!({
        "sensor_source": "kafka", "data_format": "kafka", "heartbeat_sensor_db_table": "d.c",
        "lakehouse_engine_sensor_db_table": "d.s", "domain": "dbc", "token": "t",
        "kafka_configs": {"p": {"kafka_bootstrap_servers_list": bootstrap, "kafka_options": options}},
    });
    let acon = Acon::from_value(&document).result.unwrap();
    let SourceConfig::Kafka(mut products) = acon.source else { panic!("kafka expected") };
    products.pop_first().unwrap()
}

async fn look(source: &KafkaSource, topic: &str) -> Result<Finding, String> {
    look_until(source, topic, Instant::now() + Duration::from_secs(20)).await
}

async fn look_until(source: &KafkaSource, topic: &str, deadline: Instant) -> Result<Finding, String> {
    let ask = ask("p", topic, Since::Beginning);
    let answer = source.look(&vec![ask.clone()].into(), deadline).await.remove(0);
    answer.map(|answer| super::found(answer, &ask)).map_err(|error| text_of(&error))
}

/// The text with its causes, which must hold no secret.
fn text_of(error: &SourceError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text.push_str(&format!(": {inner}"));
        cause = inner.source();
    }
    hides_secrets(&text);
    hides_secrets(&format!("{error:?}"));
    text
}

fn hides_secrets(text: &str) {
    for secret in SECRETS {
        assert!(!text.contains(secret), "`{secret}` is in: {text}");
    }
}

#[expect(clippy::disallowed_methods, reason = "the gate of the secured broker")]
fn addresses() -> Option<BTreeMap<String, String>> {
    match std::env::var("HEARTBEAT_TEST_KAFKA_SECURE") {
        Ok(dir) if !dir.is_empty() => {
            let text = std::fs::read_to_string(format!("{dir}/secure.env")).unwrap();
            let pair =
                |line: &str| line.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()));
            Some(text.lines().filter_map(pair).collect())
        }
        _ if std::env::var("CI").as_deref() == Ok("true") => {
            panic!("HEARTBEAT_TEST_KAFKA_SECURE is unset in CI")
        }
        _ => {
            eprintln!("SKIPPED: no secured Kafka, HEARTBEAT_TEST_KAFKA_SECURE is unset");
            None
        }
    }
}
