//! Tests of the steps of a scan, on answers made by hand.

use bytes::{BufMut, Bytes, BytesMut};

use super::*;
use crate::sources::kafka::batches::Aborted;

const ID: Uuid = Uuid::from_u128(1);

/// A batch of one record, a marker, or an emptied batch, at this offset.
fn batch(offset: i64, attributes: i16, producer_id: i64, records: i32) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    bytes.put_i64(offset);
    bytes.put_i32(49);
    bytes.put_i32(0);
    bytes.put_u8(2);
    bytes.put_u32(0);
    bytes.put_i16(attributes);
    bytes.put_i32(0);
    bytes.put_slice(&[0; 16]);
    bytes.put_i64(producer_id);
    bytes.put_slice(&[0; 6]);
    bytes.put_i32(records);
    bytes.to_vec()
}

fn record(offset: i64, producer_id: i64) -> Vec<u8> {
    batch(offset, if producer_id < 0 { 0 } else { 16 }, producer_id, 1)
}

fn marker(offset: i64, producer_id: i64) -> Vec<u8> {
    batch(offset, 48, producer_id, 1)
}

fn fetched(last_stable: i64, batches: &[Vec<u8>], aborted: &[(i64, i64)]) -> Fetched {
    let aborted =
        aborted.iter().map(|&(producer_id, first_offset)| Aborted { producer_id, first_offset }).collect();
    Fetched { last_stable, log: Bytes::from(batches.concat()), aborted }
}

fn scan(from: i64, end: i64) -> Scan<'static> {
    Scan::new("t", ID, 0, from, end)
}

#[test]
fn nothing_to_read_is_decided_at_once() {
    assert!(matches!(scan(5, 5).state, State::Nothing));
}

#[test]
fn the_first_record_decides() {
    let mut scan = scan(5, 9);
    scan.take(Ok(fetched(9, &[record(5, -1)], &[])), Isolation::ReadUncommitted);
    assert!(matches!(scan.state, State::News));
}

#[test]
fn markers_are_walked_through_to_the_end() {
    let mut scan = scan(5, 7);
    scan.take(Ok(fetched(7, &[marker(5, 1)], &[])), Isolation::ReadUncommitted);
    assert!(scan.is_open());
    assert_eq!(scan.at, 6);
    scan.take(Ok(fetched(7, &[marker(6, 1)], &[])), Isolation::ReadUncommitted);
    assert!(matches!(scan.state, State::Nothing));
}

#[test]
fn what_came_after_the_question_is_left_for_the_next_look() {
    let mut scan = scan(5, 6);
    scan.take(Ok(fetched(8, &[marker(5, 1), record(6, -1)], &[])), Isolation::ReadUncommitted);
    assert!(matches!(scan.state, State::Nothing));
}

#[test]
fn an_open_transaction_is_news_for_uncommitted_readers_only() {
    let mut row = scan(5, 6);
    assert_eq!(row.fetch_isolation(), Isolation::ReadCommitted);
    row.take(Ok(fetched(5, &[], &[])), Isolation::ReadUncommitted);
    assert_eq!(row.fetch_isolation(), Isolation::ReadUncommitted);
    row.take(Ok(fetched(-1, &[record(5, 1)], &[])), Isolation::ReadUncommitted);
    assert!(matches!(row.state, State::News));
}

#[test]
fn an_aborted_transaction_below_an_open_one_is_no_news() {
    let mut row = scan(5, 9);
    let answer = fetched(7, &[record(5, 1), marker(6, 1)], &[(1, 5)]);
    row.take(Ok(answer), Isolation::ReadUncommitted);
    assert!(row.is_open());
    assert_eq!((row.at, row.fetch_isolation()), (7, Isolation::ReadUncommitted));
}

#[test]
fn empty_answers_ask_for_more_then_alone_then_probe() {
    let mut row = scan(5, 9);
    let sizes: Vec<_> = (0..3)
        .map(|_| {
            row.take(Ok(fetched(9, &[], &[])), Isolation::ReadUncommitted);
            (row.size, row.phase)
        })
        .collect();
    let probe = Phase::Probe { limit: 9 };
    assert_eq!(
        sizes,
        [(Size::Large, Phase::Committed), (Size::Alone, Phase::Committed), (Size::Alone, probe)]
    );
    // The log goes on behind the limit: nothing was left below it.
    row.take(Ok(fetched(-1, &[record(12, -1)], &[])), Isolation::ReadUncommitted);
    assert!(matches!(row.state, State::Nothing));
}

#[test]
fn a_broker_that_returns_nothing_for_long_is_doubted_never_believed() {
    let mut row = scan(5, 9);
    for _ in 0..100 {
        if row.is_open() {
            row.take(Ok(fetched(9, &[], &[])), Isolation::ReadUncommitted);
        }
    }
    assert!(matches!(row.state, State::Failed(PartitionError::Doubtful(_))));
}

#[test]
fn gaps_are_remembered_and_skipped() {
    let mut row = scan(5, 9);
    row.take(Err(Code::OFFSET_OUT_OF_RANGE), Isolation::ReadUncommitted);
    assert!(matches!(row.state, State::OutOfRange));
    row.continue_from(8);
    assert!(row.is_open());
    assert_eq!((row.at, row.lost), (8, Some((5, 8))));
    row.take(Err(Code::OFFSET_OUT_OF_RANGE), Isolation::ReadUncommitted);
    row.continue_from(12);
    assert!(matches!(row.state, State::Nothing));
    assert_eq!(row.lost, Some((5, 12)));
    let mut above = scan(5, 9);
    above.continue_from(0);
    assert!(matches!(above.state, State::Failed(_)));
}

#[test]
fn a_request_holds_one_kind_and_no_partition_twice() {
    let mut scans = vec![scan(1, 9), scan(3, 9), Scan::new("u", ID, 1, 0, 4), Scan::new("v", ID, 0, 0, 4)];
    scans[3].take(Ok(fetched(0, &[], &[])), Isolation::ReadUncommitted);
    assert_eq!(pick(&scans), [0, 2]);
    scans[0].state = State::News;
    scans[2].state = State::News;
    assert_eq!(pick(&scans), [1]);
    scans[1].state = State::News;
    assert_eq!(pick(&scans), [3]);
    scans[3].state = State::Nothing;
    assert!(pick(&scans).is_empty());
}
