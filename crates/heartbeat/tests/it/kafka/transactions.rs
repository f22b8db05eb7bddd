//! Transactions: what counts as news under which isolation level.

use heartbeat_core::source::Since;
use kafka_protocol::records::Compression;
use rstest::rstest;

use super::Against::{Embedded, Real};
use super::*;

/// News of both levels, since the given positions, which are moved on.
async fn both(source: &KafkaSource, topic: &str, cursors: &mut [Since; 2]) -> [Vec<(i32, i64, i64)>; 2] {
    let asks = [ask("p", topic, cursors[0].clone()), ask("p+committed", topic, cursors[1].clone())];
    let found: Vec<Finding> = look(source, &asks).await.into_iter().map(Result::unwrap).collect();
    *cursors = [after(&found[0]), after(&found[1])];
    [news(&found[0]), news(&found[1])]
}

#[rstest]
#[tokio::test]
async fn committed_transaction_is_news_once(#[values(Embedded, Real)] against: Against) {
    let Some(world) = World::new(against).await else { return };
    let topic = random_topic();
    world.client.create_topic(&topic, 1).await;
    let source = world.source();
    let mut cursors = [Since::Beginning, Since::Beginning];
    assert_eq!(both(&source, &topic, &mut cursors).await, [vec![], vec![]]);

    let mut transaction = world.client.begin(&topic, &topic, &[0]).await;
    world.client.produce_in(&mut transaction, &topic, 0, TWO).await;
    assert_eq!(both(&source, &topic, &mut cursors).await, [vec![(0, 0, 2)], vec![]], "open");
    assert_eq!(both(&source, &topic, &mut cursors).await, [vec![], vec![]], "still open");
    world.client.end(transaction, true, &topic, 0).await;
    assert_eq!(both(&source, &topic, &mut cursors).await, [vec![], vec![(0, 0, 3)]], "committed");
    assert_eq!(both(&source, &topic, &mut cursors).await, [vec![], vec![]], "idle");
    world.client.delete_topics(&[topic]).await;
}

#[rstest]
#[tokio::test]
async fn aborted_transaction_is_no_news(#[values(Embedded, Real)] against: Against) {
    let Some(world) = World::new(against).await else { return };
    let topic = random_topic();
    world.client.create_topic(&topic, 2).await;
    let source = world.source();
    let mut cursors = [Since::Now, Since::Now];
    both(&source, &topic, &mut cursors).await;
    for turn in 0..3 {
        let mut transaction = world.client.begin(&format!("{topic}-{turn}"), &topic, &[0]).await;
        world.client.produce_in(&mut transaction, &topic, 0, TWO).await;
        world.client.produce_in(&mut transaction, &topic, 0, ONE).await;
        world.client.end(transaction, false, &topic, 0).await;
    }
    let mut from_beginning = [Since::Beginning, Since::Beginning];
    assert_eq!(both(&source, &topic, &mut from_beginning).await, [vec![], vec![]]);
    assert_eq!(both(&source, &topic, &mut cursors).await, [vec![], vec![]]);
    assert_eq!(cursors, from_beginning);

    world.client.produce(&topic, 0, ONE, Compression::None).await;
    assert_eq!(both(&source, &topic, &mut cursors).await, [vec![(0, 12, 13)], vec![(0, 12, 13)]]);
    world.client.delete_topics(&[topic]).await;
}

#[rstest]
#[tokio::test]
async fn cursor_inside_an_aborted_transaction_finds_nothing(#[values(Embedded, Real)] against: Against) {
    let Some(world) = World::new(against).await else { return };
    let topic = random_topic();
    world.client.create_topic(&topic, 1).await;
    let source = world.source();
    let mut transaction = world.client.begin(&topic, &topic, &[0]).await;
    world.client.produce_in(&mut transaction, &topic, 0, TWO).await;
    let mut cursors = [Since::Now, Since::Now];
    both(&source, &topic, &mut cursors).await;
    world.client.produce_in(&mut transaction, &topic, 0, TWO).await;
    world.client.end(transaction, false, &topic, 0).await;
    assert_eq!(both(&source, &topic, &mut cursors).await, [vec![], vec![]]);
    world.client.delete_topics(&[topic]).await;
}

#[rstest]
#[tokio::test]
async fn open_transaction_hides_committed_records_behind_it_from_committed_readers(
    #[values(Embedded, Real)] against: Against,
) {
    let Some(world) = World::new(against).await else { return };
    let topic = random_topic();
    world.client.create_topic(&topic, 1).await;
    let source = world.source();
    let mut aborted = world.client.begin(&format!("{topic}-a"), &topic, &[0]).await;
    world.client.produce_in(&mut aborted, &topic, 0, TWO).await;
    world.client.end(aborted, false, &topic, 0).await;
    let mut open = world.client.begin(&format!("{topic}-o"), &topic, &[0]).await;
    world.client.produce_in(&mut open, &topic, 0, ONE).await;
    let mut cursors = [Since::Beginning, Since::Beginning];
    assert_eq!(both(&source, &topic, &mut cursors).await, [vec![(0, 0, 4)], vec![]]);
    world.client.produce(&topic, 0, ONE, Compression::None).await;
    assert_eq!(both(&source, &topic, &mut cursors).await, [vec![(0, 4, 5)], vec![]]);
    world.client.end(open, false, &topic, 0).await;
    assert_eq!(both(&source, &topic, &mut cursors).await, [vec![], vec![(0, 3, 6)]]);
    world.client.delete_topics(&[topic]).await;
}

#[rstest]
#[tokio::test]
async fn markers_without_records_are_no_news(#[values(Embedded, Real)] against: Against) {
    let Some(world) = World::new(against).await else { return };
    let topic = random_topic();
    world.client.create_topic(&topic, 1).await;
    let source = world.source();
    let mut cursors = [Since::Now, Since::Now];
    both(&source, &topic, &mut cursors).await;
    for (turn, commit) in [(0, true), (1, false)] {
        let marker_only = world.client.begin(&format!("{topic}-{turn}"), &topic, &[0]).await;
        world.client.end(marker_only, commit, &topic, 0).await;
    }
    let mut from_beginning = [Since::Beginning, Since::Beginning];
    assert_eq!(both(&source, &topic, &mut from_beginning).await, [vec![], vec![]]);
    assert_eq!(both(&source, &topic, &mut cursors).await, [vec![], vec![]]);
    assert_eq!(cursors, from_beginning, "the position moved with the markers");
    world.client.delete_topics(&[topic]).await;
}
