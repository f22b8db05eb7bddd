//! Many topics in one look.

use heartbeat_core::source::Since;
use kafka_protocol::records::Compression;
use rstest::rstest;

use super::Against::{Embedded, Real};
use super::*;

#[rstest]
#[tokio::test]
async fn five_hundred_topics_in_one_look(#[values(Embedded, Real)] against: Against) {
    let Some(world) = World::new(against).await else { return };
    let topics: Vec<String> = (0..500).map(|_| random_topic()).collect();
    world.client.create_topics(&topics, 1, &[]).await;
    let source = world.source();
    let asks: Vec<_> = topics.iter().map(|topic| ask("p", topic, Since::Beginning)).collect();
    let first: Vec<Finding> = look(&source, &asks).await.into_iter().map(Result::unwrap).collect();
    assert!(first.iter().all(|finding| finding.news.is_none()));

    for topic in topics.iter().step_by(2) {
        world.client.produce(topic, 0, ONE, Compression::None).await;
    }
    let asks: Vec<_> =
        topics.iter().zip(&first).map(|(topic, found)| ask("p", topic, after(found))).collect();
    let second = look(&source, &asks).await;
    for (index, finding) in second.into_iter().enumerate() {
        let expected = if index % 2 == 0 { vec![(0, 0, 1)] } else { vec![] };
        assert_eq!(news(&finding.unwrap()), expected, "topic {index}");
    }
    world.client.delete_topics(&topics).await;
}

/// A measurement, no test: prints how long looks at many idle topics take beside the bare requests.
#[tokio::test]
#[ignore = "takes minutes and gigabytes on the broker"]
async fn idle_look_5000_topics() {
    let Some(world) = World::new(Real).await else { return };
    let topics: Vec<String> = (0..5_000).map(|_| random_topic()).collect();
    for some in topics.chunks(500) {
        world.client.create_topics(some, 3, &[]).await;
    }
    let mut watch = Watch::start();
    for _ in 0..10 {
        world.client.all_ends(&topics, 3).await.unwrap();
        watch.lap("bare ListOffsets of 15,000 partitions");
    }
    let source = world.source();
    let asks: Vec<_> = topics.iter().map(|topic| ask("p", topic, Since::Beginning)).collect();
    watch.lap("");
    let first: Vec<Finding> = look(&source, &asks).await.into_iter().map(Result::unwrap).collect();
    watch.lap("first look, with metadata");
    let asks: Vec<_> =
        topics.iter().zip(&first).map(|(topic, found)| ask("p", topic, after(found))).collect();
    watch.lap("");
    for _ in 0..10 {
        let found = look(&source, &asks).await;
        watch.lap("idle look");
        assert!(found.iter().all(|finding| finding.as_ref().is_ok_and(|finding| finding.news.is_none())));
    }
    let source = world.source().with_metadata_max_age(Duration::ZERO);
    for _ in 0..3 {
        watch.lap("");
        look(&source, &asks).await;
        watch.lap("idle look with fresh metadata");
    }
    for topic in topics.iter().step_by(5) {
        world.client.produce(topic, 1, ONE, Compression::None).await;
    }
    let source = world.source();
    look(&source, &asks[..1]).await;
    watch.lap("");
    let found = look(&source, &asks).await;
    watch.lap("look with news in 1,000 topics, with metadata");
    let with_news =
        found.iter().filter(|finding| finding.as_ref().is_ok_and(|finding| finding.news.is_some())).count();
    assert_eq!(with_news, 1_000);
    world.client.delete_topics(&topics).await;
}

/// Wall time and this thread's processor time: the second one means something on a busy machine too.
struct Watch {
    wall: Instant,
    cpu: Duration,
}

impl Watch {
    fn start() -> Self {
        Self { wall: Instant::now(), cpu: thread_cpu() }
    }

    fn lap(&mut self, what: &str) {
        let now = Self::start();
        if !what.is_empty() {
            eprintln!(
                "{what}: {:?}, of it processor {:?}",
                now.wall - self.wall,
                now.cpu.saturating_sub(self.cpu)
            );
        }
        *self = now;
    }
}

fn thread_cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(stat.split(' ').next().and_then(|nanos| nanos.parse().ok()).unwrap_or_default())
}

#[tokio::test]
async fn an_idle_look_is_one_request_whatever_the_number_of_rows() {
    let world = World::new(Embedded).await.unwrap();
    let broker = world.embedded.as_ref().unwrap();
    for topic in 0..300 {
        broker.create_topic(&format!("t{topic}"), 3).unwrap();
        broker.append(&format!("t{topic}"), 0, &["v".into()]).unwrap();
    }
    let source = world.source();
    let asks: Vec<Ask> = (0..900).map(|row| ask("p", &format!("t{}", row % 300), Since::Beginning)).collect();
    let first = look(&source, &asks).await;
    let asks: std::sync::Arc<[Ask]> = asks
        .iter()
        .zip(&first)
        .map(|(ask, found)| Ask { since: after(found.as_ref().unwrap()), ..ask.clone() })
        .collect();
    let patience = Duration::from_mins(1);
    source.look(&asks, Instant::now() + patience).await;
    let before = broker.requests();
    for _ in 0..10 {
        let answers = source.look(&asks, Instant::now() + patience).await;
        assert!(answers.iter().all(|answer| matches!(answer, Ok(Answer::Same))));
    }
    let after = broker.requests();
    assert_eq!(after["ListOffsets"] - before["ListOffsets"], 10);
    // A few descriptions at each look, in one request.
    assert!(after["Metadata"] - before["Metadata"] <= 10, "{before:?} {after:?}");
    assert_eq!(after.get("Fetch"), before.get("Fetch"));
}
