//! Upstreams: one module per kind, each an implementation of [`heartbeat_core::source::Source`].

pub mod kafka;
pub mod trigger_file;

use std::sync::Arc;
use std::time::Instant;

use heartbeat_core::acon::SourceConfig;
use heartbeat_core::source::{Absent, Answer, Ask, Source, SourceError};

use self::kafka::{CertificateEnd, Clusters, KafkaSource};
use self::trigger_file::{RunStore, TriggerFileSource};
use crate::secrets::Secrets;

/// A source of any kind, as an ACON configures it.
#[derive(Debug)]
pub enum AnySource {
    /// Kafka topics.
    Kafka(KafkaSource),
    /// Folders of trigger files.
    TriggerFile(Box<TriggerFileSource>),
}

/// The source of an ACON. Nothing is connected to and no secret read yet; `secrets` are the ACON's.
///
/// `runs` is where the lists of seen files of large folders are kept.
pub fn build(
    config: &SourceConfig,
    clusters: &Clusters,
    secrets: &Arc<Secrets>,
    runs: Arc<dyn RunStore>,
) -> AnySource {
    match config {
        SourceConfig::Kafka(products) => {
            AnySource::Kafka(KafkaSource::new(products.clone(), clusters, secrets))
        }
        SourceConfig::TriggerFile(files) => {
            AnySource::TriggerFile(Box::new(TriggerFileSource::new(files, secrets, runs)))
        }
    }
}

impl AnySource {
    /// The same for a command that looks once: what takes long is not put off to the next look.
    #[must_use]
    pub fn patient(self) -> Self {
        match self {
            Self::Kafka(source) => Self::Kafka(source),
            Self::TriggerFile(source) => Self::TriggerFile(Box::new(source.patient())),
        }
    }

    /// Whether each row's topic or folder can be looked at, with a remark where something is odd. Asks for no more than
    /// that takes.
    pub async fn probe(
        &self,
        asks: &Arc<[Ask]>,
        deadline: Instant,
    ) -> Vec<Result<Option<String>, SourceError>> {
        match self {
            Self::Kafka(source) => {
                let looked = source.look(asks, deadline).await;
                looked.into_iter().map(|answer| answer.map(|_| None)).collect()
            }
            Self::TriggerFile(source) => source.probe(asks, deadline).await,
        }
    }

    /// When the certificates end that were used or shown so far.
    pub fn certificate_ends(&self) -> Vec<CertificateEnd> {
        match self {
            Self::Kafka(source) => source.certificate_ends(),
            Self::TriggerFile(_) => Vec::new(),
        }
    }

    /// Whether a product's brokers can be connected to, as its rows would; of trigger files, whether the base can be
    /// listed. With a remark where something is odd.
    pub async fn reach(&self, product: &str, deadline: Instant) -> Result<Option<String>, SourceError> {
        match self {
            Self::Kafka(source) => source.reach(product, deadline).await.map(|()| None),
            Self::TriggerFile(source) => source.reach(deadline).await,
        }
    }

    /// Whether the queue that tells of trigger files can be read, with remarks on how it is set up; `None` where there is
    /// none.
    pub async fn reach_queue(&self, deadline: Instant) -> Option<Result<Vec<String>, SourceError>> {
        match self {
            Self::Kafka(_) => None,
            Self::TriggerFile(source) => source.reach_queue(deadline).await,
        }
    }

    /// Certificates that should be renewed soon, of those that were seen so far.
    pub fn ending_certificates(&self) -> Vec<String> {
        match self {
            Self::Kafka(source) => source.ending_certificates(),
            Self::TriggerFile(_) => Vec::new(),
        }
    }
}

impl Source for AnySource {
    async fn look(&self, asks: &Arc<[Ask]>, deadline: Instant) -> Vec<Result<Answer, SourceError>> {
        match self {
            Self::Kafka(source) => source.look(asks, deadline).await,
            Self::TriggerFile(source) => source.look(asks, deadline).await,
        }
    }

    fn minds_absent(&self) -> bool {
        match self {
            Self::Kafka(source) => source.minds_absent(),
            Self::TriggerFile(source) => source.minds_absent(),
        }
    }

    fn absent(&self, rows: &Arc<[Absent]>) {
        match self {
            Self::Kafka(source) => source.absent(rows),
            Self::TriggerFile(source) => source.absent(rows),
        }
    }
}
