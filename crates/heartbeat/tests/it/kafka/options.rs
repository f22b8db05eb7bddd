//! The options of Spark's Kafka source: which topics, from where on.

use std::collections::BTreeMap;

use heartbeat::sources::kafka::ReadOptions;
use heartbeat_core::acon::{Acon, SourceConfig};
use heartbeat_core::source::Since;
use kafka_protocol::records::Compression;
use rstest::rstest;
use serde_json::json;

use super::Against::{Embedded, Real};
use super::*;

/// Options as an ACON gives them.
fn options(options: &serde_json::Value) -> ReadOptions {
    let acon = json!({
        "sensor_source": "kafka", "data_format": "kafka", "domain": "dbc",
        "heartbeat_sensor_db_table": "a.b", "lakehouse_engine_sensor_db_table": "a.c",
        "kafka_configs": {"p": {"kafka_bootstrap_servers_list": "x:1"}}, "kafka_options": options,
    });
    match Acon::from_value(&acon).result.unwrap().source {
        SourceConfig::Kafka(mut products) => products.remove("p").unwrap().read,
        SourceConfig::TriggerFile(_) => panic!("kafka expected"),
    }
}

impl World {
    fn source_with(&self, given: &serde_json::Value) -> KafkaSource {
        let product = KafkaProduct {
            bootstrap: vec![self.bootstrap.clone()],
            security: Security::default(),
            read: options(given),
        };
        KafkaSource::new([("p".to_owned(), product)].into(), &Clusters::default(), &std::sync::Arc::default())
            .with_metadata_max_age(Duration::ZERO)
    }
}

fn by_topic(finding: &Finding) -> BTreeMap<String, Vec<(i32, i64, i64)>> {
    let Some(Manifest::Topics(topics)) = &finding.news else { return BTreeMap::new() };
    let ranges = |ranges: &Vec<heartbeat_core::position::OffsetRange>| {
        ranges.iter().map(|range| (range.partition, range.from, range.to)).collect()
    };
    topics.iter().map(|(topic, own)| (topic.clone(), ranges(own))).collect()
}

#[rstest]
#[tokio::test]
async fn a_pattern_finds_topics_as_they_come_and_reads_them_from_their_beginning(
    #[values(Embedded, Real)] against: Against,
) {
    let Some(world) = World::new(against).await else { return };
    let prefix = random_topic();
    let name = |end: &str| format!("{prefix}.{end}");
    for topic in ["orders.eu", "orders.us", "returns"] {
        world.client.create_topic(&name(topic), 1).await;
        world.client.produce(&name(topic), 0, TWO, Compression::None).await;
    }
    let pattern = json!({"subscribePattern": format!("^{prefix}\\.orders"), "startingOffsets": "latest"});
    let source = world.source_with(&pattern);
    let first = look_at(&source, "all orders", Since::Beginning).await.unwrap();
    assert!(
        first.news.is_none() && first.keep,
        "what is there is no news, and that is remembered: {first:?}"
    );

    world.client.produce(&name("orders.us"), 0, ONE, Compression::None).await;
    world.client.produce(&name("returns"), 0, ONE, Compression::None).await;
    let second = look_at(&source, "all orders", after(&first)).await.unwrap();
    assert_eq!(by_topic(&second), [(name("orders.us"), vec![(0, 2, 3)])].into());

    world.client.create_topic(&name("orders.asia"), 1).await;
    world.client.produce(&name("orders.asia"), 0, ONE, Compression::None).await;
    let third = look_at(&source, "all orders", after(&second)).await.unwrap();
    assert_eq!(by_topic(&third), [(name("orders.asia"), vec![(0, 0, 1)])].into());

    world.client.delete_topics(&[name("orders.eu")]).await;
    let gone = crate::support::wait::until("the topic to be gone", async || {
        match look_at(&source, "all orders", after(&third)).await {
            Ok(found) if !found.losses.is_empty() => Ok(found),
            other => Err(other),
        }
    })
    .await;
    assert_eq!((gone.losses[0].topic.as_str(), gone.losses[0].cause), (&*name("orders.eu"), LossCause::Gone));
    let idle = look_at(&source, "all orders", after(&gone)).await.unwrap();
    assert!(idle.news.is_none() && idle.losses.is_empty(), "{idle:?}");
    world.client.delete_topics(&["orders.us", "orders.asia", "returns"].map(name)).await;
}

#[rstest]
#[tokio::test]
async fn a_row_may_name_several_topics(#[values(Embedded, Real)] against: Against) {
    let Some(world) = World::new(against).await else { return };
    let topics = [random_topic(), random_topic()];
    for topic in &topics {
        world.client.create_topic(topic, 1).await;
    }
    let source = world.source_with(&json!({}));
    let row = topics.join(", ");
    world.client.produce(&topics[1], 0, ONE, Compression::None).await;
    let first = look_at(&source, &row, Since::Beginning).await.unwrap();
    assert_eq!(by_topic(&first), [(topics[1].clone(), vec![(0, 0, 1)])].into());
    let idle = look_at(&source, &row, after(&first)).await.unwrap();
    assert_eq!((idle.news, &idle.position), (None, &first.position));
    world.client.produce(&topics[0], 0, TWO, Compression::None).await;
    let second = look_at(&source, &row, after(&first)).await.unwrap();
    assert_eq!(by_topic(&second), [(topics[0].clone(), vec![(0, 0, 2)])].into());
    let missing = look_at(&source, &format!("{row},{}", random_topic()), after(&second)).await;
    assert!(matches!(missing, Err(SourceError::NotFound { .. })), "{missing:?}");
    world.client.delete_topics(&topics).await;
}

#[rstest]
#[tokio::test]
async fn assigned_partitions_are_all_that_counts(#[values(Embedded, Real)] against: Against) {
    let Some(world) = World::new(against).await else { return };
    let topic = random_topic();
    world.client.create_topic(&topic, 2).await;
    let source = world.source_with(&json!({"assign": {&topic: [1]}}));
    world.client.produce(&topic, 0, ONE, Compression::None).await;
    let other = look_at(&source, "any", Since::Beginning).await.unwrap();
    assert_eq!(other.news, None);
    world.client.produce(&topic, 1, ONE, Compression::None).await;
    let own = look_at(&source, "any", Since::Beginning).await.unwrap();
    assert_eq!(by_topic(&own), [(topic.clone(), vec![(1, 0, 1)])].into());
    world.client.delete_topics(&[topic]).await;
}

#[rstest]
#[tokio::test]
async fn starting_offsets_and_times_hold_for_the_first_look(#[values(Embedded, Real)] against: Against) {
    let Some(world) = World::new(against).await else { return };
    let topic = random_topic();
    world.client.create_topic(&topic, 1).await;
    // Of now: older records may be gone at once.
    let now = jiff::Timestamp::now().as_millisecond();
    let records: Vec<Plain> = (0..4).map(|second| (None, Some("v"), now + second * 1_000)).collect();
    for record in &records {
        world.client.produce(&topic, 0, &[*record], Compression::None).await;
    }
    let first = async |given: serde_json::Value| {
        let source = world.source_with(&given);
        look_at(&source, &topic, Since::Beginning).await.map(|found| (news(&found), found.keep))
    };
    assert_eq!(first(json!({})).await.unwrap(), (vec![(0, 0, 4)], false));
    assert_eq!(first(json!({"startingOffsets": "latest"})).await.unwrap(), (vec![], true));
    let offsets = format!(r#"{{"{topic}": {{"0": 3}}}}"#);
    assert_eq!(first(json!({"startingOffsets": offsets})).await.unwrap(), (vec![(0, 3, 4)], true));
    let beyond = json!({"startingOffsets": {&topic: {"0": 40}}});
    assert_eq!(first(beyond).await.unwrap(), (vec![], true), "behind the end there is nothing");
    let time = json!({"kafka.startingTimestamp": (now + 1_500).to_string()});
    assert_eq!(first(time).await.unwrap(), (vec![(0, 2, 4)], true));
    let late = (now + 90_000).to_string();
    let refused = first(json!({"startingTimestamp": late})).await.unwrap_err().to_string();
    assert!(refused.contains("no offset matched from request of timestamp"), "{refused}");
    let lenient = json!({"startingTimestamp": late, "startingOffsetsByTimestampStrategy": "latest"});
    assert_eq!(first(lenient).await.unwrap(), (vec![], true));
    world.client.delete_topics(&[topic]).await;
}

#[rstest]
#[tokio::test]
async fn a_row_that_fails_on_data_loss_stays_until_somebody_says_otherwise(
    #[values(Embedded, Real)] against: Against,
) {
    let Some(world) = World::new(against).await else { return };
    let topic = random_topic();
    world.client.create_topic(&topic, 1).await;
    let strict = world.source_with(&json!({"failOnDataLoss": "true"}));
    let cursor = look_at(&strict, &topic, Since::Now).await.unwrap();
    world.client.produce(&topic, 0, TWO, Compression::None).await;
    world.client.produce(&topic, 0, ONE, Compression::None).await;
    world.client.delete_records(&topic, 0, 2).await;
    for _ in 0..2 {
        let refused = look_at(&strict, &topic, after(&cursor)).await.unwrap_err().to_string();
        assert!(refused.contains("offsets 0..2") && refused.contains("check --baseline"), "{refused}");
    }
    let found = look_at(&world.source(), &topic, after(&cursor)).await.unwrap();
    assert_eq!((news(&found), lost(&found)), (vec![(0, 2, 3)], vec![(0, 0, Some(2), LossCause::Expired)]));
    world.client.delete_topics(&[topic]).await;
}
