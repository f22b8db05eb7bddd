//! Failures stay with the rows they concern, and every look ends by its deadline.

use std::time::Duration;

use heartbeat::broker::{Broker, Era, TransactionEnd};
use heartbeat_core::source::{Ask, Asset, Since, SourceError};
use kafka_protocol::records::Compression;
use rstest::rstest;
use tokio::net::TcpListener;

use super::Against::{Embedded, Real};
use super::*;

#[rstest]
#[tokio::test]
async fn missing_topic_concerns_its_row_only(#[values(Embedded, Real)] against: Against) {
    let Some(world) = World::new(against).await else { return };
    let topic = random_topic();
    world.client.create_topic(&topic, 1).await;
    world.client.produce(&topic, 0, ONE, Compression::None).await;
    let source = world.source();
    let asks = [
        ask("p", &random_topic(), Since::Beginning),
        ask("p", &topic, Since::Beginning),
        ask("p", "no topic", Since::Beginning),
        ask("nobody", &topic, Since::Beginning),
        Ask { asset: Asset::Folder { name: "f".into() }, since: Since::Beginning },
    ];
    let found = look(&source, &asks).await;
    assert!(
        matches!(&found[0], Err(SourceError::NotFound { what }) if what.contains(&world.bootstrap)),
        "{found:?}"
    );
    assert_eq!(news(found[1].as_ref().unwrap()), [(0, 0, 1)]);
    assert!(
        matches!(&found[2], Err(SourceError::Misconfigured { .. } | SourceError::NotFound { .. })),
        "{found:?}"
    );
    assert!(matches!(&found[3], Err(SourceError::Misconfigured { .. })), "{found:?}");
    assert!(matches!(&found[4], Err(SourceError::Misconfigured { .. })), "{found:?}");
    world.client.delete_topics(&[topic]).await;
}

#[rstest]
#[tokio::test]
async fn unreachable_and_hanging_clusters_leave_the_others_alone(#[values(Embedded, Real)] against: Against) {
    let Some(world) = World::new(against).await else { return };
    let topic = random_topic();
    world.client.create_topic(&topic, 1).await;
    world.client.produce(&topic, 0, ONE, Compression::None).await;
    let hanging = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let source = source(&[
        ("good", &world.bootstrap),
        ("closed", &closed.to_string()),
        ("hanging", &hanging.local_addr().unwrap().to_string()),
        // The first broker is down, the second one is not.
        ("half", &format!("{closed},{}", world.bootstrap)),
    ]);
    let asks = ["good", "closed", "hanging", "half"].map(|product| ask(product, &topic, Since::Beginning));
    let found = look_for(&source, &asks, Duration::from_secs(5)).await;
    assert_eq!(news(found[0].as_ref().unwrap()), [(0, 0, 1)]);
    assert!(matches!(&found[1], Err(SourceError::Unreachable { .. })), "{found:?}");
    assert!(matches!(&found[2], Err(SourceError::Timeout { .. })), "{found:?}");
    assert_eq!(news(found[3].as_ref().unwrap()), [(0, 0, 1)]);
    world.client.delete_topics(&[topic]).await;
}

#[tokio::test]
async fn broker_that_begins_to_hang_times_out_and_recovers() {
    let world = World::new(Embedded).await.unwrap();
    let broker = world.embedded.as_ref().unwrap();
    broker.create_topic("t", 1).unwrap();
    let source = world.source();
    let cursor = look_at(&source, "t", Since::Now).await.unwrap();
    broker.hang(true);
    let asks = [ask("p", "t", after(&cursor))];
    let found = look_for(&source, &asks, Duration::from_millis(300)).await;
    assert!(matches!(&found[0], Err(SourceError::Timeout { .. })), "{found:?}");
    broker.hang(false);
    broker.append("t", 0, &["v".into()]).unwrap();
    assert_eq!(news(&look_at(&source, "t", after(&cursor)).await.unwrap()), [(0, 0, 1)]);
}

#[tokio::test]
async fn connections_that_broke_are_opened_again_within_the_look() {
    let world = World::new(Embedded).await.unwrap();
    let broker = world.embedded.as_ref().unwrap();
    broker.create_topic("t", 1).unwrap();
    let source = world.source();
    let cursor = look_at(&source, "t", Since::Now).await.unwrap();
    broker.append("t", 0, &["v".into()]).unwrap();
    broker.drop_connections();
    assert_eq!(news(&look_at(&source, "t", after(&cursor)).await.unwrap()), [(0, 0, 1)]);
}

#[tokio::test]
async fn topic_deleted_between_two_looks_is_not_found() {
    let world = World::new(Embedded).await.unwrap();
    let broker = world.embedded.as_ref().unwrap();
    broker.create_topic("t", 1).unwrap();
    let source = world.source();
    let cursor = look_at(&source, "t", Since::Now).await.unwrap();
    broker.delete_topic("t").unwrap();
    let gone = look_at(&source, "t", after(&cursor)).await;
    assert!(matches!(gone, Err(SourceError::NotFound { .. })), "{gone:?}");
}

#[tokio::test]
async fn ends_that_stay_behind_the_cursor_are_a_log_that_was_cut_off() {
    let world = World::new(Embedded).await.unwrap();
    let broker = world.embedded.as_ref().unwrap();
    broker.create_topic("t", 1).unwrap();
    let source = world.source();
    let mut cursor = look_at(&source, "t", Since::Now).await.unwrap();
    if let Position::Kafka(position) = &mut cursor.position {
        position.offsets.insert(0, 7);
    }
    let behind = look_at(&source, "t", after(&cursor)).await;
    let behind = behind.unwrap();
    assert_eq!((news(&behind), ends(&behind)), (vec![], vec![(0, 0)]));
    assert_eq!(lost(&behind), [(0, 0, Some(7), LossCause::Rewound)]);
}

#[tokio::test]
async fn brokers_of_kafka_2_1_are_understood() {
    let broker = Broker::start_as("127.0.0.1:0", Era::Kafka2_1).await.unwrap();
    broker.create_topic("t", 1).unwrap();
    let source = source(&[("p", &broker.bootstrap())]);
    let cursor = look_at(&source, "t", Since::Beginning).await.unwrap();
    assert!(matches!(&cursor.position, Position::Kafka(position) if position.topic_id.is_none()));
    broker.append_transaction("t", 0, &["v".into()], TransactionEnd::Abort).unwrap();
    let aborted = look_at(&source, "t", after(&cursor)).await.unwrap();
    assert_eq!((news(&aborted), ends(&aborted)), (vec![], vec![(0, 2)]));
    broker.append_transaction("t", 0, &["v".into()], TransactionEnd::Commit).unwrap();
    assert_eq!(news(&look_at(&source, "t", after(&aborted)).await.unwrap()), [(0, 2, 4)]);
}

#[tokio::test]
async fn older_brokers_are_refused_with_a_reason() {
    let broker = Broker::start_as("127.0.0.1:0", Era::Ancient).await.unwrap();
    broker.create_topic("t", 1).unwrap();
    let source = source(&[("p", &broker.bootstrap())]);
    let refused = look_at(&source, "t", Since::Beginning).await;
    let Err(SourceError::Misconfigured { problem }) = &refused else { panic!("{refused:?}") };
    assert!(problem.contains("ListOffsets") && problem.contains("Kafka 2.1"), "{problem}");
}
