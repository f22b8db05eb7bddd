//! Which rows one look is about.

use std::collections::BTreeSet;

use heartbeat_core::acon::SourceKind;
use heartbeat_core::sensor::Sensor;
use heartbeat_core::source::Asset;

/// The rows that one look is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Lane {
    /// Of this source.
    pub kind: SourceKind,
    /// Products (Kafka) that other lanes look after.
    pub except: BTreeSet<String>,
    /// Where given, these products only.
    pub only: Option<BTreeSet<String>>,
}

impl Lane {
    /// All rows of a source.
    pub fn all(kind: SourceKind) -> Self {
        Self { kind, except: BTreeSet::new(), only: None }
    }

    /// Whether the lane looks after an asset of its source.
    pub(super) fn has(&self, asset: &Asset) -> bool {
        match asset {
            Asset::Folder { .. } => true,
            Asset::Topic { product, .. } => {
                self.only.as_ref().is_none_or(|only| only.contains(product)) && !self.except.contains(product)
            }
        }
    }

    /// Whether the lane looks after a row.
    pub(super) fn watches(&self, sensor: &Sensor) -> bool {
        let product = || sensor.id.split(':').next().unwrap_or_default().trim();
        let in_lane = match sensor.source {
            SourceKind::Kafka => {
                self.only.as_ref().is_none_or(|only| only.contains(product()))
                    && !self.except.contains(product())
            }
            _ => true,
        };
        sensor.source == self.kind && sensor.unpaused && in_lane
    }

    /// Whether what is wrong with rows is this lane's to tell: one lane of each source tells it.
    pub(super) fn tells_problems(&self) -> bool {
        self.only.is_none()
    }
}
