//! What was seen of a folder: a few names in the position, the many older ones in runs beside the table.
//!
//! A name that was seen is remembered for as long as its file is there, and for [`REMEMBERED`] after it has gone: a
//! store that leaves a file out of one listing makes no news with the next. Time alone forgets nothing: a listing must show
//! that the file is still not there, so that rows that were not asked for long are as safe.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::DateTime;
use jiff::{SignedDuration, Timestamp};

use super::change::{Change, LARGEST_RUN, NewRun, RunFiles, is_long_gone};
use super::name::stamp_of;
use super::run::{BadRun, Names, Reader, Remembered, Run, Writer};
use crate::position::FilesPosition;

/// How long a name is remembered that has gone.
pub const REMEMBERED: SignedDuration = SignedDuration::from_hours(7 * 24);

/// Names that are to be forgotten wait so long for other changes to go along with.
const FORGOTTEN_ALONE: SignedDuration = SignedDuration::from_hours(REMEMBERED.as_hours() + 24);

/// More names than this are not kept in the position. When there are more, half of them stay and the others are written
/// to a run.
pub const MOST_INLINE: usize = 600;

/// A listing of the newest names begins this far before the newest one that was seen, for files that come a little late,
const OVERLAP: SignedDuration = SignedDuration::from_mins(15);

/// but at most so many names before it.
const MOST_OVERLAP: usize = 100;

/// Clocks of those who name files may be ahead by a time zone.
const AHEAD: SignedDuration = SignedDuration::from_hours(26);

/// A part of a folder, in the order of names, of which names were listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch<'a> {
    /// It begins behind this name; `None`: with the first.
    pub after: Option<&'a str>,
    /// It ends with this name; `None`: with the last.
    pub upto: Option<&'a str>,
    /// Whether all names in it were listed. Otherwise what was not listed may still be there.
    pub whole: bool,
}

/// The whole folder, listed whole.
pub const EVERYTHING: Stretch<'static> = Stretch { after: None, upto: None, whole: true };

/// How a listing differs from what was seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Difference {
    /// Never seen.
    pub new: Vec<String>,
    /// Seen, and no longer there.
    pub missing: Vec<String>,
    /// Gone, and there again.
    pub back: Vec<String>,
    /// Gone for longer than names are remembered, and still not there.
    pub forgotten: Vec<String>,
}

impl Difference {
    /// True when nothing differs.
    pub fn is_empty(&self) -> bool {
        self.new.is_empty() && self.missing.is_empty() && self.back.is_empty() && self.forgotten.is_empty()
    }

    /// Takes another stretch's differences in.
    pub fn add(&mut self, other: Self) {
        self.new.extend(other.new);
        self.missing.extend(other.missing);
        self.back.extend(other.back);
        self.forgotten.extend(other.forgotten);
    }
}

impl FilesPosition {
    /// A folder of which nothing was seen.
    pub fn of(folder: impl Into<String>) -> Self {
        Self { folder: folder.into(), seen: BTreeSet::new(), gone: BTreeMap::new(), runs: Vec::new() }
    }

    /// Names that are remembered.
    pub fn names(&self) -> u64 {
        (self.seen.len() + self.gone.len()) as u64 + self.runs.iter().map(|run| run.names).sum::<u64>()
    }

    /// Runs whose files [`Self::compare`] needs. `listed` are sorted.
    pub fn needed(&self, listed: &[&str], stretch: Stretch<'_>) -> Vec<&Run> {
        let overlaps = |run: &&Run| {
            stretch.after.is_none_or(|after| after < run.last.as_str())
                && stretch.upto.is_none_or(|upto| run.first.as_str() <= upto)
        };
        let holds = |run: &&Run| {
            let from = listed.partition_point(|name| *name < run.first.as_str());
            let within = listed[from..].iter().take_while(|name| **name <= run.last.as_str());
            stretch.whole || within.into_iter().any(|name| !self.has_inline(name))
        };
        self.runs.iter().filter(overlaps).filter(holds).collect()
    }

    /// Compares sorted names of a stretch, each once, with what was seen; `now` tells what is gone for too long.
    pub fn compare(
        &self,
        listed: &[&str],
        stretch: Stretch<'_>,
        files: &RunFiles,
        now: Timestamp,
    ) -> Result<Difference, BadRun> {
        let mut difference = Difference::default();
        let mut is_forgetting_due = false;
        let mut absent = |difference: &mut Difference, name: String, gone: Option<Timestamp>| match gone {
            _ if !stretch.whole => {}
            None => difference.missing.push(name),
            Some(at) if is_long_gone(at, now) => {
                is_forgetting_due |= now.duration_since(at) > FORGOTTEN_ALONE;
                difference.forgotten.push(name);
            }
            Some(_) => {}
        };
        let mut known = Known::of(self, listed, stretch, files)?;
        let mut next = known.next()?;
        for name in listed {
            while let Some((seen, gone)) = next.take_if(|(seen, _)| seen.as_str() < *name) {
                absent(&mut difference, seen, gone);
                next = known.next()?;
            }
            match &next {
                Some((seen, gone)) if seen == name => {
                    if gone.is_some() {
                        difference.back.push((*name).to_owned());
                    }
                    next = known.next()?;
                }
                _ => difference.new.push((*name).to_owned()),
            }
        }
        while let Some((seen, gone)) = next.filter(|_| stretch.whole) {
            absent(&mut difference, seen, gone);
            next = known.next()?;
        }
        let Difference { new, missing, back, .. } = &difference;
        if !is_forgetting_due && new.is_empty() && missing.is_empty() && back.is_empty() {
            difference.forgotten.clear();
        }
        Ok(difference)
    }

    /// What is to be done to remember a difference. `now` is the time since when missing names are gone.
    /// At most `most_inline` names stay in the position, [`MOST_INLINE`] but in tests.
    pub fn change(&self, difference: Difference, now: Timestamp, most_inline: usize) -> Change {
        Change::plan(self.clone(), difference, now, most_inline)
    }

    /// A name behind which a listing of documented names finds all that is new, but for what comes more than a quarter of an
    /// hour late; `None` where no documented name was seen. Names of a far future are passed over: nothing would come
    /// behind them.
    pub fn listing_start(&self, sensor_id: &str, now: Timestamp) -> Option<&str> {
        let latest = jiff::tz::TimeZone::UTC.to_datetime(now.checked_add(AHEAD).ok()?);
        let latest = latest.strftime("%Y%m%d_%H%M%S").to_string();
        let stamped = |name: &'_ String| stamp_of(name, sensor_id).map(str::to_owned);
        let documented = self.seen.iter().rev().filter_map(|name| Some((name, stamped(name)?)));
        let mut newest: Option<DateTime> = None;
        let mut start = None;
        for (index, (name, stamp)) in documented.filter(|(_, stamp)| *stamp <= latest).enumerate() {
            let time = DateTime::strptime("%Y%m%d_%H%M%S", &stamp).ok();
            let newest = *newest.get_or_insert(time.unwrap_or_default());
            start = Some(name.as_str());
            let is_far = time.is_none_or(|time| newest.duration_since(time) > OVERLAP);
            if is_far || index >= MOST_OVERLAP {
                break;
            }
        }
        start
    }

    fn has_inline(&self, name: &str) -> bool {
        self.seen.contains(name) || self.gone.contains_key(name)
    }

    pub(super) fn run_of(&self, name: &str) -> Option<usize> {
        let index = self.runs.partition_point(|run| run.last.as_str() < name);
        self.runs.get(index).filter(|run| run.first.as_str() <= name).map(|_| index)
    }
}

/// All names of a stretch that are remembered, in order.
struct Known<'a> {
    inline: std::vec::IntoIter<Remembered>,
    runs: std::vec::IntoIter<Reader<'a>>,
    run: Option<Reader<'a>>,
    upto: Option<&'a str>,
    heads: (Option<Remembered>, Option<Remembered>),
}

impl<'a> Known<'a> {
    fn of(
        position: &FilesPosition,
        listed: &[&str],
        stretch: Stretch<'a>,
        files: &'a RunFiles,
    ) -> Result<Self, BadRun> {
        let within = |name: &&String| {
            stretch.after.is_none_or(|after| after < name.as_str())
                && stretch.upto.is_none_or(|upto| name.as_str() <= upto)
        };
        let mut inline: Vec<Remembered> =
            position.seen.iter().filter(within).map(|name| (name.clone(), None)).collect();
        let gone = position.gone.iter().filter(|(name, _)| within(name));
        inline.extend(gone.map(|(name, at)| (name.clone(), Some(*at))));
        inline.sort_unstable();
        let mut runs = Vec::new();
        for run in position.needed(listed, stretch) {
            let file = files.get(&run.sha256).ok_or(BadRun)?;
            runs.push(Names::parse(file)?.behind(stretch.after)?);
        }
        let mut known = Self {
            inline: inline.into_iter(),
            runs: runs.into_iter(),
            run: None,
            upto: stretch.upto,
            heads: (None, None),
        };
        known.heads = (known.inline.next(), known.next_of_runs()?);
        Ok(known)
    }

    fn next(&mut self) -> Result<Option<Remembered>, BadRun> {
        let inline_first = match &self.heads {
            (Some((inline, _)), Some((run, _))) => inline <= run,
            (head, _) => head.is_some(),
        };
        if inline_first {
            Ok(std::mem::replace(&mut self.heads.0, self.inline.next()))
        } else {
            let following = if self.heads.1.is_some() { self.next_of_runs()? } else { None };
            Ok(std::mem::replace(&mut self.heads.1, following))
        }
    }

    fn next_of_runs(&mut self) -> Result<Option<Remembered>, BadRun> {
        loop {
            if let Some(run) = &mut self.run {
                match run.read()? {
                    Some((name, _)) if self.upto.is_some_and(|upto| name.as_str() > upto) => self.run = None,
                    Some(found) => return Ok(Some(found)),
                    None => self.run = None,
                }
            }
            match self.runs.next() {
                Some(run) => self.run = Some(run),
                None => return Ok(None),
            }
        }
    }
}

/// Makes the first position of a folder from all its names, in order, in bounded memory.
#[derive(Debug)]
pub struct Builder {
    position: FilesPosition,
    writer: Writer,
    most_inline: usize,
}

impl Builder {
    /// Of a folder; `most_inline` as of [`FilesPosition::change`].
    pub fn new(folder: impl Into<String>, most_inline: usize) -> Self {
        Self { position: FilesPosition::of(folder), writer: Writer::default(), most_inline }
    }

    /// Names so far.
    pub fn names(&self) -> u64 {
        self.position.names() + self.writer.names()
    }

    /// Adds a name behind all others. What it gives back is to be stored.
    pub fn push(&mut self, name: String) -> Option<NewRun> {
        self.position.seen.insert(name);
        if self.position.seen.len() <= self.most_inline {
            return None;
        }
        let full =
            (self.writer.names() >= LARGEST_RUN).then(|| std::mem::take(&mut self.writer).finish()).flatten();
        if let Some((run, _)) = &full {
            self.position.runs.push(run.clone());
        }
        if let Some(first) = self.position.seen.pop_first() {
            self.writer.push(&first, None);
        }
        full
    }

    /// The position, and the last file to store.
    pub fn finish(mut self) -> (FilesPosition, Option<NewRun>) {
        let last = self.writer.finish();
        if let Some((run, _)) = &last {
            self.position.runs.push(run.clone());
        }
        (self.position, last)
    }
}

#[cfg(test)]
mod tests;
