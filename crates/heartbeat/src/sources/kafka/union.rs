//! The answer of a row that is about several topics, from the answers about each of them.

use std::collections::BTreeMap;

use heartbeat_core::position::{KafkaPosition, Loss, LossCause, Manifest, Position, TopicsPosition};
use heartbeat_core::source::{Answer, Finding, Since, SourceError};

use super::layout::left_behind;

/// What is known of one topic of the row.
pub(super) struct Part<'a> {
    pub(super) topic: &'a str,
    /// Where the row stood in it.
    pub(super) since: &'a Since,
    pub(super) answer: Result<Answer, SourceError>,
}

/// Puts the parts together. A topic that cannot be looked at keeps its place; it is an error of the row only when no
/// other topic has anything to tell. A topic that is no longer there, or no longer matches, leaves the position.
pub(super) fn unite(row: &Since, parts: Vec<Part<'_>>) -> Result<Answer, SourceError> {
    let mut topics: BTreeMap<String, KafkaPosition> = BTreeMap::new();
    let mut news = BTreeMap::new();
    let mut united = Finding::at(Position::Topics(TopicsPosition { topics: BTreeMap::new() }));
    let mut changed = false;
    let mut first_error = None;
    for Part { topic, since, answer } in parts {
        let known = match since {
            Since::Position(Position::Kafka(cursor)) => Some(cursor.clone()),
            _ => None,
        };
        match answer {
            Ok(Answer::Same) => drop(known.and_then(|known| topics.insert(topic.to_owned(), known))),
            Ok(Answer::Found(found)) => {
                changed = true;
                let Finding { position, news: new, keep, losses, remarks } = *found;
                if let Position::Kafka(position) = position {
                    topics.insert(topic.to_owned(), position);
                }
                if let Some(Manifest::Offsets(ranges)) = new {
                    news.insert(topic.to_owned(), ranges);
                }
                united.keep |= keep;
                united.losses.extend(losses);
                united.remarks.extend(remarks.into_iter().map(|remark| format!("topic `{topic}`: {remark}")));
            }
            Err(error) => {
                if let Some(known) = known {
                    topics.insert(topic.to_owned(), known);
                }
                first_error.get_or_insert((topic, error));
            }
        }
    }
    let kept = TopicsPosition { topics };
    for gone in left_behind(row, &kept) {
        changed = true;
        united.losses.push(Loss {
            topic: gone.topic.clone(),
            partition: None,
            from: 0,
            to: None,
            cause: LossCause::Gone,
        });
    }
    match (first_error, changed) {
        (Some((_, error)), false) => return Err(error),
        (Some((topic, error)), true) => united.remarks.push(format!("topic `{topic}` was left out: {error}")),
        (None, false) if matches!(row, Since::Position(Position::Topics(_)) | Since::Beginning) => {
            return Ok(Answer::Same);
        }
        (None, _) => {}
    }
    united.position = Position::Topics(kept);
    united.news = (!news.is_empty()).then_some(Manifest::Topics(news));
    Ok(united.into())
}

#[cfg(test)]
mod tests {
    use heartbeat_core::position::OffsetRange;

    use super::*;

    fn at(topic: &str, end: i64) -> KafkaPosition {
        KafkaPosition {
            cluster: "c".into(),
            topic: topic.into(),
            topic_id: None,
            offsets: [(0, end)].into(),
            epochs: BTreeMap::new(),
        }
    }

    fn since(topic: &str, end: i64) -> Since {
        Since::Position(Position::Kafka(at(topic, end)))
    }

    fn row(topics: &[(&str, i64)]) -> Since {
        let topics = topics.iter().map(|(topic, end)| ((*topic).to_owned(), at(topic, *end))).collect();
        Since::Position(Position::Topics(TopicsPosition { topics }))
    }

    fn moved(topic: &str, from: i64, to: i64) -> Answer {
        let news = Manifest::Offsets(vec![OffsetRange { partition: 0, from, to }]);
        Finding { news: Some(news), ..Finding::at(Position::Kafka(at(topic, to))) }.into()
    }

    fn failed() -> Result<Answer, SourceError> {
        Err(SourceError::NotFound { what: "topic `b`".into() })
    }

    fn found(answer: Result<Answer, SourceError>) -> Finding {
        match answer.unwrap() {
            Answer::Found(found) => *found,
            Answer::Same => panic!("something was found"),
        }
    }

    #[test]
    fn news_of_one_topic_is_news_of_the_row_and_the_others_keep_their_place() {
        let (a, b) = (since("a", 1), since("b", 5));
        let parts = vec![
            Part { topic: "a", since: &a, answer: Ok(moved("a", 1, 3)) },
            Part { topic: "b", since: &b, answer: Ok(Answer::Same) },
        ];
        let united = found(unite(&row(&[("a", 1), ("b", 5)]), parts));
        let range = OffsetRange { partition: 0, from: 1, to: 3 };
        assert_eq!(united.news, Some(Manifest::Topics([("a".to_owned(), vec![range])].into())));
        assert_eq!(Since::Position(united.position), row(&[("a", 3), ("b", 5)]));
    }

    #[test]
    fn a_topic_that_fails_is_an_error_unless_another_has_news() {
        let (a, b) = (since("a", 1), since("b", 5));
        let parts = |first| {
            vec![
                Part { topic: "a", since: &a, answer: first },
                Part { topic: "b", since: &b, answer: failed() },
            ]
        };
        assert!(unite(&row(&[("a", 1), ("b", 5)]), parts(Ok(Answer::Same))).is_err());
        let united = found(unite(&row(&[("a", 1), ("b", 5)]), parts(Ok(moved("a", 1, 2)))));
        assert_eq!(Since::Position(united.position), row(&[("a", 2), ("b", 5)]));
        assert!(united.remarks[0].contains("`b` was left out"), "{:?}", united.remarks);
    }

    #[test]
    fn a_topic_that_no_longer_matches_is_a_loss_once() {
        let a = since("a", 1);
        let parts = || vec![Part { topic: "a", since: &a, answer: Ok(Answer::Same) }];
        let united = found(unite(&row(&[("a", 1), ("b", 5)]), parts()));
        assert_eq!((united.losses[0].topic.as_str(), united.losses[0].cause), ("b", LossCause::Gone));
        assert_eq!(unite(&Since::Position(united.position), parts()).unwrap(), Answer::Same);
    }
}
