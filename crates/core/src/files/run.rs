//! Runs: many names of one folder in one file beside the table, sorted, each with the time since when it is gone.
//!
//! A name is written as what it adds to the one before it, so that a documented name costs about a dozen bytes. Every
//! [`BLOCK`] names one is written whole, and an index at the end tells where: a part can be read without the rest.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::claim::hex;

/// A run, as a position names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// First name.
    pub first: String,
    /// Last name.
    pub last: String,
    /// Number of names.
    pub names: u64,
    /// Hex SHA-256 of the file, which is its name.
    pub sha256: String,
}

/// A name that was seen, and since when it is gone; `None`: it was there when it was last looked for.
pub type Remembered = (String, Option<Timestamp>);

/// What is wrong with a run's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is no list of file names of ours, or is damaged")]
pub struct BadRun;

const MAGIC: &[u8] = b"heartbeat.files/1\n";

/// Names between two that are written whole.
const BLOCK: u64 = 512;

/// A run in memory.
#[derive(Debug, Clone, Copy)]
pub struct Names<'a> {
    entries: &'a [u8],
    /// Offsets of the blocks, four bytes each.
    index: &'a [u8],
}

impl<'a> Names<'a> {
    /// Reads the frame; names are read as they are asked for.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, BadRun> {
        let rest = bytes.strip_prefix(MAGIC).ok_or(BadRun)?;
        let (rest, length) = rest.split_last_chunk::<4>().ok_or(BadRun)?;
        let length =
            usize::try_from(u32::from_le_bytes(*length)).map_err(|_| BadRun)?.checked_mul(4).ok_or(BadRun)?;
        let at = rest.len().checked_sub(length).ok_or(BadRun)?;
        let (entries, index) = rest.split_at(at);
        Ok(Self { entries, index })
    }

    /// Names behind `after`, in order.
    pub fn behind(self, after: Option<&str>) -> Result<Reader<'a>, BadRun> {
        let mut block = 0;
        if let Some(after) = after {
            // The last block that begins at or before it.
            let (mut low, mut high) = (0, self.index.len() / 4);
            while low < high {
                let middle = usize::midpoint(low, high);
                if self.first_of(middle)?.as_str() <= after {
                    low = middle + 1;
                } else {
                    high = middle;
                }
            }
            block = low.saturating_sub(1);
        }
        let mut reader = Reader { rest: self.block(block)?, name: String::new(), pending: None };
        while let Some(after) = after
            && let Some((name, gone)) = reader.read()?
        {
            if name.as_str() > after {
                reader.pending = Some((name, gone));
                break;
            }
        }
        Ok(reader)
    }

    fn first_of(self, block: usize) -> Result<String, BadRun> {
        let mut reader = Reader { rest: self.block(block)?, name: String::new(), pending: None };
        reader.read()?.map(|(name, _)| name).ok_or(BadRun)
    }

    fn block(self, block: usize) -> Result<&'a [u8], BadRun> {
        let Some(offset) = self.index.get(block * 4..block * 4 + 4) else {
            return if self.index.is_empty() { Ok(&[]) } else { Err(BadRun) };
        };
        let offset = u32::from_le_bytes(offset.try_into().map_err(|_| BadRun)?);
        self.entries.get(usize::try_from(offset).map_err(|_| BadRun)?..).ok_or(BadRun)
    }
}

/// Reads names one after the other.
#[derive(Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
    name: String,
    pending: Option<Remembered>,
}

impl Reader<'_> {
    /// The next name; `None` at the end.
    pub fn read(&mut self) -> Result<Option<Remembered>, BadRun> {
        if let Some(pending) = self.pending.take() {
            return Ok(Some(pending));
        }
        if self.rest.is_empty() {
            return Ok(None);
        }
        let shared = usize::try_from(self.number()?).map_err(|_| BadRun)?;
        let added = usize::try_from(self.number()?).map_err(|_| BadRun)?;
        let (text, rest) = self.rest.split_at_checked(added).ok_or(BadRun)?;
        let text = std::str::from_utf8(text).map_err(|_| BadRun)?;
        self.rest = rest;
        if !self.name.is_char_boundary(shared) {
            return Err(BadRun);
        }
        self.name.truncate(shared);
        self.name.push_str(text);
        let gone = match self.number()? {
            0 => None,
            second => {
                let second = i64::try_from(second - 1).map_err(|_| BadRun)?;
                Some(Timestamp::from_second(second).map_err(|_| BadRun)?)
            }
        };
        Ok(Some((self.name.clone(), gone)))
    }

    /// LEB128.
    fn number(&mut self) -> Result<u64, BadRun> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.rest.split_first().ok_or(BadRun)?;
            self.rest = rest;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(BadRun)
    }
}

/// Writes a run, name by name, in order.
#[derive(Debug, Default)]
pub struct Writer {
    bytes: Vec<u8>,
    index: Vec<u32>,
    first: String,
    last: String,
    names: u64,
}

impl Writer {
    /// Names so far.
    pub fn names(&self) -> u64 {
        self.names
    }

    /// Adds a name behind all others.
    pub fn push(&mut self, name: &str, gone: Option<Timestamp>) {
        debug_assert!(self.names == 0 || self.last.as_str() < name, "names come in order");
        if self.bytes.is_empty() {
            self.bytes.extend_from_slice(MAGIC);
            name.clone_into(&mut self.first);
        }
        let shared = if self.names.is_multiple_of(BLOCK) {
            self.index.push(u32::try_from(self.bytes.len() - MAGIC.len()).unwrap_or(u32::MAX));
            0
        } else {
            common(&self.last, name)
        };
        self.number(shared as u64);
        self.number((name.len() - shared) as u64);
        self.bytes.extend_from_slice(&name.as_bytes()[shared..]);
        // Years before 1970 do not occur; a time of one would read as "there".
        self.number(gone.map_or(0, |at| u64::try_from(at.as_second()).unwrap_or(0) + 1));
        name.clone_into(&mut self.last);
        self.names += 1;
    }

    /// The run and its file; `None` when no name was added.
    pub fn finish(mut self) -> Option<(Run, Vec<u8>)> {
        if self.names == 0 {
            return None;
        }
        for offset in &self.index {
            self.bytes.extend_from_slice(&offset.to_le_bytes());
        }
        let blocks = u32::try_from(self.index.len()).unwrap_or(u32::MAX);
        self.bytes.extend_from_slice(&blocks.to_le_bytes());
        let sha256 = hex(&Sha256::digest(&self.bytes));
        Some((Run { first: self.first, last: self.last, names: self.names, sha256 }, self.bytes))
    }

    fn number(&mut self, mut number: u64) {
        loop {
            let byte = (number & 0x7f) as u8;
            number >>= 7;
            if number == 0 {
                self.bytes.push(byte);
                return;
            }
            self.bytes.push(byte | 0x80);
        }
    }
}

/// Bytes that two names begin with, up to the boundary of a character.
fn common(one: &str, two: &str) -> usize {
    let equal = one.bytes().zip(two.bytes()).take_while(|(a, b)| a == b).count();
    (0..=equal).rev().find(|at| two.is_char_boundary(*at) && one.is_char_boundary(*at)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn written(names: &BTreeMap<String, Option<i64>>) -> Option<(Run, Vec<u8>)> {
        let mut writer = Writer::default();
        for (name, gone) in names {
            writer.push(name, gone.map(|second| Timestamp::from_second(second).unwrap()));
        }
        writer.finish()
    }

    fn read(bytes: &[u8], after: Option<&str>) -> Vec<(String, Option<i64>)> {
        let mut reader = Names::parse(bytes).unwrap().behind(after).unwrap();
        let mut names = Vec::new();
        while let Some((name, gone)) = reader.read().unwrap() {
            names.push((name, gone.map(Timestamp::as_second)));
        }
        names
    }

    /// What was written once is read for ever.
    #[test]
    fn golden_run_is_read_and_is_what_is_written() {
        let golden = include_bytes!("../../tests/golden/run-1.bin");
        let names = (0..600).map(|i| (format!("t_{i:04}é.txt"), (i % 7 == 0).then_some(1_767_323_045 + i)));
        let names: BTreeMap<String, Option<i64>> = names.collect();
        assert_eq!(written(&names).unwrap().1, golden);
        assert_eq!(read(golden, None), names.into_iter().collect::<Vec<_>>());
    }

    #[test]
    fn a_documented_name_costs_a_dozen_bytes() {
        let names = (0..100_000).map(|i| (format!("my_trigger_20260102_{i:06}.txt"), None)).collect();
        let (run, bytes) = written(&names).unwrap();
        assert_eq!((run.names, run.first.as_str()), (100_000, "my_trigger_20260102_000000.txt"));
        assert!(bytes.len() < 1_200_000, "{}", bytes.len());
        assert_eq!(read(&bytes, Some("my_trigger_20260102_099998.txt")).len(), 1);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_from_any_place(
            names in prop::collection::btree_map("[aé%]{1,4}|[a-c/]{1,3}", prop::option::of(0_i64..1 << 37), 1..1500),
            after in "[abé%]{0,4}",
        ) {
            let (run, bytes) = written(&names).unwrap();
            prop_assert_eq!(run.names, names.len() as u64);
            let all: Vec<_> = names.iter().map(|(name, gone)| (name.clone(), *gone)).collect();
            prop_assert_eq!(read(&bytes, None), all.clone());
            let behind: Vec<_> = all.into_iter().filter(|(name, _)| *name > after).collect();
            prop_assert_eq!(read(&bytes, Some(&after)), behind);
        }

        #[test]
        fn damage_is_an_error_and_no_panic(at in 0_usize..400, to in any::<u8>()) {
            let names = (0..40).map(|i| (format!("n{i:03}"), None)).collect();
            let (_, mut bytes) = written(&names).unwrap();
            let at = at % bytes.len();
            bytes[at] = to;
            if let Ok(names) = Names::parse(&bytes)
                && let Ok(mut reader) = names.behind(Some("n020"))
            {
                while let Ok(Some(_)) = reader.read() {}
            }
        }
    }
}
