//! One listing through many folders.

use std::collections::BTreeMap;
use std::time::Instant;

use jiff::Timestamp;

use super::judge::Sight;
use crate::stores::{Listed, Listing, Start, Store, StoreError};

/// What a sweep saw of one folder.
#[derive(Debug)]
pub(super) enum Swept {
    /// All of it.
    Whole(Sight),
    /// There is more than a sweep takes along.
    TooMuch,
}

/// Sweeps folders in the order of their paths on a store that lists by path. What lies between them is passed over by
/// beginning anew at the next. A folder with more files than `taken` is left to itself.
pub(super) async fn by_path(
    store: &Store,
    folders: &[&str],
    counts: &(dyn Fn(&str, &str) -> bool + Sync),
    taken: usize,
    deadline: Instant,
) -> Result<Vec<Swept>, StoreError> {
    let mut swept: Vec<Swept> = Vec::with_capacity(folders.len());
    let mut now = Timestamp::now();
    let mut files: Vec<Listed> = Vec::new();
    let Some(first) = folders.first() else { return Ok(swept) };
    let mut start = format!("{first}/");
    while swept.len() < folders.len() {
        let listing = Listing { prefix: "", start: Start::After(&start), limit: 1000 };
        let page = store.list(&listing, deadline).await?;
        now = page.now.unwrap_or(now);
        let last = page.files.last().map(|file| file.path.clone());
        for file in page.files {
            while swept.len() < folders.len() && is_behind(&file.path, folders[swept.len()]) {
                swept.push(Swept::Whole(sight(std::mem::take(&mut files), now)));
            }
            let Some(folder) = folders.get(swept.len()) else { break };
            if let Some(path) = below(&file.path, folder)
                && counts(path, folder)
            {
                files.push(Listed { path: path.to_owned(), ..file });
            }
        }
        if swept.len() == folders.len() {
            break;
        }
        let (Some(last), Some(_)) = (last, page.next) else {
            while swept.len() < folders.len() {
                swept.push(Swept::Whole(sight(std::mem::take(&mut files), now)));
            }
            break;
        };
        if files.len() > taken {
            swept.push(Swept::TooMuch);
            files.clear();
        }
        let Some(folder) = folders.get(swept.len()) else { break };
        let beginning = format!("{folder}/");
        start = if last < beginning { beginning } else { last };
    }
    Ok(swept)
}

/// Lists everything once, for a store without an order.
pub(super) async fn whole(
    store: &Store,
    folders: &[&str],
    counts: &(dyn Fn(&str, &str) -> bool + Sync),
    taken: usize,
    deadline: Instant,
) -> Result<(Vec<Swept>, u64), StoreError> {
    let mut files: BTreeMap<&str, Vec<Listed>> = folders.iter().map(|folder| (*folder, Vec::new())).collect();
    let (mut beside, mut now) = (0, Timestamp::now());
    let mut token: Option<String> = None;
    loop {
        let start = token.as_deref().map_or(Start::Beginning, Start::Token);
        let page = store.list(&Listing { prefix: "", start, limit: 5000 }, deadline).await?;
        now = page.now.unwrap_or(now);
        for file in page.files {
            let (folder, path) = file.path.split_once('/').unwrap_or_default();
            match files.get_mut(folder) {
                Some(found) if counts(path, folder) && found.len() <= taken => {
                    found.push(Listed { path: path.to_owned(), ..file });
                }
                Some(_) => {}
                None => beside += 1,
            }
        }
        token = page.next;
        if token.is_none() {
            break;
        }
    }
    let swept = folders.iter().map(|folder| match files.remove(folder) {
        Some(found) if found.len() > taken => Swept::TooMuch,
        found => Swept::Whole(sight(found.unwrap_or_default(), now)),
    });
    Ok((swept.collect(), beside))
}

/// Everything that was found in a folder.
pub(super) fn sight(mut files: Vec<Listed>, now: Timestamp) -> Sight {
    files.sort_unstable_by(|one, two| one.path.cmp(&two.path));
    files.dedup_by(|one, two| one.path == two.path);
    Sight { files, after: None, upto: None, whole: true, now }
}

/// Whether a path comes behind all paths in a folder.
fn is_behind(path: &str, folder: &str) -> bool {
    below(path, folder).is_none() && path.as_bytes() > format!("{folder}/").as_bytes()
}

fn below<'a>(path: &'a str, folder: &str) -> Option<&'a str> {
    path.strip_prefix(folder)?.strip_prefix('/')
}
