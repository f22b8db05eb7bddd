//! Upstreams: one module per kind, each an implementation of [`heartbeat_core::source::Source`].

pub mod kafka;
pub mod trigger_file;

use std::sync::Arc;
use std::time::Instant;

use heartbeat_core::acon::SourceConfig;
use heartbeat_core::source::{Answer, Ask, Source, SourceError};

use self::kafka::{Clusters, KafkaSource};
use self::trigger_file::TriggerFileSource;

/// A source of any kind, as an ACON configures it.
#[derive(Debug)]
pub enum AnySource {
    /// Kafka topics.
    Kafka(KafkaSource),
    /// Folders of trigger files.
    TriggerFile(TriggerFileSource),
}

/// The source of an ACON. Nothing is connected to yet.
pub fn build(config: &SourceConfig, clusters: &Clusters) -> AnySource {
    match config {
        SourceConfig::Kafka(products) => AnySource::Kafka(KafkaSource::new(products.clone(), clusters)),
        SourceConfig::TriggerFile { base } => AnySource::TriggerFile(TriggerFileSource::new(base)),
    }
}

impl Source for AnySource {
    async fn look(&self, asks: &Arc<[Ask]>, deadline: Instant) -> Vec<Result<Answer, SourceError>> {
        match self {
            Self::Kafka(source) => source.look(asks, deadline).await,
            Self::TriggerFile(source) => source.look(asks, deadline).await,
        }
    }
}
