//! What is done to remember how a listing differs from what was seen: which names stay with the row, which runs are written
//! anew.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use jiff::Timestamp;

use super::run::{BadRun, Names, Remembered, Run, Writer};
use super::seen::{Difference, REMEMBERED};
use crate::position::FilesPosition;

/// Most names of one run.
pub(super) const LARGEST_RUN: u64 = 500_000;

/// A run is written into the one before it until that has this many times its names: few runs, each name written a few
/// times.
const GROWTH: u64 = 4;

/// A run with its file, which is to be stored.
pub type NewRun = (Run, Vec<u8>);

/// Files of runs, by digest.
pub type RunFiles = HashMap<String, Arc<[u8]>>;

/// What becomes of a name that a run holds.
#[derive(Debug, Clone, Copy)]
enum Mark {
    Gone(Timestamp),
    Back,
    Forgotten,
}

/// How a run changes.
#[derive(Debug, Default)]
struct Edits {
    /// Names that come in.
    added: BTreeMap<String, Option<Timestamp>>,
    /// What becomes of names, if it holds them.
    marked: BTreeMap<String, Mark>,
}

/// A position that is to change, and which runs are written anew for it.
#[derive(Debug)]
pub struct Change {
    position: FilesPosition,
    now: Timestamp,
    /// By run: names that are added to it, and marks.
    edits: BTreeMap<usize, Edits>,
    /// Names behind all runs.
    tail: BTreeMap<String, Option<Timestamp>>,
    /// Runs from here on are written into the tail's.
    joined: usize,
}

impl Change {
    pub(super) fn plan(
        mut position: FilesPosition,
        difference: Difference,
        now: Timestamp,
        most_inline: usize,
    ) -> Self {
        let Difference { new, missing, back, forgotten } = difference;
        let mut edits: BTreeMap<usize, Edits> = BTreeMap::new();
        let mut marks = |position: &FilesPosition, name: String, mark: Mark| {
            let Some(run) = position.run_of(&name) else { return };
            let marked = &mut edits.entry(run).or_default().marked;
            match mark {
                // A file that was seen to be there is not forgotten.
                Mark::Forgotten => drop(marked.entry(name).or_insert(mark)),
                Mark::Gone(_) | Mark::Back => drop(marked.insert(name, mark)),
            }
        };
        for name in missing {
            if position.seen.remove(&name) {
                position.gone.insert(name, now);
            } else {
                marks(&position, name, Mark::Gone(now));
            }
        }
        for name in back {
            if position.gone.remove(&name).is_some() {
                position.seen.insert(name);
            } else {
                marks(&position, name, Mark::Back);
            }
        }
        // What a listing has shown may be long ago, or of another row: the position has the last word.
        for name in forgotten {
            match position.gone.get(&name) {
                Some(at) if is_long_gone(*at, now) => drop(position.gone.remove(&name)),
                Some(_) => {}
                None => marks(&position, name, Mark::Forgotten),
            }
        }
        position.seen.extend(new);
        let mut tail = BTreeMap::new();
        if position.seen.len() + position.gone.len() > most_inline {
            let spilt = spilt(&mut position, most_inline / 2);
            for (name, gone) in spilt {
                let run = position.runs.partition_point(|run| run.last < name);
                let into = if run < position.runs.len() {
                    &mut edits.entry(run).or_default().added
                } else {
                    &mut tail
                };
                into.insert(name, gone);
            }
        }
        let mut joined = position.runs.len();
        let mut names = tail.len() as u64;
        while names > 0
            && let Some(before) = joined.checked_sub(1).map(|index| position.runs[index].names)
            && before < names * GROWTH
            && before + names <= LARGEST_RUN
        {
            (joined, names) = (joined - 1, names + before);
        }
        Self { position, now, edits, tail, joined }
    }

    /// Digests of the runs whose files are read for it.
    pub fn needed(&self) -> impl Iterator<Item = &str> {
        let runs = self.position.runs.iter().enumerate();
        let touched = runs.filter(|(index, _)| *index >= self.joined || self.edits.contains_key(index));
        touched.map(|(_, run)| run.sha256.as_str())
    }

    /// The position after it, and the files that it names anew. They must be stored before the position is.
    pub fn carry_out(self, files: &RunFiles) -> Result<(FilesPosition, Vec<NewRun>), BadRun> {
        let Self { mut position, now, mut edits, tail, joined } = self;
        let mut written = Vec::new();
        let mut runs = Vec::new();
        let mut last = Writer::default();
        for (index, run) in position.runs.into_iter().enumerate() {
            let changes = edits.remove(&index);
            if index >= joined {
                rewrite(&mut last, &run, changes.unwrap_or_default(), files, now, &mut written)?;
            } else if let Some(changes) = changes {
                let mut writer = Writer::default();
                rewrite(&mut writer, &run, changes, files, now, &mut written)?;
                written.extend(writer.finish());
            } else {
                runs.push(run);
            }
        }
        for (name, gone) in tail {
            push(&mut last, &name, gone, LARGEST_RUN, &mut written);
        }
        written.extend(last.finish());
        position.runs = ordered(runs, &written);
        Ok((position, written))
    }
}

/// Runs that stand and runs that were written, in order, each once.
fn ordered(standing: Vec<Run>, written: &[NewRun]) -> Vec<Run> {
    let mut runs: BTreeMap<String, Run> = standing.into_iter().map(|run| (run.first.clone(), run)).collect();
    runs.extend(written.iter().map(|(run, _)| (run.first.clone(), run.clone())));
    runs.into_values().collect()
}

/// Takes all names but the last out of the position.
fn spilt(position: &mut FilesPosition, left: usize) -> Vec<Remembered> {
    let mut names: Vec<Remembered> =
        std::mem::take(&mut position.seen).into_iter().map(|name| (name, None)).collect();
    names.extend(std::mem::take(&mut position.gone).into_iter().map(|(name, at)| (name, Some(at))));
    names.sort_unstable();
    for (name, gone) in names.split_off(names.len().saturating_sub(left)) {
        match gone {
            None => drop(position.seen.insert(name)),
            Some(at) => drop(position.gone.insert(name, at)),
        }
    }
    names
}

/// Writes a run with its changes. One that grows too large is split in the middle: what is cut off at the end would be a
/// small run each time.
fn rewrite(
    writer: &mut Writer,
    run: &Run,
    edits: Edits,
    files: &RunFiles,
    now: Timestamp,
    written: &mut Vec<NewRun>,
) -> Result<(), BadRun> {
    let mut names = Names::parse(files.get(&run.sha256).ok_or(BadRun)?)?.behind(None)?;
    let Edits { added, mut marked } = edits;
    let total = run.names + added.len() as u64;
    let largest = if total > LARGEST_RUN { total.div_ceil(2) } else { LARGEST_RUN };
    let mut added = added.into_iter().peekable();
    while let Some((name, gone)) = names.read()? {
        while let Some((added, gone)) = added.next_if(|(added, _)| *added < name) {
            push(writer, &added, gone, largest, written);
        }
        let stays = match marked.remove(&name) {
            None => Some(gone),
            Some(Mark::Gone(at)) => Some(Some(at)),
            Some(Mark::Back) => Some(None),
            Some(Mark::Forgotten) => Some(gone).filter(|gone| !gone.is_some_and(|at| is_long_gone(at, now))),
        };
        let comes_in = added.next_if(|(added, _)| *added == name).map(|(_, gone)| gone);
        if let Some(gone) = comes_in.or(stays) {
            push(writer, &name, gone, largest, written);
        }
    }
    for (added, gone) in added {
        push(writer, &added, gone, largest, written);
    }
    Ok(())
}

/// Whether a name that went at this time may be forgotten.
pub(super) fn is_long_gone(gone: Timestamp, now: Timestamp) -> bool {
    now.duration_since(gone) > REMEMBERED
}

fn push(writer: &mut Writer, name: &str, gone: Option<Timestamp>, largest: u64, written: &mut Vec<NewRun>) {
    if writer.names() >= largest {
        written.extend(std::mem::take(writer).finish());
    }
    writer.push(name, gone);
}
