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
        epochs: BTreeMap::new(),
    }
}

fn plan(now: &KafkaPosition, since: &Since) -> Plan {
    let read = ReadOptions::default();
    plan_row(&Known { now, since, read: &read, truths: None, confirmed: false })
}

fn plan_with(now: &KafkaPosition, since: &Since, read: &ReadOptions) -> Plan {
    plan_row(&Known { now, since, read, truths: None, confirmed: false })
}

fn with_epochs(offsets: &[(i32, i64, i32)]) -> KafkaPosition {
    let ends: Vec<(i32, i64)> = offsets.iter().map(|(partition, end, _)| (*partition, *end)).collect();
    let epochs = offsets.iter().map(|(partition, _, epoch)| (*partition, *epoch)).collect();
    KafkaPosition { epochs, ..topic("id", &ends) }
}

fn cursor(id: &str, offsets: &[(i32, i64)]) -> Since {
    Since::Position(Position::Kafka(topic(id, offsets)))
}

fn read(from: &[(i32, From)]) -> Plan {
    Plan::Read { from: from.to_vec(), losses: Vec::new(), keep: false }
}

const EARLIEST: From = From::Ask(At::Earliest);

#[rstest]
#[case::baseline(Since::Now, Plan::Settle { keep: true })]
#[case::first_look(Since::Beginning, read(&[(0, EARLIEST), (1, EARLIEST)]))]
#[case::idle(cursor("id", &[(0, 5), (1, 3), (2, 0)]), Plan::Idle)]
#[case::moved(cursor("id", &[(0, 4), (1, 3), (2, 0)]), read(&[(0, From::Offset(4))]))]
#[case::new_partition(cursor("id", &[(0, 5), (2, 0)]), read(&[(1, From::New)]))]
#[case::new_partition_is_empty(cursor("id", &[(0, 5), (1, 3)]), Plan::Idle)]
fn plans(#[case] since: Since, #[case] expected: Plan) {
    assert_eq!(plan(&topic("id", &[(0, 5), (1, 3), (2, 0)]), &since), expected);
}

#[test]
fn a_row_of_the_original_starts_by_time_and_is_kept_even_without_news() {
    let since = Since::Time(Timestamp::UNIX_EPOCH);
    let from = vec![(0, From::Ask(At::Time(0)))];
    assert_eq!(plan(&topic("id", &[(0, 5)]), &since), Plan::Read { from, losses: Vec::new(), keep: true });
    assert_eq!(plan(&topic("id", &[(0, 0)]), &since), Plan::Settle { keep: true });
}

fn starting(starting: Starting) -> Plan {
    let read = ReadOptions { starting, ..ReadOptions::default() };
    plan_with(&topic("id", &[(0, 5), (1, 3), (2, 0)]), &Since::Beginning, &read)
}

fn by_partition<T: Clone>(values: &[(i32, T)]) -> BTreeMap<String, BTreeMap<i32, T>> {
    [("t".to_owned(), values.iter().cloned().collect())].into()
}

#[test]
fn starting_offsets_say_where_a_new_row_begins() {
    assert_eq!(starting(Starting::Latest), Plan::Settle { keep: true });
    let named = by_partition(&[(0, StartingOffset::At(2)), (1, StartingOffset::Latest)]);
    let from = vec![(0, From::Offset(2))];
    assert_eq!(starting(Starting::Offsets(named)), Plan::Read { from, losses: Vec::new(), keep: true });
    let earliest = by_partition(&[(0, StartingOffset::Earliest), (1, StartingOffset::Latest)]);
    let from = vec![(0, EARLIEST)];
    assert_eq!(starting(Starting::Offsets(earliest)), Plan::Read { from, losses: Vec::new(), keep: true });
    let times = |otherwise| Starting::Times { all: None, by_partition: by_partition(&[(1, 7)]), otherwise };
    let from = vec![(0, EARLIEST), (1, From::Ask(At::Time(7)))];
    assert_eq!(starting(times(NoRecord::Latest)), Plan::Read { from, losses: Vec::new(), keep: true });
    let from = vec![(0, EARLIEST), (1, From::Demand(At::Time(7)))];
    assert_eq!(starting(times(NoRecord::Error)), Plan::Read { from, losses: Vec::new(), keep: true });
}

#[test]
fn a_topic_made_again_is_read_from_its_beginning_and_says_so() {
    let Plan::Read { from, losses, .. } = plan(&topic("new", &[(0, 5)]), &cursor("old", &[(0, 5)])) else {
        panic!("not read");
    };
    assert_eq!(from, [(0, EARLIEST)]);
    assert_eq!(losses[0].cause, LossCause::MadeAgain);
}

#[test]
fn ends_behind_the_cursor_are_doubted_and_then_taken_for_a_log_that_was_cut_off() {
    let (now, since) = (topic("id", &[(0, 5)]), cursor("id", &[(0, 6)]));
    assert!(matches!(plan(&now, &since), Plan::Doubt(problem) if problem.contains("ends at 5, before 6")));
    let read = ReadOptions::default();
    let known = Known { now: &now, since: &since, read: &read, truths: None, confirmed: true };
    let Plan::Read { from, losses, .. } = plan_row(&known) else { panic!("not read") };
    assert_eq!(from, [(0, EARLIEST)]);
    assert_eq!((losses[0].from, losses[0].to, losses[0].cause), (5, Some(6), LossCause::Rewound));
    let committed = ReadOptions { isolation: Isolation::ReadCommitted, ..ReadOptions::default() };
    let known = Known { read: &committed, ..known };
    assert_eq!(plan_row(&known), Plan::Idle, "the row read uncommitted before");
    assert_eq!(carried_over(&now, &since, &[]), topic("id", &[(0, 6)]));
    assert_eq!(carried_over(&now, &since, &losses), topic("id", &[(0, 5)]));
}

#[rstest]
#[case::log_went_on(EpochEnd::At(9), read(&[(0, From::Offset(5))]), None)]
#[case::log_ends_where_we_stand(EpochEnd::At(5), read(&[(0, From::Offset(5))]), None)]
#[case::log_was_cut_off(EpochEnd::At(3), read(&[(0, From::Offset(3))]), Some(3))]
#[case::nothing_is_known_of_the_epoch(EpochEnd::Unknown, read(&[(0, From::Offset(5))]), None)]
fn after_an_election_the_log_is_verified(
    #[case] truth: EpochEnd,
    #[case] expected: Plan,
    #[case] lost_from: Option<i64>,
) {
    let now = with_epochs(&[(0, 8, 2)]);
    let since = Since::Position(Position::Kafka(with_epochs(&[(0, 5, 1)])));
    assert_eq!(plan(&now, &since), Plan::Verify(vec![(0, 1)]));
    let (read, truths) = (ReadOptions::default(), [((0, 1), truth)].into());
    let known = Known { now: &now, since: &since, read: &read, truths: Some(&truths), confirmed: false };
    let Plan::Read { from, losses, .. } = plan_row(&known) else { panic!("not read") };
    assert!(matches!(expected, Plan::Read { from: wanted, .. } if wanted == from));
    assert_eq!(losses.first().map(|loss| loss.from), lost_from);
}

#[test]
fn a_deposed_leader_is_not_believed() {
    let now = with_epochs(&[(0, 8, 1)]);
    let since = Since::Position(Position::Kafka(with_epochs(&[(0, 5, 2)])));
    assert!(matches!(plan(&now, &since), Plan::Doubt(problem) if problem.contains("deposed")));
}

#[test]
fn without_topic_ids_a_topic_made_again_is_told_by_what_went_back() {
    let without_id = |ends: &[(i32, i64, i32)]| KafkaPosition { topic_id: None, ..with_epochs(ends) };
    let since = Since::Position(Position::Kafka(without_id(&[(0, 100, 3)])));
    let committed = ReadOptions { isolation: Isolation::ReadCommitted, ..ReadOptions::default() };
    for (now, truth) in [((0, 5, 0), None), ((0, 5, 3), None), ((0, 5, 4), Some(EpochEnd::At(5)))] {
        let now = without_id(&[now]);
        let truths = truth.map(|truth| [((0, 3), truth)].into());
        let known =
            Known { now: &now, since: &since, read: &committed, truths: truths.as_ref(), confirmed: true };
        let Plan::Read { from, losses, .. } = plan_row(&known) else { panic!("not read: {now:?}") };
        assert_eq!((from, losses.len()), (vec![(0, EARLIEST)], 1), "{now:?}");
    }
}

#[test]
fn an_offset_told_without_epoch_has_none() {
    let since = Since::Position(Position::Kafka(with_epochs(&[(0, 5, 3), (1, 5, 3)])));
    let position = carried_over(&topic("id", &[(0, 9)]), &since, &[]);
    assert_eq!(position.epochs, [(1, 3)].into());
}

#[test]
fn assigned_partitions_are_all_that_a_row_sees() {
    let topics = Topics::Assigned([("t".to_owned(), [1].into())].into());
    let read = ReadOptions { topics, ..ReadOptions::default() };
    let now = with_epochs(&[(0, 8, 1), (1, 3, 1)]);
    assert_eq!(restricted(&now, &read), Some(with_epochs(&[(1, 3, 1)])));
    assert_eq!(restricted(&now, &ReadOptions::default()), None);
}

#[test]
fn a_partition_that_a_stale_broker_forgot_keeps_its_place() {
    let position = carried_over(&topic("id", &[(0, 5)]), &cursor("id", &[(0, 5), (1, 9)]), &[]);
    assert_eq!(position, topic("id", &[(0, 5), (1, 9)]));
    let of_another_topic = carried_over(&topic("new", &[(0, 5)]), &cursor("id", &[(0, 5), (1, 9)]), &[]);
    assert_eq!(of_another_topic, topic("new", &[(0, 5)]));
}

fn scan(partition: i32, from: i64, at: i64, end: i64, state: State) -> Scan<'static> {
    let mut scan = Scan::new("t", Uuid::nil(), partition, from, end);
    scan.at = at;
    scan.state = state;
    scan
}

fn finding(scans: &[&Scan<'_>]) -> Result<Finding, SourceError> {
    finding_with(scans, &ReadOptions::default())
}

fn finding_with(scans: &[&Scan<'_>], read: &ReadOptions) -> Result<Finding, SourceError> {
    let (now, since) = (topic("id", &[(0, 5), (1, 9)]), cursor("id", &[(0, 3), (1, 3)]));
    let known = Known { now: &now, since: &since, read, truths: None, confirmed: false };
    let reading = Reading { scans: scans.to_vec(), losses: Vec::new(), keep: false };
    read_finding(&known, reading, |_| SourceError::Timeout { what: "p".into() })
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
    assert_eq!((found.losses[0].from, found.losses[0].to), (3, Some(8)));
    assert_eq!(found.news, Some(Manifest::Offsets(vec![OffsetRange { partition: 1, from: 8, to: 9 }])));
    let strict = ReadOptions { fail_on_data_loss: true, ..ReadOptions::default() };
    let refused = finding_with(&[&lost], &strict).unwrap_err().to_string();
    assert!(refused.contains("offsets 3..8") && refused.contains("--baseline"), "{refused}");
}
