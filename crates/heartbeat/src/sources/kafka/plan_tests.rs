//! Tests of what is done for a row, and of what it is told.

use jiff::Timestamp;
use rstest::rstest;
use uuid::Uuid;

use super::*;

fn topic(id: &str, offsets: &[(i32, i64)]) -> KafkaPosition {
    KafkaPosition {
        cluster: "c".into(),
        topic: "t".into(),
        topic_id: Some(id.into()),
        offsets: offsets.iter().copied().collect(),
    }
}

fn cursor(id: &str, offsets: &[(i32, i64)]) -> Since {
    Since::Position(Position::Kafka(topic(id, offsets)))
}

fn read(from: &[(i32, From)]) -> Plan {
    Plan::Read { from: from.to_vec(), remarks: Vec::new() }
}

const EARLIEST: From = From::Ask(At::Earliest);

#[rstest]
#[case::baseline(Since::Now, Plan::Idle)]
#[case::first_look(Since::Beginning, read(&[(0, EARLIEST), (1, EARLIEST)]))]
#[case::by_time(Since::Time(Timestamp::UNIX_EPOCH), read(&[(0, From::Ask(At::Time(0))), (1, From::Ask(At::Time(0)))]))]
#[case::idle(cursor("id", &[(0, 5), (1, 3), (2, 0)]), Plan::Idle)]
#[case::moved(cursor("id", &[(0, 4), (1, 3), (2, 0)]), read(&[(0, From::Offset(4))]))]
#[case::new_partition(cursor("id", &[(0, 5), (2, 0)]), read(&[(1, EARLIEST)]))]
#[case::behind(cursor("id", &[(0, 6)]), Plan::Behind(vec![OffsetRange { partition: 0, from: 6, to: 5 }]))]
fn plans(#[case] since: Since, #[case] expected: Plan) {
    assert_eq!(plan_row(&topic("id", &[(0, 5), (1, 3), (2, 0)]), &since), expected);
}

#[test]
fn a_topic_made_again_is_read_from_its_beginning_and_says_so() {
    let Plan::Read { from, remarks } = plan_row(&topic("new", &[(0, 5)]), &cursor("old", &[(0, 5)])) else {
        panic!("not read");
    };
    assert_eq!(from, [(0, EARLIEST)]);
    assert!(remarks[0].contains("made again"), "{remarks:?}");
}

#[test]
fn a_partition_that_a_stale_broker_forgot_keeps_its_place() {
    let finding = idle_finding(&topic("id", &[(0, 5)]), &cursor("id", &[(0, 5), (1, 9)]));
    assert_eq!(finding.position, Position::Kafka(topic("id", &[(0, 5), (1, 9)])));
    let of_another_topic = idle_finding(&topic("new", &[(0, 5)]), &cursor("id", &[(0, 5), (1, 9)]));
    assert_eq!(of_another_topic.position, Position::Kafka(topic("new", &[(0, 5)])));
}

fn scan(partition: i32, from: i64, at: i64, end: i64, state: State) -> Scan<'static> {
    let mut scan = Scan::new("t", Uuid::nil(), partition, from, end);
    scan.at = at;
    scan.state = state;
    scan
}

fn finding(scans: &[&Scan<'_>]) -> Result<Finding, SourceError> {
    let now = topic("id", &[(0, 5), (1, 9)]);
    read_finding(&now, &cursor("id", &[(0, 3), (1, 3)]), scans, Vec::new(), |_| SourceError::Timeout {
        what: "p".into(),
    })
}

#[test]
fn only_ranges_with_news_are_listed() {
    let found = finding(&[&scan(0, 3, 5, 5, State::Nothing), &scan(1, 3, 4, 9, State::News)]).unwrap();
    let range = OffsetRange { partition: 1, from: 3, to: 9 };
    assert_eq!(found.news, Some(Manifest::Offsets(vec![range])));
    assert_eq!(found.position, Position::Kafka(topic("id", &[(0, 5), (1, 9)])));
    let noise = finding(&[&scan(0, 3, 5, 5, State::Nothing)]).unwrap();
    assert_eq!(noise.news, None);
}

#[test]
fn an_undecided_partition_goes_on_where_it_stopped() {
    let found = finding(&[&scan(0, 3, 5, 5, State::News), &scan(1, 3, 3, 9, State::OutOfTime)]).unwrap();
    assert_eq!(found.position, Position::Kafka(topic("id", &[(0, 5), (1, 3)])));
    assert!(found.news.is_some());
    let found = finding(&[&scan(1, 3, 7, 9, State::OutOfTime)]).unwrap();
    assert_eq!((found.position, found.news), (Position::Kafka(topic("id", &[(0, 5), (1, 7)])), None));
    assert!(finding(&[&scan(1, 3, 3, 9, State::OutOfTime)]).is_err(), "nothing was found out");
}

#[test]
fn lost_offsets_are_named() {
    let mut lost = scan(1, 3, 3, 9, State::Open);
    lost.continue_from(8);
    lost.state = State::News;
    let found = finding(&[&lost]).unwrap();
    assert!(found.remarks[0].contains("partition 1: offsets 3..8"), "{:?}", found.remarks);
    assert_eq!(found.news, Some(Manifest::Offsets(vec![OffsetRange { partition: 1, from: 8, to: 9 }])));
}
