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

mod events;
mod hand;
mod messages;
mod news;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{StreamExt as _, stream};
use heartbeat_core::source::{Absent, Answer, SourceError};
use jiff::Timestamp;

use self::hand::Hand;
use self::messages::{put_away, receive};
use self::news::judged;
pub(super) use self::news::unlisted;
use super::AT_A_TIME;
use super::judge::{self, Standing};
use super::pass::{Group, Pass};
use crate::stores::StoreError;
use crate::stores::queue::Queue;

/// Listings of a folder that a queue tells of, where nothing else is configured.
pub(super) const LISTING_INTERVAL: Duration = Duration::from_hours(1);

/// Folders are listed in so many turns of an interval.
const TURNS: u32 = 16;

/// Messages in hand. Those that nobody asks about make room for others.
pub(super) const MOST_IN_HAND: usize = 10_000;

/// A request waits so long for a message. One that does not wait asks a part of the service only, and may miss what is there.
const WAIT: Duration = Duration::from_secs(1);

/// So long is a message hidden when it is received: what a process takes along that dies is late by this.
pub(super) const HIDDEN: Duration = Duration::from_mins(5);

/// What goes on being wrong is told this often.
const TELL_AGAIN: Duration = Duration::from_mins(5);

/// What is kept between looks.
#[derive(Debug, Default)]
pub(super) struct State {
    hand: Hand,
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
}
