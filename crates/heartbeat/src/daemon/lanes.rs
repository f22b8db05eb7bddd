//! Lanes: the rows of one source that are looked at together, and wait for nobody else.
//!
//! Each Kafka cluster has its own, so that a cluster that hangs makes no row of another one late.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use heartbeat_core::acon::{KafkaProduct, Security, SourceConfig};
use heartbeat_core::schedule::Schedule;

use crate::config::WatchedSource;
use crate::engine::Lane;

/// One lane of a source, with what is needed to look at it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct LaneConfig {
    /// For logs, metrics and health; unique in a configuration.
    pub(super) name: String,
    /// Which rows.
    pub(super) lane: Lane,
    /// Their source.
    pub(super) source: SourceConfig,
    /// When.
    pub(super) schedule: Schedule,
    /// How long one look may take.
    pub(super) deadline: Duration,
}

/// The lanes of a source. The first also looks after rows whose product the configuration does not name, to tell so.
pub(super) fn lanes(watched: &WatchedSource) -> Vec<LaneConfig> {
    let lane = |name: String, lane: Lane, source: SourceConfig| LaneConfig {
        name,
        lane,
        source,
        schedule: watched.schedule.clone(),
        deadline: watched.deadline,
    };
    let kind = watched.kind();
    let SourceConfig::Kafka(products) = &watched.config else {
        return vec![lane(watched.name.clone(), Lane::all(kind), watched.config.clone())];
    };
    let clusters = by_cluster(products);
    let mut others: BTreeSet<String> = products.keys().cloned().collect();
    let mut lanes = Vec::with_capacity(clusters.len());
    for (index, (brokers, products)) in clusters.into_iter().enumerate() {
        let own: BTreeSet<String> = products.keys().cloned().collect();
        let source = SourceConfig::Kafka(products);
        if index == 0 {
            others.retain(|product| !own.contains(product));
            let first = Lane { kind, except: others.clone(), only: None };
            lanes.push(lane(watched.name.clone(), first, source));
        } else {
            let name = format!("{} at {brokers}", watched.name);
            lanes.push(lane(name, Lane { kind, except: BTreeSet::new(), only: Some(own) }, source));
        }
    }
    lanes
}

type Products = BTreeMap<String, KafkaProduct>;

/// Products by the brokers they name, in any order, and by how they connect and log in.
fn by_cluster(products: &Products) -> Vec<(String, Products)> {
    let mut clusters: BTreeMap<(Vec<String>, &Security), Products> = BTreeMap::new();
    for (name, product) in products {
        let mut brokers = product.bootstrap.clone();
        brokers.sort_unstable();
        clusters.entry((brokers, &product.security)).or_default().insert(name.clone(), product.clone());
    }
    let mut named: BTreeMap<String, u32> = BTreeMap::new();
    let with_name = clusters.into_iter().map(|((brokers, _), products)| {
        let brokers = brokers.join(",");
        let times = named.entry(brokers.clone()).or_default();
        *times += 1;
        // Names of lanes are unique.
        let name = if *times == 1 { brokers } else { format!("{brokers} ({times})") };
        (name, products)
    });
    with_name.collect()
}

#[cfg(test)]
mod tests {
    use heartbeat_core::acon::{ReadOptions, TriggerFiles};
    use heartbeat_core::domain::Domain;
    use heartbeat_core::location::Location;

    use super::*;

    fn watched(config: SourceConfig) -> WatchedSource {
        WatchedSource {
            name: "acon".into(),
            config,
            domain: Domain::parse("dbc").unwrap(),
            token: None,
            schedule: Schedule::every(Duration::from_secs(1)).unwrap(),
            deadline: Duration::from_secs(10),
            pass_news: false,
        }
    }

    #[test]
    fn each_cluster_has_a_lane_and_the_first_has_unknown_products_too() {
        let product = |brokers: &[&str]| KafkaProduct {
            bootstrap: brokers.iter().map(|broker| (*broker).to_owned()).collect(),
            security: Security::default(),
            read: ReadOptions::default(),
        };
        let products =
            [("a", product(&["x:1", "y:1"])), ("b", product(&["z:1"])), ("c", product(&["y:1", "x:1"]))];
        let products = products.map(|(name, product)| (name.to_owned(), product));
        let lanes = lanes(&watched(SourceConfig::Kafka(products.into())));
        let names: Vec<&str> = lanes.iter().map(|lane| lane.name.as_str()).collect();
        assert_eq!(names, ["acon", "acon at z:1"]);
        assert_eq!((lanes[0].lane.except.clone(), &lanes[0].lane.only), (["b".to_owned()].into(), &None));
        assert_eq!(lanes[1].lane.only, Some(["b".to_owned()].into()));
        let SourceConfig::Kafka(first) = &lanes[0].source else { panic!() };
        assert_eq!(first.keys().collect::<Vec<_>>(), ["a", "c"]);
    }

    #[test]
    fn folders_have_one_lane() {
        let lanes = lanes(&watched(SourceConfig::TriggerFile(Box::new(TriggerFiles::at(
            Location::parse("/t").unwrap(),
        )))));
        assert_eq!(lanes.len(), 1);
    }
}
