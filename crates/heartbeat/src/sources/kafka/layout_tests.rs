//! Tests of the layout: which topics a question is about, and from where.

use std::collections::BTreeMap;

use super::*;

fn ask(topic: &str, since: Since) -> Ask {
    Ask { asset: Asset::Topic { product: "p".into(), topic: topic.into() }, since }
}

fn at(topic: &str) -> KafkaPosition {
    KafkaPosition {
        cluster: "c".into(),
        topic: topic.into(),
        topic_id: None,
        offsets: [(0, 5)].into(),
        epochs: BTreeMap::new(),
    }
}

fn reads(topics: Topics) -> Arc<Reads> {
    Arc::new(Reads::new(ReadOptions { topics, starting: Starting::Latest, ..ReadOptions::default() }))
}

fn layout(asks: Vec<Ask>, topics: &Topics) -> Layout {
    let names = ["orders.eu", "orders.us", "returns"].map(str::to_owned);
    let own = (0..asks.len()).map(|index| (index, reads(topics.clone()))).collect::<Vec<_>>();
    Layout::new(&asks.into(), &own, &names, 1)
}

fn topics_of_first(layout: &Layout) -> Vec<&str> {
    match &layout.subjects[0].2 {
        Subject::One(part) => vec![&layout.topics[layout.parts[*part].topic]],
        Subject::Several(parts) => {
            parts.iter().map(|part| &*layout.topics[layout.parts[*part].topic]).collect()
        }
    }
}

#[test]
fn rows_on_one_topic_share_it() {
    let layout =
        layout(vec![ask("a", Since::Beginning), ask("b", Since::Now), ask("a", Since::Now)], &Topics::OfRow);
    assert_eq!(layout.topics.len(), 2);
    assert_eq!(layout.parts_of, [vec![0, 2], vec![1]]);
}

#[test]
fn options_say_which_topics_a_row_is_about() {
    let of = |topic, topics: Topics| layout(vec![ask(topic, Since::Beginning)], &topics);
    assert_eq!(topics_of_first(&of("b, a", Topics::OfRow)), ["a", "b"]);
    assert_eq!(topics_of_first(&of("any", Topics::Listed(["x".to_owned()].into()))), ["x"]);
    assert_eq!(topics_of_first(&of("any", Topics::Matching("^orders".into()))), ["orders.eu", "orders.us"]);
    assert_eq!(topics_of_first(&of("any", Topics::Matching("s$".into()))), ["orders.us", "returns"]);
    assert_eq!(topics_of_first(&of("any", Topics::Matching("^(?!orders)".into()))), ["returns"]);
    let assigned = Topics::Assigned([("x".to_owned(), [1].into())].into());
    assert_eq!(topics_of_first(&of("any", assigned)), ["x"]);
}

#[test]
fn topics_that_appear_later_are_read_from_their_beginning() {
    let cursor = TopicsPosition { topics: [("orders.eu".to_owned(), at("orders.eu"))].into() };
    let since = Since::Position(Position::Topics(cursor));
    let layout = layout(vec![ask("any", since)], &Topics::Matching("^orders".into()));
    let part = |index: usize| (layout.since(&layout.parts[index]), &layout.parts[index].read.starting);
    assert_eq!(part(0), (&Since::Position(Position::Kafka(at("orders.eu"))), &Starting::Earliest));
    assert_eq!(part(1), (&Since::Beginning, &Starting::Earliest));
}

#[test]
fn a_row_that_was_about_one_topic_keeps_its_place_in_it() {
    let since = Since::Position(Position::Kafka(at("a")));
    let layout = layout(vec![ask("a,b", since.clone())], &Topics::OfRow);
    assert_eq!(layout.since(&layout.parts[0]), &since);
    assert_eq!(layout.since(&layout.parts[1]), &Since::Beginning);
}

#[test]
fn a_layout_is_of_its_questions_and_names_only() {
    let asks: Arc<[Ask]> = vec![ask("a", Since::Beginning)].into();
    let layout = Layout::new(&asks, &[(0, reads(Topics::OfRow))], &[], 1);
    assert!(layout.is_of(&asks, 1));
    assert!(!layout.is_of(&asks, 2));
    assert!(!layout.is_of(&asks.to_vec().into(), 1));
}
