//! One partition of the embedded broker: record batches as bytes, and the transactions on them.

use std::collections::BTreeMap;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::ResponseError;
use kafka_protocol::records::{
    Compression, NO_PARTITION_LEADER_EPOCH, Record, RecordBatchDecoder, RecordBatchEncoder,
    RecordEncodeOptions, TimestampType,
};

const HEADER: usize = 61;

/// A log in memory. Everything written is replicated at once: high watermark and log end are one.
#[derive(Debug, Default)]
pub(super) struct Log {
    batches: Vec<Batch>,
    start: i64,
    end: i64,
    open: BTreeMap<i64, i64>,
    aborted: Vec<Aborted>,
    /// First offset of each leader epoch but the first, which is 0 (KIP-320).
    epochs: Vec<i64>,
}

#[derive(Debug)]
struct Batch {
    base: i64,
    last: i64,
    max_timestamp: i64,
    bytes: Bytes,
}

/// A transaction that ended with an abort.
#[derive(Debug, Clone, Copy)]
pub(super) struct Aborted {
    pub(super) producer_id: i64,
    pub(super) first_offset: i64,
    marker: i64,
}

/// What a fetch brings.
#[derive(Debug)]
pub(super) struct Slice {
    pub(super) log: Bytes,
    pub(super) aborted: Vec<Aborted>,
}

impl Log {
    pub(super) fn start(&self) -> i64 {
        self.start
    }

    pub(super) fn end(&self) -> i64 {
        self.end
    }

    /// The first offset of the oldest open transaction, or the end.
    pub(super) fn last_stable(&self) -> i64 {
        self.open.values().copied().min().unwrap_or(self.end)
    }

    /// Leader epoch of the partition.
    pub(super) fn epoch(&self) -> i32 {
        self.epochs.len() as i32
    }

    /// Where the records of this leader epoch, and of those before it, end; -1 for one that is yet to come.
    pub(super) fn end_of_epoch(&self, epoch: i32) -> i64 {
        match usize::try_from(epoch) {
            Ok(epoch) if epoch < self.epochs.len() => self.epochs[epoch],
            Ok(epoch) if epoch == self.epochs.len() => self.end,
            _ => -1,
        }
    }

    /// Elects a leader. One that lags has the log only up to `reach`, which goes on from there.
    pub(super) fn elect(&mut self, reach: i64) {
        self.batches.retain(|batch| batch.last < reach);
        self.open.retain(|_, first| *first < reach);
        self.end = self.end.min(reach);
        for start in &mut self.epochs {
            *start = (*start).min(self.end);
        }
        self.epochs.push(self.end);
    }

    /// Holds the epoch that a client takes for the present one (-1: none) against the present one.
    pub(super) fn check_epoch(&self, claimed: i32) -> Result<(), ResponseError> {
        match claimed.cmp(&self.epoch()) {
            _ if claimed == -1 => Ok(()),
            std::cmp::Ordering::Less => Err(ResponseError::FencedLeaderEpoch),
            std::cmp::Ordering::Equal => Ok(()),
            std::cmp::Ordering::Greater => Err(ResponseError::UnknownLeaderEpoch),
        }
    }

    /// Appends the batches of a produce request and returns the offset of the first record.
    pub(super) fn append(&mut self, mut records: Bytes) -> Result<i64, ResponseError> {
        let first = self.end;
        while !records.is_empty() {
            let batch = split_batch(&mut records).ok_or(ResponseError::CorruptMessage)?;
            self.push(&batch);
        }
        Ok(first)
    }

    /// Ends the producer's transaction here. The marker is written even when no record was, as Kafka does.
    pub(super) fn end_transaction(&mut self, producer_id: i64, commit: bool) {
        if let (Some(first_offset), false) = (self.open.remove(&producer_id), commit) {
            self.aborted.push(Aborted { producer_id, first_offset, marker: self.end });
        }
        if let Some(marker) = encode(&[control_record(producer_id, commit)]) {
            self.push(&marker);
        }
    }

    /// Forgets everything below `offset` (-1: everything) and returns the new start.
    pub(super) fn delete_before(&mut self, offset: i64) -> Result<i64, ResponseError> {
        let offset = if offset == -1 { self.end } else { offset };
        if offset < 0 || offset > self.end {
            return Err(ResponseError::OffsetOutOfRange);
        }
        self.start = self.start.max(offset);
        self.batches.retain(|batch| batch.last >= self.start);
        Ok(self.start)
    }

    /// Batches from the one that holds `from` on. Like Kafka: the last one is cut off at `max_bytes`, and of a first
    /// one that is larger than that nothing is returned, unless `whole_first`.
    pub(super) fn read(
        &self,
        from: i64,
        committed: bool,
        max_bytes: usize,
        whole_first: bool,
    ) -> Result<Slice, ResponseError> {
        if from < self.start || from > self.end {
            return Err(ResponseError::OffsetOutOfRange);
        }
        let limit = if committed { self.last_stable() } else { self.end };
        let mut log = BytesMut::new();
        let mut upper = from;
        for batch in self.batches.iter().filter(|batch| batch.last >= from && batch.base < limit) {
            let room = max_bytes.saturating_sub(log.len());
            if log.is_empty() && (whole_first || batch.bytes.len() <= room) {
                log.put_slice(&batch.bytes);
            } else if log.is_empty() {
                break;
            } else {
                log.put_slice(&batch.bytes[..room.min(batch.bytes.len())]);
            }
            upper = batch.last + 1;
            if log.len() >= max_bytes {
                break;
            }
        }
        let reaches_in =
            |transaction: &&Aborted| transaction.first_offset < upper && transaction.marker >= from;
        let aborted =
            if committed { self.aborted.iter().filter(reaches_in).copied().collect() } else { Vec::new() };
        Ok(Slice { log: log.freeze(), aborted })
    }

    /// Offset and timestamp of the first record of this time or later.
    pub(super) fn first_at(&self, timestamp: i64) -> Option<(i64, i64)> {
        let batch = self.batches.iter().find(|batch| batch.max_timestamp >= timestamp)?;
        let records = RecordBatchDecoder::decode(&mut batch.bytes.clone()).ok()?.records;
        records
            .iter()
            .find(|record| record.timestamp >= timestamp && record.offset >= self.start)
            .map(|record| (record.offset, record.timestamp))
    }

    fn push(&mut self, batch: &[u8]) {
        let last_delta = i64::from((&batch[23..]).get_i32());
        let attributes = (&batch[21..]).get_u16();
        let producer_id = (&batch[43..]).get_i64();
        let mut bytes = BytesMut::from(batch);
        // Neither the base offset nor the leader epoch is under the checksum.
        bytes[..8].copy_from_slice(&self.end.to_be_bytes());
        bytes[12..16].copy_from_slice(&0_i32.to_be_bytes());
        let is_open_data = attributes & 0b11_0000 == 0b01_0000;
        if is_open_data {
            self.open.entry(producer_id).or_insert(self.end);
        }
        self.batches.push(Batch {
            base: self.end,
            last: self.end + last_delta,
            max_timestamp: (&batch[35..]).get_i64(),
            bytes: bytes.freeze(),
        });
        self.end += last_delta + 1;
    }
}

/// One batch with records of these values, of the time given in milliseconds.
pub(super) fn batch_of(values: &[Bytes], timestamp: i64, producer_id: i64) -> Option<Bytes> {
    let records: Vec<_> = values
        .iter()
        .zip(0..)
        .map(|(value, i)| record(i, timestamp, producer_id, Some(value.clone())))
        .collect();
    encode(&records)
}

fn record(offset: i64, timestamp: i64, producer_id: i64, value: Option<Bytes>) -> Record {
    Record {
        transactional: producer_id >= 0,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: NO_PARTITION_LEADER_EPOCH,
        producer_id,
        producer_epoch: if producer_id >= 0 { 0 } else { -1 },
        timestamp_type: TimestampType::Creation,
        offset,
        sequence: offset as i32,
        timestamp,
        key: None,
        value,
        headers: kafka_protocol::indexmap::IndexMap::new(),
    }
}

fn control_record(producer_id: i64, commit: bool) -> Record {
    let key = [0_i16.to_be_bytes(), i16::from(commit).to_be_bytes()].concat();
    // Version and coordinator epoch.
    let value = Some(Bytes::from_static(&[0; 6]));
    let marker = record(0, 0, producer_id, value);
    Record { control: true, key: Some(Bytes::from(key)), ..marker }
}

fn encode(records: &[Record]) -> Option<Bytes> {
    let mut bytes = BytesMut::new();
    let options = RecordEncodeOptions { version: 2, compression: Compression::None };
    RecordBatchEncoder::encode(&mut bytes, records, &options).ok()?;
    Some(bytes.freeze())
}

fn split_batch(records: &mut Bytes) -> Option<Bytes> {
    let length = usize::try_from((records.get(8..12)?).get_i32()).ok()?;
    let whole = length.checked_add(12)?;
    if whole < HEADER || records.len() < whole || records[16] != 2 || (&records[23..]).get_i32() < 0 {
        return None;
    }
    Some(records.split_to(whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(count: usize) -> Vec<Bytes> {
        vec![Bytes::from_static(b"value"); count]
    }

    fn log_with(batches: &[(usize, i64)]) -> Log {
        let mut log = Log::default();
        for (count, timestamp) in batches {
            log.append(batch_of(&values(*count), *timestamp, -1).unwrap()).unwrap();
        }
        log
    }

    #[test]
    fn reads_from_the_batch_that_holds_the_offset() {
        let log = log_with(&[(2, 10), (3, 20)]);
        assert_eq!((log.start(), log.end(), log.last_stable()), (0, 5, 5));
        let slice = log.read(3, false, 10_000, false).unwrap();
        assert_eq!((&slice.log[..]).get_i64(), 2);
        assert_eq!(log.first_at(15), Some((2, 20)));
        assert_eq!(log.first_at(21), None);
        assert!(log.read(6, false, 10_000, false).is_err());
    }

    #[test]
    fn a_first_batch_that_is_too_large_needs_to_be_alone() {
        let log = log_with(&[(2, 10), (3, 20)]);
        assert!(log.read(0, false, 10, false).unwrap().log.is_empty());
        let first = log.read(0, false, 10, true).unwrap().log.len();
        assert_eq!(log.read(0, false, first + 10, false).unwrap().log.len(), first + 10);
    }

    #[test]
    fn transactions_hold_back_the_last_stable_offset() {
        let mut log = log_with(&[(2, 10)]);
        log.append(batch_of(&values(1), 1, 7).unwrap()).unwrap();
        assert_eq!((log.last_stable(), log.end()), (2, 3));
        assert_eq!(log.read(2, true, 10_000, false).unwrap().log.len(), 0);
        log.end_transaction(7, false);
        assert_eq!((log.last_stable(), log.end()), (4, 4));
        let slice = log.read(2, true, 10_000, false).unwrap();
        assert_eq!(
            slice.aborted.iter().map(|a| (a.producer_id, a.first_offset)).collect::<Vec<_>>(),
            [(7, 2)]
        );
        assert!(log.read(4, true, 10_000, false).unwrap().aborted.is_empty());
        log.end_transaction(7, true);
        assert_eq!((log.last_stable(), log.end()), (5, 5), "a marker without records");
    }

    #[test]
    fn deleted_records_are_out_of_range() {
        let mut log = log_with(&[(2, 10), (3, 20)]);
        assert_eq!(log.delete_before(3), Ok(3));
        assert_eq!(log.read(2, false, 10_000, false).unwrap_err(), ResponseError::OffsetOutOfRange);
        assert_eq!(log.first_at(0), Some((3, 20)));
        assert_eq!(log.delete_before(-1), Ok(5));
        assert!(log.delete_before(9).is_err());
    }

    #[test]
    fn bytes_that_are_no_batches_are_refused() {
        let mut log = Log::default();
        assert_eq!(log.append(Bytes::from_static(&[0; 80])), Err(ResponseError::CorruptMessage));
        assert_eq!(log.append(Bytes::from_static(b"short")), Err(ResponseError::CorruptMessage));
    }
}
