//! Is there a record in these bytes? Record batches judged by their headers (KIP-98; "Message format" in Kafka's docs).
//!
//! What moves offsets without being news: control batches (transaction markers), batches that compaction emptied,
//! batches of transactions known to be aborted, and batches wholly below the cursor. Records are decoded in one
//! case only: a batch that begins below the cursor and that compaction has thinned, where the header cannot tell
//! whether a record at or above the cursor is left.

use std::collections::HashSet;

use bytes::{Buf, Bytes};
use kafka_protocol::compression::{Decompressor, Gzip, Lz4, Snappy, Zstd};

/// What a stretch of log holds, seen from a cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// At least one record at or above the cursor and below the end.
    News,
    /// Nothing but noise below `next`.
    Noise {
        /// First offset that was not judged; above the cursor.
        next: i64,
    },
    /// Not one whole judgement in these bytes: more of them are needed.
    TooShort,
}

/// A transaction that was aborted, as Fetch tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Aborted {
    /// Producer of the transaction.
    pub(super) producer_id: i64,
    /// Its first offset in the partition. Its abort marker ends it.
    pub(super) first_offset: i64,
}

const PREFIX: usize = 17;
const HEADER: usize = 61;
const CONTROL: u16 = 1 << 5;
const TRANSACTIONAL: u16 = 1 << 4;
const ABORT_MARKER: i16 = 0;

struct Header {
    base: i64,
    last: i64,
    attributes: u16,
    producer_id: i64,
    records: i32,
}

/// Judges `log` for a cursor at `from` and an end at `to` (exclusive). The last batch may be cut off anywhere, as
/// brokers do; an error means bytes that are no record batches.
pub(super) fn judge_batches(log: &Bytes, from: i64, to: i64, aborted: &[Aborted]) -> Result<Verdict, String> {
    let mut starting: Vec<Aborted> = aborted.to_vec();
    starting.sort_unstable_by_key(|transaction| std::cmp::Reverse(transaction.first_offset));
    let mut open: HashSet<i64> = HashSet::new();
    let mut next = from;
    let mut rest = log.clone();
    while rest.len() >= PREFIX && next < to {
        let whole =
            12 + usize::try_from(be_i32(&rest, 8)).map_err(|_| "a batch of negative length".to_owned())?;
        if rest[16] < 2 {
            // Before Kafka 0.11: no transactions, no markers. Every message counts; a compressed one carries the
            // offset of its last inner message.
            let offset = be_i64(&rest, 0);
            if offset >= from {
                return Ok(if offset >= to { noise(from, to) } else { Verdict::News });
            }
            if rest.len() < whole {
                break;
            }
            rest.advance(whole);
            continue;
        }
        if rest.len() < HEADER {
            break;
        }
        let header = read_header(&rest, whole)?;
        if header.base >= to {
            return Ok(noise(from, to));
        }
        while let Some(transaction) = starting.pop_if(|transaction| transaction.first_offset <= header.last) {
            open.insert(transaction.producer_id);
        }
        let complete = rest.len() >= whole;
        let mut body = if complete { rest.split_to(whole) } else { rest.split_to(rest.len()) };
        body.advance(HEADER);
        if header.attributes & CONTROL != 0 {
            if complete && marker_type(&body) == Some(ABORT_MARKER) {
                open.remove(&header.producer_id);
            }
        } else if header.records > 0 && header.last >= from && !header.is_aborted(&open) {
            let full = i64::from(header.records) == header.last - header.base + 1;
            if header.base >= from || full {
                return Ok(Verdict::News);
            }
            if !complete {
                break;
            }
            if holds_record_from(body, &header, from)? {
                return Ok(Verdict::News);
            }
        }
        next = next.max(header.last + 1);
    }
    Ok(noise(from, next.min(to)))
}

fn noise(from: i64, next: i64) -> Verdict {
    if next > from { Verdict::Noise { next } } else { Verdict::TooShort }
}

impl Header {
    fn is_aborted(&self, open: &HashSet<i64>) -> bool {
        self.attributes & TRANSACTIONAL != 0 && open.contains(&self.producer_id)
    }
}

fn read_header(bytes: &[u8], whole: usize) -> Result<Header, String> {
    let base = be_i64(bytes, 0);
    let last_delta = be_i32(bytes, 23);
    let records = be_i32(bytes, 57);
    if whole < HEADER || base < 0 || last_delta < 0 || records < 0 {
        return Err(format!(
            "a batch of {whole} bytes with offsets {base}+{last_delta} and {records} records"
        ));
    }
    Ok(Header {
        base,
        last: base.saturating_add(i64::from(last_delta)),
        attributes: (&bytes[21..]).get_u16(),
        producer_id: be_i64(bytes, 43),
        records,
    })
}

/// Type of a control record: its key is a version and a type, two bytes each.
fn marker_type(body: &[u8]) -> Option<i16> {
    let mut record = body;
    let _length = varint(&mut record)?;
    record = record.get(1..)?;
    let _timestamp = varint(&mut record)?;
    let _offset = varint(&mut record)?;
    if varint(&mut record)? < 4 {
        return None;
    }
    Some(i16::from_be_bytes([*record.get(2)?, *record.get(3)?]))
}

fn holds_record_from(mut body: Bytes, header: &Header, from: i64) -> Result<bool, String> {
    let walk = |records: &[u8]| Ok(has_offset_from(records, header, from));
    let found = match header.attributes & 7 {
        0 => Ok(has_offset_from(&body, header, from)),
        1 => Gzip::decompress(&mut body, |records| walk(records)),
        2 => Snappy::decompress(&mut body, |records| walk(records)),
        3 => Lz4::decompress(&mut body, |records| walk(records)),
        4 => Zstd::decompress(&mut body, |records| walk(records)),
        other => return Err(format!("compression {other} is unknown")),
    };
    let found =
        found.map_err(|error| format!("the batch at offset {} cannot be read: {error:#}", header.base))?;
    found.ok_or_else(|| format!("the records of the batch at offset {} are cut off", header.base))
}

/// `None` when the records break off. Nothing is allocated for what the header promises.
fn has_offset_from(records: &[u8], header: &Header, from: i64) -> Option<bool> {
    let mut rest = records;
    for _ in 0..header.records {
        let length = usize::try_from(varint(&mut rest)?).ok()?;
        let mut record = rest.get(..length)?;
        rest = &rest[length..];
        record = record.get(1..)?;
        let _timestamp = varint(&mut record)?;
        if header.base.saturating_add(varint(&mut record)?) >= from {
            return Some(true);
        }
    }
    Some(false)
}

/// Zigzag varint of up to 64 bits.
fn varint(bytes: &mut &[u8]) -> Option<i64> {
    let mut value: u64 = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some((value >> 1) as i64 ^ -((value & 1) as i64));
        }
    }
    None
}

/// The caller has checked the length.
fn be_i32(bytes: &[u8], at: usize) -> i32 {
    (&bytes[at..]).get_i32()
}

/// The caller has checked the length.
fn be_i64(bytes: &[u8], at: usize) -> i64 {
    (&bytes[at..]).get_i64()
}

#[cfg(test)]
#[path = "batches_tests.rs"]
mod tests;
