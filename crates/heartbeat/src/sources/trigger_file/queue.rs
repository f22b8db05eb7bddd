//! Looks at folders whose bucket tells a queue of new objects.
//!
//! - A file that a message tells of is judged for each row as if a listing had shown it: names that were seen decide, so
//!   duplicates and any order make no second event.
//! - A message is deleted once its files are in the stored positions of all rows of their folder: those that are asked, and
//!   those that are not because their news waits, their job runs or they are paused. Until then it is hidden again and
//!   again. Whatever a crash leaves comes again.
//! - Listings are the safety net: each folder is listed whole when a process first looks at it, and then once per
//!   `full_listing_interval`. So a notification that got lost costs time. While the queue cannot be read, folders are listed
//!   as without one.
//! - Where listing is not allowed, rows live by messages: their positions begin empty, and what a message does not tell of is
//!   not seen.
//! - A message that tells of another bucket, or of another folder of it, is somebody else's: it is left in the queue, as is
//!   one that makes no sense.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{StreamExt as _, stream};
use heartbeat_core::acon::TriggerTrust;
use heartbeat_core::files::{Difference, REMEMBERED};
use heartbeat_core::location::{Location, beginning_of};
use heartbeat_core::position::{FilesPosition, Position};
use heartbeat_core::source::{Absent, Answer, Ask, Asset, Finding, SourceError};
use jiff::{SignedDuration, Timestamp};

use super::events::{self, Meaning};
use super::hand::{Hand, Name};
use super::judge::{self, FirstLook, Sight, Standing};
use super::{AT_A_TIME, Answers, Group, Pass};
use crate::stores::queue::{BATCH, Message, Queue};
use crate::stores::{Fault, Listed, Listing, Start, StoreError};

/// Listings of a folder that a queue tells of, where nothing else is configured.
pub(super) const LISTING_INTERVAL: Duration = Duration::from_hours(1);

/// Folders are listed in so many turns of an interval.
const TURNS: u32 = 16;

/// Requests for messages of one look.
const MOST_BATCHES: usize = 50;

/// Messages in hand. Those that nobody asks about make room for others.
pub(super) const MOST_IN_HAND: usize = 10_000;

/// A request waits so long for a message. One that does not wait asks a part of the service only, and may miss what is there.
const WAIT: Duration = Duration::from_secs(1);

/// So long is a message hidden when it is received: what a process takes along that dies is late by this,
pub(super) const HIDDEN: Duration = Duration::from_mins(5);

/// less for a command that looks once, and cannot delete what it is the first to see.
const HIDDEN_ONCE: Duration = Duration::from_mins(1);

/// and so long while it waits for rows.
const HIDDEN_AGAIN: Duration = Duration::from_mins(15);

/// Names of files that have gone are forgotten at last. A message that is about as old may tell of such a file.
const OLD: SignedDuration = SignedDuration::from_hours(REMEMBERED.as_hours() - 24);

/// Files that are judged at one look where each takes a request.
const MOST_ASKED_FOR: usize = 200;

/// What goes on being wrong is told this often.
const TELL_AGAIN: Duration = Duration::from_mins(5);

/// Ids of messages that were told of.
const MOST_TOLD: usize = 1_000;

/// What is kept between looks.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) hand: Hand,
    folders: HashMap<String, Safety>,
    pub(super) absent: Option<Arc<[Absent]>>,
    /// What time it was for the queue when it was asked last.
    now: Option<Timestamp>,
    unreadable: HashSet<String>,
    told_of_strangers: bool,
    told_of_listings: bool,
    complained: Option<(String, Instant)>,
}

/// When a folder is listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Safety {
    due: Instant,
    is_forbidden: bool,
}

impl State {
    /// As if every folder were to be listed now.
    #[cfg(test)]
    pub(super) fn make_due(&mut self) {
        self.folders.clear();
    }

    fn complain(&mut self, what: &str, error: &StoreError) {
        let text = crate::error_chain::chain(error);
        let is_known = |(told, at): &(String, Instant)| *told == text && at.elapsed() < TELL_AGAIN;
        if !self.complained.as_ref().is_some_and(is_known) {
            tracing::warn!(error = text, what);
            self.complained = Some((text, Instant::now()));
        }
    }
}

/// When a folder is listed next. The first time they are spread: neighbours come together, because one listing runs through
/// them.
fn next_due(last: Option<Instant>, now: Instant, interval: Duration, index: usize, count: usize) -> Instant {
    match last {
        Some(due) if due > now => due,
        Some(_) => now + interval,
        None => {
            let turn = index * TURNS as usize / count.max(1);
            now + interval / TURNS * (u32::try_from(turn).unwrap_or_default() + 1)
        }
    }
}

/// Looks at the folders. True when the credentials should be read again.
pub(super) async fn look(
    pass: &Pass<'_>,
    queue: &Queue,
    groups: &[Group<'_>],
    answers: &mut [Option<Result<Answer, SourceError>>],
) -> bool {
    let mut due: Vec<bool> = groups.iter().map(|group| is_due(pass, group)).collect();
    let mut doubts = false;
    let wait = if due.contains(&true) && !pass.source.patient { Duration::ZERO } else { WAIT };
    let broken = receive(pass, queue, groups, wait).await.err();
    if let Some(error) = &broken {
        doubts |= error.doubts_credentials();
        pass.source.told().complain("the queue cannot be read: folders are listed instead", error);
        for (due, group) in due.iter_mut().zip(groups) {
            *due |= !is_forbidden(pass, group.name);
        }
    } else if let Err(error) = put_away(pass, queue, groups).await {
        doubts |= error.doubts_credentials();
        pass.source.told().complain("messages cannot be deleted, and come again", &error);
    }
    let listed: Vec<Group<'_>> =
        groups.iter().zip(&due).filter(|(_, due)| **due).map(|(group, _)| group.clone()).collect();
    doubts |= pass.listed(&listed, answers).await;
    note_listings(pass, groups, &due, answers);
    let judged: Vec<_> = groups
        .iter()
        .zip(&due)
        .map(|(group, due)| judged(pass, group, *due, broken.as_ref(), &*answers))
        .collect();
    let mut judging = stream::iter(judged).buffer_unordered(AT_A_TIME);
    let mut found = Vec::new();
    while let Ok(Some(of_group)) = tokio::time::timeout_at(pass.end.into(), judging.next()).await {
        found.extend(of_group);
    }
    drop(judging);
    for (index, answer) in found {
        answers[index] = Some(answer);
    }
    doubts
}

fn is_due(pass: &Pass<'_>, group: &Group<'_>) -> bool {
    let now = Instant::now();
    let safety = pass.source.told().folders.get(group.name).copied();
    let Some(Safety { due, is_forbidden }) = safety else { return true };
    if is_forbidden || due <= now {
        return due <= now;
    }
    let folder = pass.source.folder_url(&pass.store, group.name);
    let is_new = |index: &usize| {
        let standing = judge::standing(&pass.asks[*index], &folder, pass.source.rules());
        matches!(standing, Ok(Standing::New(..)))
    };
    let has_work = || pass.source.folders().get(group.name).is_some_and(|memory| memory.large.has_work());
    group.asks.iter().any(is_new) || has_work()
}

fn is_forbidden(pass: &Pass<'_>, name: &str) -> bool {
    pass.source.told().folders.get(name).is_some_and(|safety| safety.is_forbidden)
}

/// Plans the next listings of folders that were listed, or may not be.
fn note_listings(
    pass: &Pass<'_>,
    groups: &[Group<'_>],
    due: &[bool],
    answers: &[Option<Result<Answer, SourceError>>],
) {
    let now = Instant::now();
    let interval = pass.source.config.full_listing_interval.unwrap_or(LISTING_INTERVAL);
    let unlisted = pass.unlisted();
    let mut told = pass.source.told();
    for (index, (group, _)) in groups.iter().zip(due).enumerate().filter(|(_, (_, due))| **due) {
        let is_forbidden = unlisted.contains(group.name);
        let is_listed = group.asks.iter().all(|ask| matches!(answers[*ask], Some(Ok(_))));
        if is_forbidden || is_listed {
            let last = told.folders.get(group.name).map(|safety| safety.due);
            let due = next_due(last, now, interval, index, groups.len());
            told.folders.insert(group.name.to_owned(), Safety { due, is_forbidden });
        }
    }
    if unlisted.is_empty() {
        return;
    }
    if !std::mem::replace(&mut told.told_of_listings, true) {
        let (folders, folder) = (unlisted.len(), unlisted.first());
        tracing::warn!(
            folders,
            folder,
            "folders may not be listed (s3:ListBucket): they live by messages alone, and one that gets lost is not found"
        );
    }
}

/// Takes what the queue holds.
async fn receive(
    pass: &Pass<'_>,
    queue: &Queue,
    groups: &[Group<'_>],
    wait: Duration,
) -> Result<(), StoreError> {
    let asked: HashSet<&str> = groups.iter().map(|group| group.name).collect();
    let hidden = if pass.source.patient { HIDDEN_ONCE } else { pass.source.limits.hidden };
    let began = Instant::now();
    // Listing and judging need time too.
    let deadline = began + pass.deadline.saturating_duration_since(began) / 2;
    let room = pass
        .source
        .told()
        .hand
        .make_room(MOST_BATCHES * BATCH, pass.source.limits.in_hand, |name| asked.contains(name));
    for batch in 0..room / BATCH {
        let wait = if batch == 0 { wait } else { Duration::ZERO };
        let sent = Instant::now();
        let received = queue.receive(wait, hidden, deadline).await?;
        let is_last = received.messages.len() < BATCH || Instant::now() >= deadline;
        pass.source.told().now = Some(received.now.unwrap_or_else(Timestamp::now));
        for message in received.messages {
            // The time may have begun as late as with the answer, and as early as with the request.
            take(pass, message, sent + hidden);
        }
        if is_last {
            break;
        }
    }
    Ok(())
}

fn take(pass: &Pass<'_>, message: Message, hidden_until: Instant) {
    let mut told = pass.source.told();
    let Message { id, receipt, body } = message;
    let events = match events::read(&body) {
        Ok(events) => events,
        Err(error) => {
            if told.unreadable.len() >= MOST_TOLD {
                told.unreadable.clear();
            }
            if told.unreadable.insert(id.clone()) {
                tracing::warn!(message_id = id, %error, "a message of the queue is not understood, and left in it");
            }
            return;
        }
    };
    let Location::S3 { bucket, folder } = &pass.source.config.base else { return };
    let base = beginning_of(folder);
    let counts = |path: &str, folder: &str| pass.counts(path, folder);
    let (mut files, mut is_shared) = (Vec::new(), false);
    for event in events {
        match event.meaning(bucket, &base, counts) {
            Meaning::File(file) => files.push(file),
            Meaning::Nothing => {}
            Meaning::Elsewhere => is_shared = true,
        }
    }
    if is_shared && !std::mem::replace(&mut told.told_of_strangers, true) {
        tracing::warn!(
            message_id = id,
            "the queue has messages of other buckets or folders, which are left in it: have the bucket notify it for this \
             base only"
        );
    }
    if !(is_shared && files.is_empty()) {
        told.hand.take((id, receipt), files, is_shared, hidden_until);
    }
}

/// Deletes messages whose files all rows have in their positions, and hides those on that wait for rows.
async fn put_away(pass: &Pass<'_>, queue: &Queue, groups: &[Group<'_>]) -> Result<(), StoreError> {
    let absent = pass.source.told().absent.clone().unwrap_or_default();
    let mut away: HashMap<&str, Vec<&Absent>> = HashMap::new();
    for row in &*absent {
        if let Asset::Folder { name } = &row.asset {
            away.entry(name).or_default().push(row);
        }
    }
    let asked: HashMap<&str, &Group<'_>> = groups.iter().map(|group| (group.name, group)).collect();
    let (folders, now) = {
        let told = pass.source.told();
        (told.hand.folders(), told.now.unwrap_or_else(Timestamp::now))
    };
    for name in &folders {
        let (asks, away) = (asked.get(name.as_str()), away.get(name.as_str()));
        if asks.is_none() && away.is_none() {
            continue;
        }
        let files = pass.source.told().hand.files(name);
        let mut lacking: BTreeSet<String> = BTreeSet::new();
        for index in asks.iter().flat_map(|group| &group.asks) {
            lacking.extend(lacked(pass, name, &pass.asks[*index], &files, now).await);
        }
        for row in away.into_iter().flatten() {
            let Absent { asset, since } = row;
            match since {
                Some(since) => {
                    let ask = Ask { asset: asset.clone(), since: since.clone() };
                    lacking.extend(lacked(pass, name, &ask, &files, now).await);
                }
                None => lacking.extend(files.iter().map(|file| file.path.clone())),
            }
        }
        let is_known = |path: &str| files.binary_search_by(|file| file.path.as_str().cmp(path)).is_ok();
        pass.source.told().hand.settle(name, |path| is_known(path) && !lacking.contains(path));
    }
    let done = pass.source.told().hand.done(MOST_BATCHES * BATCH);
    for batch in done.chunks(BATCH) {
        queue.delete(&receipts(batch), pass.deadline).await?;
        let mut told = pass.source.told();
        for (id, _) in batch {
            told.hand.forget(id);
        }
    }
    if pass.source.patient {
        return Ok(());
    }
    let is_minded = |name: &str| asked.contains_key(name) || away.contains_key(name);
    let ending = pass.source.told().hand.ending(Instant::now(), HIDDEN / 2, MOST_BATCHES * BATCH, is_minded);
    for batch in ending.chunks(BATCH) {
        let until = Instant::now() + HIDDEN_AGAIN;
        let hidden = queue.hide(&receipts(batch), HIDDEN_AGAIN, pass.deadline).await?;
        let mut told = pass.source.told();
        for ((id, _), is_hidden) in batch.iter().zip(hidden) {
            // One that is not hidden any more, or not for longer, comes again.
            if is_hidden { told.hand.hidden(id, until) } else { told.hand.forget(id) }
        }
    }
    Ok(())
}

fn receipts(names: &[Name]) -> Vec<&str> {
    names.iter().map(|(_, receipt)| receipt.as_str()).collect()
}

/// Files that the position of a row lacks: all, before its first look.
async fn lacked(pass: &Pass<'_>, name: &str, ask: &Ask, files: &[Listed], now: Timestamp) -> Vec<String> {
    let folder = pass.source.folder_url(&pass.store, name);
    let all = || files.iter().map(|file| file.path.clone()).collect();
    match judge::standing(ask, &folder, pass.source.rules()) {
        Ok(Standing::At(cursor)) => {
            let told = difference(pass, cursor, &sight(files.to_vec(), now)).await;
            told.map_or_else(|_| all(), |difference| difference.new)
        }
        Ok(Standing::New(..)) | Err(_) => all(),
    }
}

/// Files that messages tell of, as a part of a folder.
fn sight(files: Vec<Listed>, now: Timestamp) -> Sight {
    // What lies before the first file needs no reading: its name without the last sign sorts before it.
    let after = files.first().map(|file| {
        let mut before = file.path.clone();
        before.pop();
        before
    });
    let upto = files.last().map(|file| file.path.clone());
    Sight { files, after: after.filter(|after| !after.is_empty()), upto, whole: false, now }
}

/// What is new. A message says nothing about files that were seen and have gone: it may be older than that.
async fn difference(
    pass: &Pass<'_>,
    cursor: &FilesPosition,
    sight: &Sight,
) -> Result<Difference, SourceError> {
    let Difference { new, .. } = judge::difference(cursor, sight, &pass.source.runs).await?;
    Ok(Difference { new, ..Difference::default() })
}

/// Answers to the questions about a folder, as far as messages give them.
async fn judged(
    pass: &Pass<'_>,
    group: &Group<'_>,
    is_listed: bool,
    broken: Option<&StoreError>,
    listed: &[Option<Result<Answer, SourceError>>],
) -> Answers {
    let (files, now) = {
        let told = pass.source.told();
        (told.hand.files(group.name), told.now.unwrap_or_else(Timestamp::now))
    };
    let sight = sight(files, now);
    // What is known of an earlier look does not count where this one tried again.
    let is_forbidden = is_forbidden(pass, group.name) && (!is_listed || pass.unlisted().contains(group.name));
    let mut answers = Vec::new();
    for index in &group.asks {
        // What a listing has found comes first; the rest is asked from there.
        if let Some(Ok(Answer::Found(_))) = &listed[*index] {
            continue;
        }
        let answer = match told_of(pass, group.name, &pass.asks[*index], &sight, is_forbidden, broken).await {
            Ok(Some(found)) => Some(Ok(found.into())),
            Ok(None) if listed[*index].is_some() || (is_listed && !is_forbidden) => None,
            Ok(None) => Some(broken.map_or(Ok(Answer::Same), |error| Err(error.to_source()))),
            Err(error) => Some(Err(error)),
        };
        answers.extend(answer.map(|answer| (*index, answer)));
    }
    answers
}

/// What messages tell a row.
async fn told_of(
    pass: &Pass<'_>,
    name: &str,
    ask: &Ask,
    sight: &Sight,
    is_forbidden: bool,
    broken: Option<&StoreError>,
) -> Result<Option<Finding>, SourceError> {
    let (rules, runs) = (pass.source.rules(), &pass.source.runs);
    let folder = pass.source.folder_url(&pass.store, name);
    match judge::standing(ask, &folder, rules)? {
        Standing::At(_) if sight.files.is_empty() => Ok(None),
        Standing::At(cursor) => {
            let difference = difference(pass, cursor, sight).await?;
            news(pass, name, cursor, difference, sight).await
        }
        // A listing shows what is there.
        Standing::New(..) if !is_forbidden => Ok(None),
        Standing::New(..) if broken.is_some() => Ok(None),
        Standing::New(first, remark) => {
            let files = sight.files.iter().take(most_judged(pass)).cloned().collect();
            let files = confirmed(pass, name, files, sight.now).await?;
            let mut look = FirstLook::new(&folder, first, remark, rules);
            let sight = Sight { files, after: None, upto: None, ..*sight };
            let part = look.judge(&sight, rules, &pass.trusts(name)).await?;
            look.add(part);
            let mut found = look.finish(runs).await?;
            // What was there before must not be asked about again as if it could be seen.
            found.keep = true;
            found.remarks.push(unlisted(&folder));
            Ok(Some(found))
        }
    }
}

/// What a row finds that has looked before, in what messages tell.
async fn news(
    pass: &Pass<'_>,
    name: &str,
    cursor: &FilesPosition,
    mut difference: Difference,
    sight: &Sight,
) -> Result<Option<Finding>, SourceError> {
    difference.new.truncate(most_judged(pass));
    let is_named = |file: &&Listed| difference.new.binary_search(&file.path).is_ok();
    let named = sight.files.iter().filter(is_named).cloned().collect();
    let files = confirmed(pass, name, named, sight.now).await?;
    difference.new.retain(|path| files.binary_search_by(|file| file.path.cmp(path)).is_ok());
    if difference.is_empty() {
        return Ok(None);
    }
    let (rules, runs, trusts) = (pass.source.rules(), &pass.source.runs, pass.trusts(name));
    let found = judge::found(cursor, difference, &files, sight.now, rules, runs, &trusts).await?;
    if let (TriggerTrust::Signed(_), Position::Files(position)) = (&pass.source.config.trust, &found.position)
    {
        // Files that were gone when they were to be read are not seen, and nothing more comes of them.
        let gone = self::difference(pass, position, &self::sight(files, sight.now)).await?.new;
        pass.source
            .told()
            .hand
            .settle(name, |path| gone.binary_search_by(|gone| gone.as_str().cmp(path)).is_ok());
        if found.position == Position::Files(cursor.clone())
            && found.news.is_none()
            && found.remarks.is_empty()
        {
            return Ok(None);
        }
    }
    Ok(Some(found))
}

/// What people should know of a folder that cannot be listed.
pub(super) fn unlisted(folder: &str) -> String {
    format!(
        "folder `{folder}` may not be listed (s3:ListBucket on the bucket): it lives by the messages of the queue; what was \
         there before is no news, and a message that gets lost is not found"
    )
}

fn most_judged(pass: &Pass<'_>) -> usize {
    if pass.source.config.trust == TriggerTrust::Anyone { usize::MAX } else { MOST_ASKED_FOR }
}

/// Asks the store about files of which a message does not tell enough: whose they are, where that matters, and whether they
/// are still there, where the message is so old that their names may have been forgotten. Those that are not are done with.
async fn confirmed(
    pass: &Pass<'_>,
    name: &str,
    files: Vec<Listed>,
    now: Timestamp,
) -> Result<Vec<Listed>, SourceError> {
    let by_owner = matches!(pass.source.config.trust, TriggerTrust::Owners(_));
    let mut confirmed = Vec::with_capacity(files.len());
    for file in files {
        let is_old = file.modified.is_none_or(|modified| now.duration_since(modified) > OLD);
        if !(by_owner || is_old) {
            confirmed.push(file);
            continue;
        }
        let prefix = format!("{name}/{}", file.path);
        let listing = Listing { prefix: &prefix, start: Start::Beginning, limit: 1 };
        match pass.store.list(&listing, pass.deadline).await {
            Ok(page) => match page.files.into_iter().find(|found| found.path == prefix) {
                Some(found) => confirmed.push(Listed { path: file.path, ..found }),
                None => pass.source.told().hand.settle(name, |path| path == file.path),
            },
            // Where nothing is listed no name is ever forgotten.
            Err(StoreError { fault: Fault::Forbidden { .. }, .. }) if !by_owner => confirmed.push(file),
            Err(error) => return Err(error.to_source()),
        }
    }
    Ok(confirmed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listings_are_spread_at_first_and_then_keep_their_distance() {
        let (now, hour) = (Instant::now(), Duration::from_hours(1));
        let first: Vec<Duration> =
            (0..10_000).map(|index| next_due(None, now, hour, index, 10_000) - now).collect();
        assert_eq!((first[0], first[9_999]), (hour / 16, hour));
        assert!(first.is_sorted());
        assert_eq!(first.iter().filter(|due| **due == hour / 16).count(), 625, "neighbours come together");
        assert_eq!(next_due(None, now, hour, 0, 1) - now, hour / 16);
        assert_eq!(next_due(Some(now), now, hour, 3, 9) - now, hour);
        let later = now + Duration::from_secs(5);
        assert_eq!(next_due(Some(later), now, hour, 3, 9), later, "one that came early moves nothing");
    }

    #[test]
    fn a_sight_of_messages_begins_right_before_its_first_file() {
        let file =
            |path: &str| Listed { path: path.to_owned(), size: 0, etag: None, modified: None, owner: None };
        let of = |paths: &[&str]| sight(paths.iter().map(|path| file(path)).collect(), Timestamp::UNIX_EPOCH);
        let some = of(&["bc", "d"]);
        assert_eq!((some.after.as_deref(), some.upto.as_deref()), (Some("b"), Some("d")));
        assert_eq!(of(&["é"]).after, None);
        assert_eq!((of(&[]).after, of(&[]).upto), (None, None));
    }
}
