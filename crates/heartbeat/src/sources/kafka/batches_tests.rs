//! Tests of the judgement of record batches, on batches made by kafka-protocol's encoder.

use bytes::{Bytes, BytesMut};
use kafka_protocol::records::{
    Compression, NO_PARTITION_LEADER_EPOCH, Record, RecordBatchEncoder, RecordEncodeOptions, TimestampType,
};
use proptest::prelude::*;
use rstest::rstest;

use super::*;

/// A batch of one producer (-1: none) with records at these offsets.
fn batch(offsets: &[i64], producer_id: i64, compression: Compression) -> Vec<u8> {
    encode(offsets, producer_id, false, None, compression)
}

fn plain(offsets: &[i64]) -> Vec<u8> {
    batch(offsets, -1, Compression::None)
}

fn marker(offset: i64, producer_id: i64, kind: i16) -> Vec<u8> {
    let key = [0_i16.to_be_bytes(), kind.to_be_bytes()].concat();
    encode(&[offset], producer_id, true, Some(&Bytes::from(key)), Compression::None)
}

fn encode(
    offsets: &[i64],
    producer_id: i64,
    control: bool,
    key: Option<&Bytes>,
    compression: Compression,
) -> Vec<u8> {
    let first = offsets[0];
    let records: Vec<Record> = offsets
        .iter()
        .map(|offset| Record {
            transactional: producer_id >= 0,
            control,
            delete_horizon: false,
            partition_leader_epoch: NO_PARTITION_LEADER_EPOCH,
            producer_id,
            producer_epoch: 0,
            timestamp_type: TimestampType::Creation,
            offset: *offset,
            sequence: (offset - first) as i32,
            timestamp: 1,
            key: key.cloned(),
            value: Some(Bytes::from_static(b"value")),
            headers: kafka_protocol::indexmap::IndexMap::new(),
        })
        .collect();
    let mut bytes = BytesMut::new();
    RecordBatchEncoder::encode(&mut bytes, &records, &RecordEncodeOptions { version: 2, compression })
        .unwrap();
    bytes.to_vec()
}

/// As compaction leaves it: no records, the offsets kept.
fn emptied(offsets: &[i64]) -> Vec<u8> {
    let mut bytes = plain(offsets);
    bytes.truncate(HEADER);
    bytes[8..12].copy_from_slice(&((HEADER - 12) as i32).to_be_bytes());
    bytes[57..61].copy_from_slice(&0_i32.to_be_bytes());
    bytes
}

fn log(batches: &[Vec<u8>]) -> Bytes {
    Bytes::from(batches.concat())
}

fn judge(batches: &[Vec<u8>], from: i64, to: i64, aborted: &[(i64, i64)]) -> Verdict {
    let aborted: Vec<_> =
        aborted.iter().map(|&(producer_id, first_offset)| Aborted { producer_id, first_offset }).collect();
    judge_batches(&log(batches), from, to, &aborted).unwrap()
}

const COMMIT: i16 = 1;

#[rstest]
#[case::a_record(&[plain(&[5])], 5, 6, Verdict::News)]
#[case::nothing_yet(&[], 5, 6, Verdict::TooShort)]
#[case::marker_only(&[marker(5, 1, COMMIT)], 5, 6, Verdict::Noise { next: 6 })]
#[case::marker_then_record(&[marker(5, 1, COMMIT), plain(&[6])], 5, 7, Verdict::News)]
#[case::emptied_by_compaction(&[emptied(&[5, 6, 7])], 5, 8, Verdict::Noise { next: 8 })]
#[case::below_the_cursor(&[plain(&[3, 4])], 5, 6, Verdict::TooShort)]
#[case::around_the_cursor(&[plain(&[4, 5, 6])], 5, 7, Verdict::News)]
#[case::first_batch_lies_behind_the_end(&[plain(&[9])], 5, 8, Verdict::Noise { next: 8 })]
#[case::open_transaction(&[batch(&[5], 1, Compression::None)], 5, 6, Verdict::News)]
fn verdicts(#[case] batches: &[Vec<u8>], #[case] from: i64, #[case] to: i64, #[case] expected: Verdict) {
    assert_eq!(judge(batches, from, to, &[]), expected);
}

#[test]
fn aborted_transactions_are_noise_until_their_marker() {
    let log = [
        batch(&[5, 6], 1, Compression::None),
        marker(7, 1, ABORT_MARKER),
        marker(8, 2, COMMIT),
        batch(&[9], 1, Compression::None),
    ];
    assert_eq!(judge(&log[..3], 5, 9, &[(1, 5)]), Verdict::Noise { next: 9 });
    assert_eq!(judge(&log, 5, 10, &[(1, 5)]), Verdict::News, "the producer's next transaction is its own");
    assert_eq!(judge(&log, 5, 10, &[(1, 5), (1, 9)]), Verdict::Noise { next: 10 });
}

#[test]
fn another_producers_abort_hides_nothing() {
    let log = [batch(&[5], 2, Compression::None), batch(&[6], 1, Compression::None)];
    assert_eq!(judge(&log, 5, 7, &[(1, 6)]), Verdict::News);
    let plain_of_same_producer_id = [plain(&[5])];
    assert_eq!(judge(&plain_of_same_producer_id, 5, 6, &[(-1, 0)]), Verdict::News);
}

#[test]
fn an_abort_that_begins_later_hides_nothing_before_it() {
    let log = [batch(&[5], 1, Compression::None), marker(6, 1, COMMIT), batch(&[7], 1, Compression::None)];
    assert_eq!(judge(&log, 5, 8, &[(1, 7)]), Verdict::News);
}

#[rstest]
fn thinned_batch_around_the_cursor_is_decoded(
    #[values(Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd)]
    compression: Compression,
) {
    // Records at 3 and 8 are left of 3..=8.
    let thinned = [batch(&[3, 8], -1, compression)];
    assert_eq!(judge(&thinned, 8, 9, &[]), Verdict::News);
    // Compaction keeps the last offset of a batch when its last record goes.
    let mut last_gone = batch(&[3, 5], -1, compression);
    last_gone[23..27].copy_from_slice(&5_i32.to_be_bytes());
    assert_eq!(judge(&[last_gone], 6, 9, &[]), Verdict::Noise { next: 9 });
}

#[test]
fn a_header_is_enough_of_a_cut_off_batch() {
    let bytes = plain(&[5, 6]);
    assert_eq!(judge(&[bytes[..HEADER].to_vec()], 5, 7, &[]), Verdict::News);
    assert_eq!(judge(&[bytes[..HEADER - 1].to_vec()], 5, 7, &[]), Verdict::TooShort);
    let cut_thinned = batch(&[3, 8], -1, Compression::None)[..HEADER].to_vec();
    assert_eq!(judge(&[cut_thinned], 8, 9, &[]), Verdict::TooShort);
}

#[test]
fn message_sets_of_old_brokers_are_news() {
    let old = |offset: i64, magic: u8| {
        let mut bytes = offset.to_be_bytes().to_vec();
        bytes.extend(20_i32.to_be_bytes());
        bytes.extend([0, 0, 0, 0, magic]);
        bytes.resize(32, 0);
        bytes
    };
    assert_eq!(judge(&[old(4, 0), old(5, 1)], 5, 6, &[]), Verdict::News);
    assert_eq!(judge(&[old(4, 0)], 5, 6, &[]), Verdict::TooShort);
    assert_eq!(judge(&[old(7, 1)], 5, 6, &[]), Verdict::Noise { next: 6 });
}

proptest! {
    #[test]
    fn bytes_from_the_wire_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..400), magic in 0_u8..4) {
        if bytes.len() > 16 {
            bytes[16] = magic;
        }
        let _ = judge_batches(&Bytes::from(bytes), 5, 1_000, &[Aborted { producer_id: 1, first_offset: 0 }]);
    }

    #[test]
    fn a_flipped_byte_never_panics(at in 0_usize..150, value: u8, from in 0_i64..12) {
        let mut bytes = [batch(&[3, 8], 1, Compression::Lz4), marker(9, 1, ABORT_MARKER), plain(&[10])].concat();
        if let Some(byte) = bytes.get_mut(at) {
            *byte = value;
        }
        let _ = judge_batches(&Bytes::from(bytes), from, 1_000, &[Aborted { producer_id: 1, first_offset: 3 }]);
    }
}
