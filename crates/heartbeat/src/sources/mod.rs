//! Upstreams: one module per kind, each an implementation of [`heartbeat_core::source::Source`].

pub mod kafka;
pub mod trigger_file;

use std::time::Instant;

use heartbeat_core::acon::SourceConfig;
use heartbeat_core::source::{Ask, Finding, Source, SourceError};

use self::kafka::KafkaSource;
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
pub fn build(config: &SourceConfig) -> AnySource {
    match config {
        SourceConfig::Kafka(products) => AnySource::Kafka(KafkaSource::new(products.clone())),
        SourceConfig::TriggerFile { base } => AnySource::TriggerFile(TriggerFileSource::new(base)),
    }
}

impl Source for AnySource {
    async fn look(&self, asks: &[Ask], deadline: Instant) -> Vec<Result<Finding, SourceError>> {
        match self {
            Self::Kafka(source) => source.look(asks, deadline).await,
            Self::TriggerFile(source) => source.look(asks, deadline).await,
        }
    }
}
