//! Large folders: what is new costs one request, and a full listing, part by part over many looks, finds what sorts
//! elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use heartbeat_core::files::{Difference, stamp_of};
use heartbeat_core::position::FilesPosition;
use heartbeat_core::source::{Answer, Ask, SourceError};

use super::Memory;
use super::here::Directories;
use super::judge::{self, FirstLook, Sight, Standing};
use super::pass::{Answers, Group, Pass};
use crate::error_chain::chain;
use crate::stores::{Listed, Store, StoreError};

/// Full listings take at most this share of the time,
const SHARE: u32 = 20;

/// begin at least so long after the last one,
const SHORTEST_PAUSE: Duration = Duration::from_secs(10);

/// and at most so long.
const LONGEST_PAUSE: Duration = Duration::from_hours(1);

/// What the full listings of a folder cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FullListing {
    /// Name of the folder.
    pub folder: String,
    /// Requests of the last one; of this machine, times that it was read.
    pub requests: u64,
    /// Files that it saw.
    pub files: u64,
    /// How long it took, without the looks in between.
    pub took: Duration,
    /// The next begins so long after it.
    pub pause: Duration,
}

/// What is kept of a large folder between looks.
#[derive(Debug, Default)]
pub(super) struct Large {
    round: Option<Round>,
    /// When the next full listing begins; `None`: at once.
    due: Option<Instant>,
    last: Option<FullListing>,
    /// Whether nothing has come or gone since the last one began, as the directories of this machine tell.
    is_current: bool,
}

/// A full listing under way.
#[derive(Debug, Default)]
struct Round {
    after: Option<String>,
    requests: u64,
    files: u64,
    took: Duration,
    found_late: bool,
    /// Some question has not seen all of it.
    is_partial: bool,
    rows: Vec<Row>,
    /// Directories of this machine as they were when it began.
    directories: Option<Directories>,
}

/// What it has found for a question.
#[derive(Debug)]
enum Row {
    /// It compares. Names that are gone are told at the end, at one time.
    Compares(Difference),
    /// It is looked at for the first time.
    First(Box<(Ask, FirstLook)>),
    /// It is looked at for the first time, from the next full listing on.
    Waits,
    /// It cannot be looked at.
    Fails(String),
}

impl Row {
    fn compares(&self) -> bool {
        matches!(self, Self::Compares(_))
    }

    /// Whether it is the first look of one of these questions.
    fn is_of(&self, asks: &[&Ask]) -> bool {
        matches!(self, Self::First(first) if asks.contains(&&first.0))
    }
}

impl Large {
    /// Whether a first look is under way.
    pub(super) fn is_first(&self) -> bool {
        self.round.as_ref().is_some_and(|round| round.rows.iter().any(|row| matches!(row, Row::First(_))))
    }

    /// Files that a full listing under way has seen.
    fn files(&self) -> u64 {
        self.round.as_ref().map_or(0, |round| round.files)
    }

    /// Whether there is more to do than to see what is new.
    pub(super) fn has_work(&self) -> bool {
        self.round.is_some() || (!self.is_current && self.due.is_some_and(|due| Instant::now() >= due))
    }

    /// As if the pause after the last full listing were over.
    #[cfg(test)]
    pub(super) fn make_due(&mut self) {
        self.due = Some(Instant::now());
        self.is_current = false;
    }

    pub(super) fn report(&self, folder: &str) -> Option<FullListing> {
        Some(FullListing { folder: folder.to_owned(), ..self.last.clone()? })
    }
}

/// What a question has got in this look.
#[derive(Default)]
struct Gain {
    new: BTreeMap<String, Listed>,
    gone: Difference,
    /// Whether what lies behind the newest names was asked for.
    is_current: bool,
    finding: Option<Result<Answer, SourceError>>,
}

/// Looks at a large folder.
pub(super) async fn look(
    pass: &Pass<'_>,
    group: &Group<'_>,
    memory: &mut Memory,
) -> Result<Answers, StoreError> {
    let folder = pass.source.folder_url(&pass.store, group.name);
    let mut gains: Vec<Gain> = group.asks.iter().map(|_| Gain::default()).collect();
    let mut now = jiff::Timestamp::now();
    let mut directories = None;
    // Rows that have seen the same ask once.
    let mut sights: BTreeMap<Option<String>, Option<Sight>> = BTreeMap::new();
    for (index, gain) in group.asks.iter().zip(&mut gains) {
        let ask = &pass.asks[*index];
        let Ok(Standing::At(cursor)) = judge::standing(ask, &folder, pass.source.rules()) else { continue };
        let start = newest_start(pass, group.name, cursor);
        if !sights.contains_key(&start) {
            let (sight, read) = newest(pass, group.name, start.as_deref()).await?;
            // Of several readings the first directories count: what changed after them is seen the next time.
            directories = directories.or(read);
            sights.insert(start.clone(), sight);
        }
        if let Some(Some(sight)) = sights.get(&start) {
            gain.is_current = true;
            now = sight.now;
            take(pass, group.name, cursor, sight, gain).await;
        }
    }
    if let (Store::Local(local), Some(last)) = (&*pass.store, memory.listed.take()) {
        let was_current = std::mem::take(&mut memory.large.is_current);
        let root = local.root().to_owned();
        let stand = move || {
            let stands = last.stand(&root);
            Ok((last, stands))
        };
        let (last, stands) = local.call(group.name, pass.deadline, stand).await?;
        memory.listed = Some(last);
        memory.large.is_current = was_current && stands;
    }
    let broke_off = full_listing(pass, group, &folder, memory, &mut gains, &mut now).await.err();
    let broke_off = match broke_off {
        Some(error) if pass.need_not_list(&error) => return Err(error),
        broke_off => broke_off,
    };
    if let Some(error) = &broke_off {
        tracing::info!(folder, error = chain(error), "the full listing goes on at the next look");
    }
    let mut answers = Vec::with_capacity(gains.len());
    let so_far = memory.large.files();
    for (index, gain) in group.asks.iter().zip(gains) {
        // What is new behind the newest names does not wait for the rest.
        let answer = match &broke_off {
            Some(error) if !gain.is_current && gain.new.is_empty() && gain.finding.is_none() => {
                Err(error.to_source())
            }
            _ => settled(pass, group.name, &folder, &pass.asks[*index], gain, now, so_far).await,
        };
        answers.push((*index, answer));
    }
    if let Some(directories) = directories {
        pass.is_quiet(group, &answers, directories, memory);
    }
    Ok(answers)
}

/// Behind which name a row asks for the newest.
fn newest_start(pass: &Pass<'_>, name: &str, cursor: &FilesPosition) -> Option<String> {
    let start = match &*pass.store {
        // The directory is read once anyway: only what is behind all runs is taken from it.
        Store::Local(_) => cursor.runs.last().map(|run| run.last.as_str()),
        _ => cursor.listing_start(name, jiff::Timestamp::now()),
    };
    start.map(str::to_owned)
}

/// What lies behind a name, `None` where that cannot be asked for; with the directories, where they are of this machine.
async fn newest(
    pass: &Pass<'_>,
    name: &str,
    start: Option<&str>,
) -> Result<(Option<Sight>, Option<Directories>), StoreError> {
    if let Store::Local(_) = &*pass.store {
        let (sight, directories) = pass.read_here(name, start.map(str::to_owned), usize::MAX).await?;
        return Ok((Some(sight), Some(directories)));
    }
    let Some(start) = start.filter(|_| !lists_whole(&pass.store)) else { return Ok((None, None)) };
    let counts = |path: &str, folder: &str| pass.counts(path, folder);
    Ok((pass.folder(name, &counts).newest(start).await?, None))
}

/// Compares what is in sight. True when it found names that do not sort behind the newest.
async fn take(pass: &Pass<'_>, name: &str, cursor: &FilesPosition, sight: &Sight, gain: &mut Gain) -> bool {
    let mut difference = match judge::difference(cursor, sight, &pass.source.runs).await {
        Ok(difference) => difference,
        Err(error) => {
            gain.finding = Some(Err(error));
            return false;
        }
    };
    let new: BTreeSet<String> = std::mem::take(&mut difference.new).into_iter().collect();
    gain.gone.add(difference);
    let start = cursor.listing_start(name, sight.now);
    let mut found_late = false;
    for file in &sight.files {
        if new.contains(&file.path) && !gain.new.contains_key(&file.path) {
            let is_behind =
                start.is_some_and(|start| file.path.as_str() > start) && stamp_of(&file.path, name).is_some();
            found_late |= !is_behind;
            gain.new.insert(file.path.clone(), file.clone());
        }
    }
    found_late
}

/// Goes on with the full listing, or begins one when it is time.
async fn full_listing(
    pass: &Pass<'_>,
    group: &Group<'_>,
    folder: &str,
    memory: &mut Memory,
    gains: &mut [Gain],
    now: &mut jiff::Timestamp,
) -> Result<(), StoreError> {
    let large = &mut memory.large;
    let asks: Vec<&Ask> = group.asks.iter().map(|index| &pass.asks[*index]).collect();
    let mut round = match large.round.take() {
        Some(round) if fits(pass, &round.rows, &asks, folder) => round,
        // Other questions than before: those that compare go on from here, and have the rest next time.
        Some(round) if round.rows.iter().all(Row::compares) && !has_new(pass, &asks, folder) => {
            Round { rows: rows(pass, &asks, folder), is_partial: true, ..round }
        }
        // First looks that are still asked for go on too; others begin with the next round.
        Some(round) if round.rows.iter().any(|row| row.is_of(&asks)) => {
            let rows = joined(pass, round.rows, &asks, folder);
            Round { rows, is_partial: true, ..round }
        }
        Some(_) => Round { rows: rows(pass, &asks, folder), ..Round::default() },
        None if is_due(pass, large, &asks, folder) => {
            Round { rows: rows(pass, &asks, folder), ..Round::default() }
        }
        None => return Ok(()),
    };
    let began = Instant::now();
    loop {
        let at = Instant::now();
        let next = part(pass, group.name, round.after.as_deref()).await;
        let sight = match next {
            Ok((sight, directories)) => {
                round.directories = round.directories.take().or(directories);
                sight
            }
            Err(error) => {
                // What was listed stands; the next look goes on there.
                large.round = Some(round);
                return Err(error);
            }
        };
        *now = sight.now;
        round.requests += 1;
        round.files += sight.files.len() as u64;
        let is_last = sight.upto.is_none();
        let next = sight.upto.clone();
        let is_taken = take_part(pass, group.name, folder, &asks, &mut round, sight, gains).await;
        round.took += at.elapsed();
        if !is_taken {
            // The next look takes this part again.
            large.round = Some(round);
            return Ok(());
        }
        round.after = next;
        if is_last {
            break;
        }
        let is_enough = !pass.source.patient && began.elapsed() >= pass.source.limits.listing;
        if is_enough || Instant::now() >= pass.deadline {
            tracing::debug!(folder, files = round.files, requests = round.requests, "listed in part");
            large.round = Some(round);
            return Ok(());
        }
    }
    memory.listed = round.directories.take();
    large.is_current = memory.listed.is_some();
    end(pass, group.name, folder, large, round, gains).await;
    Ok(())
}

/// Whether a round under way is one of these questions. Those that compare may have moved on meanwhile.
fn fits(pass: &Pass<'_>, rows: &[Row], asks: &[&Ask], folder: &str) -> bool {
    let fits = |(row, ask): (&Row, &&Ask)| match (row, judge::standing(ask, folder, pass.source.rules())) {
        (Row::First(first), Ok(Standing::New(..))) => first.0 == **ask,
        (Row::Compares(_), Ok(Standing::At(_)))
        | (Row::Waits, Ok(Standing::New(..)))
        | (Row::Fails(_), Err(_)) => true,
        _ => false,
    };
    rows.len() == asks.len() && rows.iter().zip(asks).all(fits)
}

fn is_due(pass: &Pass<'_>, large: &Large, asks: &[&Ask], folder: &str) -> bool {
    lists_whole(&pass.store)
        || has_new(pass, asks, folder)
        || large.due.is_none_or(|due| !large.is_current && Instant::now() >= due)
}

/// Whether a store can only be asked for everything: then every look asks for it.
fn lists_whole(store: &Store) -> bool {
    matches!(store, Store::Volume(_) | Store::Dbfs(_))
}

fn has_new(pass: &Pass<'_>, asks: &[&Ask], folder: &str) -> bool {
    let is_new =
        |ask: &&Ask| matches!(judge::standing(ask, folder, pass.source.rules()), Ok(Standing::New(..)));
    asks.iter().any(is_new)
}

/// Rows of other questions than before, with the first looks that are under way.
fn joined(pass: &Pass<'_>, mut before: Vec<Row>, asks: &[&Ask], folder: &str) -> Vec<Row> {
    let fresh = rows(pass, asks, folder).into_iter().zip(asks);
    let row = |(row, ask): (Row, &&Ask)| match row {
        Row::First(_) => before
            .iter()
            .position(|row| row.is_of(&[ask]))
            .map_or(Row::Waits, |index| before.swap_remove(index)),
        row => row,
    };
    fresh.map(row).collect()
}

fn rows(pass: &Pass<'_>, asks: &[&Ask], folder: &str) -> Vec<Row> {
    let row = |ask: &&Ask| match judge::standing(ask, folder, pass.source.rules()) {
        Ok(Standing::At(_)) => Row::Compares(Difference::default()),
        Ok(Standing::New(first, remark)) => Row::First(Box::new((
            Ask::clone(ask),
            FirstLook::new(folder, first, remark, pass.source.rules()),
        ))),
        Err(error) => Row::Fails(error.to_string()),
    };
    asks.iter().map(row).collect()
}

async fn part(
    pass: &Pass<'_>,
    name: &str,
    after: Option<&str>,
) -> Result<(Sight, Option<Directories>), StoreError> {
    if let Store::Local(_) = &*pass.store {
        let most = pass.source.limits.stretch;
        let (sight, directories) = pass.read_here(name, after.map(str::to_owned), most).await?;
        return Ok((sight, Some(directories)));
    }
    let counts = |path: &str, folder: &str| pass.counts(path, folder);
    Ok((pass.folder(name, &counts).next(after).await?, None))
}

/// False when a first look could not take the part in: its row has the error, and the part is to come again.
async fn take_part(
    pass: &Pass<'_>,
    name: &str,
    folder: &str,
    asks: &[&Ask],
    round: &mut Round,
    sight: Sight,
    gains: &mut [Gain],
) -> bool {
    let rules = pass.source.rules();
    let (runs, trusts) = (&pass.source.runs, pass.trusts(name));
    let mut judged = Vec::new();
    for (row, gain) in round.rows.iter().zip(gains.iter_mut()) {
        let Row::First(first) = row else { continue };
        match first.1.judge(&sight, rules, &trusts).await {
            Ok(part) => judged.push(part),
            Err(error) => {
                gain.finding = Some(Err(error));
                return false;
            }
        }
    }
    let mut judged = judged.into_iter();
    for ((row, ask), gain) in round.rows.iter_mut().zip(asks).zip(gains) {
        match row {
            Row::First(first) => {
                if let Some(part) = judged.next() {
                    first.1.add(part);
                }
                if let Err(error) = first.1.store(runs).await {
                    gain.finding = Some(Err(error));
                }
            }
            Row::Compares(gone) => {
                let Ok(Standing::At(cursor)) = judge::standing(ask, folder, rules) else { continue };
                round.found_late |= take(pass, name, cursor, &sight, gain).await;
                gone.add(std::mem::take(&mut gain.gone));
            }
            Row::Waits | Row::Fails(_) => {}
        }
    }
    true
}

async fn end(pass: &Pass<'_>, name: &str, folder: &str, large: &mut Large, round: Round, gains: &mut [Gain]) {
    let Round { requests, files, took, found_late, is_partial, rows, .. } = round;
    for (row, gain) in rows.into_iter().zip(gains) {
        match row {
            Row::Compares(gone) => gain.gone.add(gone),
            Row::First(first) => {
                let (_, look) = *first;
                let found = look.finish(&pass.source.runs).await;
                gain.finding = Some(found.map(Answer::from));
            }
            Row::Waits => {}
            Row::Fails(problem) => gain.finding = Some(Err(SourceError::Misconfigured { problem })),
        }
    }
    let pause = match pass.source.config.full_listing_interval {
        _ if is_partial => Duration::ZERO,
        Some(interval) => interval,
        // Names that sort elsewhere are the custom here.
        None if found_late => Duration::ZERO,
        None => (took * SHARE).clamp(SHORTEST_PAUSE, LONGEST_PAUSE),
    };
    tracing::info!(folder, files, requests, ?took, next_in = ?pause, "listed whole");
    large.due = Some(Instant::now() + pause);
    large.last = Some(FullListing { folder: name.to_owned(), requests, files, took, pause });
}

/// The answer to a question, of what this look has got.
async fn settled(
    pass: &Pass<'_>,
    name: &str,
    folder: &str,
    ask: &Ask,
    gain: Gain,
    now: jiff::Timestamp,
    so_far: u64,
) -> Result<Answer, SourceError> {
    if let Some(finding) = gain.finding {
        return finding;
    }
    let rules = pass.source.rules();
    match judge::standing(ask, folder, rules)? {
        // Not all of it is listed yet.
        Standing::New(..) if pass.source.patient => Err(SourceError::Timeout {
            what: format!(
                "folder `{folder}`, of which {so_far} files are listed so far (a longer --deadline lists on),"
            ),
        }),
        Standing::New(..) => Ok(Answer::Same),
        Standing::At(cursor) => {
            let Gain { new, gone: mut difference, .. } = gain;
            let files: Vec<Listed> = new.into_values().collect();
            difference.new = files.iter().map(|file| file.path.clone()).collect();
            if difference.is_empty() {
                return Ok(Answer::Same);
            }
            let (runs, trusts) = (&pass.source.runs, pass.trusts(name));
            let found = judge::found(cursor, difference, &files, now, rules, runs, &trusts).await?;
            Ok(found.into())
        }
    }
}
