//! The answer of a row that is about several topics, from the answers about each of them.

use std::collections::BTreeMap;

use heartbeat_core::acon::{ReadOptions, Starting, Topics};
use heartbeat_core::position::{KafkaPosition, Loss, LossCause, Manifest, Position, TopicsPosition};
use heartbeat_core::source::{Answer, Finding, Since, SourceError};

use super::layout::left_behind;

/// The row.
pub(super) struct Row<'a> {
    /// Where it stood.
    pub(super) since: &'a Since,
    pub(super) read: &'a ReadOptions,
}

/// What is known of one topic of the row.
pub(super) struct Part<'a> {
    pub(super) topic: &'a str,
    /// Where the row stood in it.
    pub(super) since: &'a Since,
    pub(super) read: &'a ReadOptions,
    pub(super) answer: Result<Answer, SourceError>,
}

/// Puts the parts together. A topic that cannot be looked at keeps its place; it is an error of the row only when no
/// other topic has anything to tell, or when the row would begin elsewhere in it the next time. A topic that matched a
/// pattern and is no longer there leaves the position, and is a loss.
pub(super) fn unite(row: &Row<'_>, parts: Vec<Part<'_>>) -> Result<Answer, SourceError> {
    let mut topics: BTreeMap<String, KafkaPosition> = BTreeMap::new();
    let mut news = BTreeMap::new();
    let mut united = Finding::at(Position::Topics(TopicsPosition { topics: BTreeMap::new() }));
    let mut changed = false;
    let mut first_error = None;
    for Part { topic, since, read, answer } in parts {
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
            Err(SourceError::NotFound { .. })
                if known.is_some() && matches!(row.read.topics, Topics::Matching(_)) =>
            {
                changed = true;
                let topic = topic.to_owned();
                united.losses.push(Loss {
                    topic,
                    partition: None,
                    from: 0,
                    to: None,
                    cause: LossCause::Gone,
                });
            }
            Err(error) => match known {
                Some(known) => {
                    topics.insert(topic.to_owned(), known);
                    first_error.get_or_insert((topic, error));
                }
                None if begins_elsewhere(since, read) => return Err(error),
                None => drop(first_error.get_or_insert((topic, error))),
            },
        }
    }
    let kept = TopicsPosition { topics };
    for left in left_behind(row.since, &kept) {
        let is_lost = united.losses.iter().any(|loss| loss.topic == left.topic);
        if !is_lost {
            changed = true;
            united.remarks.push(format!("`{}` is no longer one of its topics", left.topic));
        }
    }
    match (first_error, changed) {
        (Some((_, error)), false) => return Err(error),
        (Some((topic, error)), true) => united.remarks.push(format!("topic `{topic}` was left out: {error}")),
        (None, false) => match row.since {
            Since::Position(Position::Topics(_)) => return Ok(Answer::Same),
            // Nothing is there yet; what appears is read from its beginning either way.
            Since::Beginning if row.read.starting == Starting::Earliest => return Ok(Answer::Same),
            _ => united.keep = true,
        },
        (None, true) => {}
    }
    if row.read.fail_on_data_loss && !united.losses.is_empty() {
        return Err(SourceError::DataLost { losses: united.losses });
    }
    united.position = Position::Topics(kept);
    united.news = (!news.is_empty()).then_some(Manifest::Topics(news));
    Ok(united.into())
}

/// Whether a topic that is left out now would be read from another place the next time: from its beginning.
fn begins_elsewhere(since: &Since, read: &ReadOptions) -> bool {
    match since {
        Since::Now | Since::Time(_) => true,
        Since::Beginning => read.starting != Starting::Earliest,
        Since::Position(_) => false,
    }
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

    fn part<'a>(topic: &'a str, since: &'a Since, answer: Result<Answer, SourceError>) -> Part<'a> {
        static READ: std::sync::LazyLock<ReadOptions> = std::sync::LazyLock::new(ReadOptions::default);
        Part { topic, since, read: &READ, answer }
    }

    fn united(since: &Since, read: &ReadOptions, parts: Vec<Part<'_>>) -> Result<Answer, SourceError> {
        unite(&Row { since, read }, parts)
    }

    fn matching() -> ReadOptions {
        ReadOptions { topics: Topics::Matching("x".into()), ..ReadOptions::default() }
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
        let parts = vec![part("a", &a, Ok(moved("a", 1, 3))), part("b", &b, Ok(Answer::Same))];
        let united = found(united(&row(&[("a", 1), ("b", 5)]), &ReadOptions::default(), parts));
        let range = OffsetRange { partition: 0, from: 1, to: 3 };
        assert_eq!(united.news, Some(Manifest::Topics([("a".to_owned(), vec![range])].into())));
        assert_eq!(Since::Position(united.position), row(&[("a", 3), ("b", 5)]));
    }

    #[test]
    fn a_topic_that_fails_is_an_error_unless_another_has_news() {
        let (a, b) = (since("a", 1), since("b", 5));
        let parts = |first| vec![part("a", &a, first), part("b", &b, failed())];
        let (cursor, read) = (row(&[("a", 1), ("b", 5)]), ReadOptions::default());
        assert!(united(&cursor, &read, parts(Ok(Answer::Same))).is_err());
        let found = found(united(&cursor, &read, parts(Ok(moved("a", 1, 2)))));
        assert_eq!(Since::Position(found.position), row(&[("a", 2), ("b", 5)]));
        assert!(found.remarks[0].contains("`b` was left out"), "{:?}", found.remarks);
    }

    #[test]
    fn a_row_does_not_begin_while_it_would_begin_elsewhere_in_a_topic_that_fails() {
        let read = ReadOptions::default();
        let latest = ReadOptions { starting: Starting::Latest, ..ReadOptions::default() };
        for (since, read, begins) in [
            (Since::Now, &read, false),
            (Since::Time(jiff::Timestamp::UNIX_EPOCH), &read, false),
            (Since::Beginning, &latest, false),
            (Since::Beginning, &read, true),
        ] {
            let of = |topic, answer| Part { topic, since: &since, read, answer };
            let answer = united(&since, read, vec![of("a", Ok(moved("a", 0, 2))), of("b", failed())]);
            assert_eq!(answer.is_ok(), begins, "{since:?}");
        }
    }

    #[test]
    fn a_topic_of_a_pattern_that_is_gone_is_a_loss_once() {
        let (a, b) = (since("a", 1), since("b", 5));
        let cursor = row(&[("a", 1), ("b", 5)]);
        let parts = || vec![part("a", &a, Ok(Answer::Same)), part("b", &b, failed())];
        let found = found(united(&cursor, &matching(), parts()));
        assert_eq!((found.losses[0].topic.as_str(), found.losses[0].cause), ("b", LossCause::Gone));
        let next = Since::Position(found.position);
        assert_eq!(united(&next, &matching(), vec![part("a", &a, Ok(Answer::Same))]).unwrap(), Answer::Same);
        let strict = ReadOptions { fail_on_data_loss: true, ..matching() };
        assert!(matches!(united(&cursor, &strict, parts()), Err(SourceError::DataLost { .. })));
        let denied = Err(SourceError::NotAllowed { what: "b".into() });
        let parts = vec![part("a", &a, Ok(Answer::Same)), part("b", &b, denied)];
        assert!(united(&cursor, &matching(), parts).is_err(), "it is there, and not ours to see");
    }

    #[test]
    fn a_topic_that_is_no_longer_named_leaves_without_a_loss() {
        let a = since("a", 1);
        let parts = vec![part("a", &a, Ok(Answer::Same))];
        let found = found(united(&row(&[("a", 1), ("b", 5)]), &ReadOptions::default(), parts));
        assert!(found.losses.is_empty() && found.remarks[0].contains("no longer one of its topics"));
    }

    #[test]
    fn a_pattern_without_a_match_yet_remembers_that_it_has_begun() {
        let latest = ReadOptions { starting: Starting::Latest, ..matching() };
        let begun = found(united(&Since::Beginning, &latest, Vec::new()));
        assert!(begun.keep);
        assert_eq!(begun.position, Position::Topics(TopicsPosition { topics: BTreeMap::new() }));
        assert_eq!(united(&Since::Beginning, &matching(), Vec::new()).unwrap(), Answer::Same);
    }
}
