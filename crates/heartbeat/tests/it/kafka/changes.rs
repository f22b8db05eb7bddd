//! What happens to a topic, and what a look makes of it.

use std::time::Duration;

use heartbeat_core::source::{Since, SourceError};
use jiff::Timestamp;
use kafka_protocol::records::Compression;
use rstest::rstest;

use super::Against::{Embedded, Real};
use super::*;
use crate::support::kafka::BatchHeader;
use crate::support::wait::until;

#[rstest]
#[tokio::test]
async fn first_look_takes_what_is_there_then_only_what_comes(#[values(Embedded, Real)] against: Against) {
    let Some(world) = World::new(against).await else { return };
    let topic = random_topic();
    world.client.create_topic(&topic, 3).await;
    let source = world.source();

    let empty = source
        .look(&[ask("p", &topic, Since::Beginning)].into(), Instant::now() + Duration::from_mins(1))
        .await;
    assert!(matches!(empty[..], [Ok(Answer::Same)]), "{empty:?}");

    world.client.produce(&topic, 0, TWO, Compression::None).await;
    world.client.produce(&topic, 1, ONE, Compression::None).await;
    let first = look_at(&source, &topic, Since::Beginning).await.unwrap();
    assert_eq!(news(&first), [(0, 0, 2), (1, 0, 1)]);
    assert_eq!(ends(&first), [(0, 2), (1, 1), (2, 0)]);
    assert!(first.remarks.is_empty(), "{:?}", first.remarks);

    let idle = look_at(&source, &topic, after(&first)).await.unwrap();
    assert_eq!((news(&idle), &idle.position), (vec![], &first.position));

    world.client.produce(&topic, 0, ONE, Compression::None).await;
    world.client.produce(&topic, 2, TWO, Compression::None).await;
    let second = look_at(&source, &topic, after(&first)).await.unwrap();
    assert_eq!(news(&second), [(0, 2, 3), (2, 0, 2)]);

    let baseline = look_at(&source, &topic, Since::Now).await.unwrap();
    assert_eq!((news(&baseline), &baseline.position), (vec![], &second.position));
    world.client.delete_topics(&[topic]).await;
}

#[rstest]
#[tokio::test]
async fn rows_on_one_topic_are_answered_each_from_its_own_cursor(#[values(Embedded, Real)] against: Against) {
    let Some(world) = World::new(against).await else { return };
    let topic = random_topic();
    world.client.create_topic(&topic, 1).await;
    let source = world.source();
    let at_0 = look_at(&source, &topic, Since::Now).await.unwrap();
    world.client.produce(&topic, 0, ONE, Compression::None).await;
    let at_1 = look_at(&source, &topic, Since::Now).await.unwrap();
    world.client.produce(&topic, 0, ONE, Compression::None).await;

    let asks =
        [after(&at_0), after(&at_1), Since::Now, Since::Beginning].map(|since| ask("p", &topic, since));
    let found: Vec<_> =
        look(&source, &asks).await.into_iter().map(|finding| news(&finding.unwrap())).collect();
    assert_eq!(found, [vec![(0, 0, 2)], vec![(0, 1, 2)], vec![], vec![(0, 0, 2)]]);
    world.client.delete_topics(&[topic]).await;
}

#[rstest]
#[tokio::test]
async fn added_partition_is_read_from_its_beginning(#[values(Embedded, Real)] against: Against) {
    let Some(world) = World::new(against).await else { return };
    let topic = random_topic();
    world.client.create_topic(&topic, 1).await;
    world.client.produce(&topic, 0, ONE, Compression::None).await;
    let source = world.source().with_metadata_max_age(Duration::ZERO);
    let first = look_at(&source, &topic, Since::Beginning).await.unwrap();
    world.client.grow_topic(&topic, 2).await;
    world.client.produce(&topic, 1, ONE, Compression::None).await;

    let grown = look_at(&source, &topic, after(&first)).await.unwrap();
    assert_eq!((news(&grown), ends(&grown)), (vec![(1, 0, 1)], vec![(0, 1), (1, 1)]));
    world.client.delete_topics(&[topic]).await;
}

#[rstest]
#[tokio::test]
async fn topic_made_again_is_noticed_although_metadata_is_remembered(
    #[values(Embedded, Real)] against: Against,
) {
    let Some(world) = World::new(against).await else { return };
    let topic = random_topic();
    world.client.create_topic(&topic, 1).await;
    world.client.produce(&topic, 0, TWO, Compression::None).await;
    let source = world.source();
    let first = look_at(&source, &topic, Since::Beginning).await.unwrap();

    for records in [ONE, &[TWO, TWO].concat()] {
        world.client.delete_topics(std::slice::from_ref(&topic)).await;
        until("the topic to be gone", async || {
            let gone = look_at(&world.source(), &topic, Since::Now).await;
            if matches!(gone, Err(SourceError::NotFound { .. })) { Ok(()) } else { Err(gone) }
        })
        .await;
        world.client.create_topic(&topic, 1).await;
        world.client.produce(&topic, 0, records, Compression::None).await;
        let again = look_at(&source, &topic, after(&first)).await.unwrap();
        assert_eq!(news(&again), [(0, 0, records.len() as i64)]);
        assert_eq!(again.losses[0].cause, LossCause::MadeAgain);
        let idle = look_at(&source, &topic, after(&again)).await.unwrap();
        assert!(idle.news.is_none() && idle.losses.is_empty(), "{idle:?}");
    }
    world.client.delete_topics(&[topic]).await;
}

#[rstest]
#[tokio::test]
async fn records_deleted_before_they_were_seen_are_named(#[values(Embedded, Real)] against: Against) {
    let Some(world) = World::new(against).await else { return };
    let topic = random_topic();
    world.client.create_topic(&topic, 1).await;
    let source = world.source();
    let cursor = look_at(&source, &topic, Since::Now).await.unwrap();
    world.client.produce(&topic, 0, TWO, Compression::None).await;
    world.client.produce(&topic, 0, TWO, Compression::None).await;

    world.client.delete_records(&topic, 0, 3).await;
    let rest = look_at(&source, &topic, after(&cursor)).await.unwrap();
    assert_eq!((news(&rest), ends(&rest)), (vec![(0, 3, 4)], vec![(0, 4)]));
    assert_eq!(lost(&rest), [(0, 0, Some(3), LossCause::Expired)]);

    world.client.delete_records(&topic, 0, 4).await;
    let nothing = look_at(&source, &topic, after(&cursor)).await.unwrap();
    assert_eq!((news(&nothing), ends(&nothing)), (vec![], vec![(0, 4)]));
    assert_eq!(lost(&nothing), [(0, 0, Some(4), LossCause::Expired)]);
    let first = look_at(&source, &topic, Since::Beginning).await.unwrap();
    assert!(first.news.is_none() && first.losses.is_empty(), "{first:?}");
    world.client.delete_topics(&[topic]).await;
}

#[rstest]
#[tokio::test]
async fn a_time_begins_at_the_first_record_of_it(
    #[values(Embedded, Real)] against: Against,
    #[values(Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd)]
    compression: Compression,
) {
    let Some(world) = World::new(against).await else { return };
    let topic = random_topic();
    world.client.create_topic(&topic, 2).await;
    let source = world.source();
    world.client.produce(&topic, 0, TWO, compression).await;
    let since = |millisecond| Since::Time(Timestamp::from_millisecond(millisecond).unwrap());
    for (millisecond, expected) in
        [(0, vec![(0, 0, 2)]), (1_500, vec![(0, 1, 2)]), (2_000, vec![(0, 1, 2)]), (2_001, vec![])]
    {
        let found = look_at(&source, &topic, since(millisecond)).await.unwrap();
        assert_eq!((news(&found), ends(&found)), (expected, vec![(0, 2), (1, 0)]), "since {millisecond}");
    }
    world.client.delete_topics(&[topic]).await;
}

#[rstest]
#[tokio::test]
async fn batches_larger_than_a_fetch_are_found(#[values(Embedded, Real)] against: Against) {
    let Some(world) = World::new(against).await else { return };
    let topic = random_topic();
    world.client.create_topics(std::slice::from_ref(&topic), 3, &[("max.message.bytes", "8000000")]).await;
    let source = world.source();
    let cursor = look_at(&source, &topic, Since::Now).await.unwrap();
    let large: &'static str = "x".repeat(3 << 20).leak();
    for (partition, size) in [(0, 3 << 20), (1, 100_000), (2, 3 << 20)] {
        world.client.produce(&topic, partition, &[(None, Some(&large[..size]), 1)], Compression::None).await;
    }
    let found = look_at(&source, &topic, after(&cursor)).await.unwrap();
    assert_eq!(news(&found), [(0, 0, 1), (1, 0, 1), (2, 0, 1)]);
    world.client.delete_topics(&[topic]).await;
}

/// Real broker only: the embedded one never compacts.
#[tokio::test]
async fn what_compaction_took_away_is_no_news() {
    let Some(world) = World::new(Real).await else { return };
    let topic = random_topic();
    let configs = [
        ("cleanup.policy", "compact"),
        ("segment.ms", "1"),
        ("min.cleanable.dirty.ratio", "0.001"),
        ("delete.retention.ms", "0"),
        ("max.compaction.lag.ms", "1"),
    ];
    world.client.create_topics(std::slice::from_ref(&topic), 1, &configs).await;
    let source = world.source();
    world.client.produce(&topic, 0, &[(Some("k"), Some("v"), 1)], Compression::None).await;
    let cursor = look_at(&source, &topic, Since::Now).await.unwrap();
    world.client.produce(&topic, 0, &[(Some("k"), None, 1)], Compression::None).await;

    // Each marker makes the next segment, and so lets the cleaner have the one before.
    let mut turn = 0;
    until("compaction", async || {
        turn += 1;
        let marker_only = world.client.begin(&format!("{topic}-{turn}"), &topic, &[0]).await;
        world.client.end(marker_only, true, &topic, 0).await;
        let left: Vec<BatchHeader> = world.client.headers(&topic, 0, 0).await;
        if left.iter().any(|batch| !batch.control && batch.records > 0) { Err(left) } else { Ok(()) }
    })
    .await;
    let found = look_at(&source, &topic, after(&cursor)).await.unwrap();
    assert!(found.news.is_none() && found.remarks.is_empty(), "{found:?}");
    assert_eq!(ends(&found)[0].1, world.client.end_offset(&topic, 0).await);
    let first = look_at(&source, &topic, Since::Beginning).await.unwrap();
    assert!(first.news.is_none(), "{first:?}");
    world.client.delete_topics(&[topic]).await;
}

#[tokio::test]
async fn log_that_was_cut_off_is_a_loss_and_read_from_there() {
    let world = World::new(Embedded).await.unwrap();
    let broker = world.embedded.as_ref().unwrap();
    broker.create_topic("t", 1).unwrap();
    let value = || ["v".into()];
    for _ in 0..5 {
        broker.append("t", 0, &value()).unwrap();
    }
    let source = world.source();
    let first = look_at(&source, "t", Since::Beginning).await.unwrap();
    assert_eq!(ends(&first), [(0, 5)]);

    // A leader that has it all: nothing is lost, and nothing is new.
    broker.elect("t", 0, 5).unwrap();
    let calm = look_at(&source, "t", after(&first)).await.unwrap();
    assert_eq!((news(&calm), &calm.position), (vec![], &first.position));

    // One that lags, and whose log has grown to where the old one ended: the offsets alone tell nothing.
    broker.elect("t", 0, 3).unwrap();
    for _ in 0..2 {
        broker.append("t", 0, &value()).unwrap();
    }
    let rewound = look_at(&source, "t", after(&first)).await.unwrap();
    assert_eq!((news(&rewound), ends(&rewound)), (vec![(0, 3, 5)], vec![(0, 5)]));
    assert_eq!(lost(&rewound), [(0, 3, Some(5), LossCause::Rewound)]);
    let idle = look_at(&source, "t", after(&rewound)).await.unwrap();
    assert_eq!((news(&idle), lost(&idle)), (vec![], vec![]));

    // One that lags, and nothing came since.
    broker.elect("t", 0, 4).unwrap();
    let shorter = look_at(&source, "t", after(&rewound)).await.unwrap();
    assert_eq!((news(&shorter), ends(&shorter)), (vec![], vec![(0, 4)]));
    assert_eq!(lost(&shorter), [(0, 4, Some(5), LossCause::Rewound)]);
}

#[tokio::test]
async fn after_an_election_logs_are_verified_once() {
    let world = World::new(Embedded).await.unwrap();
    let broker = world.embedded.as_ref().unwrap();
    broker.create_topic("t", 1).unwrap();
    broker.append("t", 0, &["v".into()]).unwrap();
    let source = world.source();
    let first = look_at(&source, "t", Since::Beginning).await.unwrap();
    broker.elect("t", 0, 1).unwrap();
    let asks: std::sync::Arc<[Ask]> = vec![ask("p", "t", after(&first))].into();
    for _ in 0..5 {
        let answers = source.look(&asks, Instant::now() + Duration::from_mins(1)).await;
        assert!(matches!(answers[..], [Ok(Answer::Same)]), "{answers:?}");
    }
    assert_eq!(broker.requests().get("OffsetForLeaderEpoch"), Some(&1));
}
