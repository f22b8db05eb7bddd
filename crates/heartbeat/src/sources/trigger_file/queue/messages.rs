//! Messages: taken from the queue, hidden while rows wait, deleted when all rows have their files.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::{Duration, Instant};

use heartbeat_core::location::{Location, beginning_of};
use heartbeat_core::source::{Absent, Ask, Asset};
use jiff::Timestamp;

use super::super::judge::{self, Standing};
use super::super::pass::{Group, Pass};
use super::HIDDEN;
use super::events::{self, Meaning};
use super::hand::Name;
use super::news::{difference, sight};
use crate::stores::queue::{BATCH, Message, Queue};
use crate::stores::{Listed, StoreError};

/// Requests for messages of one look.
const MOST_BATCHES: usize = 50;

/// So long for a command that looks once, and cannot delete what it is the first to see.
const HIDDEN_ONCE: Duration = Duration::from_mins(1);

/// So long while it waits for rows.
const HIDDEN_AGAIN: Duration = Duration::from_mins(15);

/// Ids of messages that were told of.
const MOST_TOLD: usize = 1_000;

/// Takes what the queue holds.
pub(super) async fn receive(
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
pub(super) async fn put_away(pass: &Pass<'_>, queue: &Queue, groups: &[Group<'_>]) -> Result<(), StoreError> {
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
