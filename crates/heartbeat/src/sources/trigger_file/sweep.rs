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
/// beginning anew at the next. A folder with more files than `taken` is left to itself. Where it breaks off, the folders
/// that it has got through with stand.
pub(super) async fn by_path(
    store: &Store,
    folders: &[&str],
    counts: &(dyn Fn(&str, &str) -> bool + Sync),
    taken: usize,
    deadline: Instant,
) -> (Vec<Swept>, Option<StoreError>) {
    let mut sweep = Sweep {
        folders,
        swept: Vec::with_capacity(folders.len()),
        files: Vec::new(),
        keys: 0,
        now: Timestamp::now(),
    };
    let mut start = folders.first().map_or(String::new(), |first| format!("{first}/"));
    let mut token: Option<String> = None;
    while let Some(folder) = sweep.folder() {
        let beginning = format!("{folder}/");
        if token.is_none() && start < beginning {
            start = beginning;
        }
        // A page may be empty and not the last; only its token leads on.
        let from = token.as_deref().map_or(Start::After(&start), Start::Token);
        let page = match store.list(&Listing { prefix: "", start: from, limit: 1000 }, deadline).await {
            Ok(page) => page,
            Err(error) => return (sweep.swept, Some(error)),
        };
        sweep.now = page.now.unwrap_or(sweep.now);
        let last = page.files.last().map(|file| file.path.clone());
        for file in page.files {
            sweep.take(file, counts);
        }
        token = None;
        match (last, page.next) {
            (_, None) => sweep.end(),
            (None, next) => token = next,
            (Some(last), Some(_)) => start = last,
        }
        if sweep.keys > taken {
            sweep.keys = 0;
            sweep.files.clear();
            sweep.swept.push(Swept::TooMuch);
        }
    }
    (sweep.swept, None)
}

/// A sweep under way.
struct Sweep<'a> {
    folders: &'a [&'a str],
    swept: Vec<Swept>,
    /// Of the folder that it is in.
    files: Vec<Listed>,
    /// Files in it, those that do not count too.
    keys: usize,
    now: Timestamp,
}

impl<'a> Sweep<'a> {
    /// The folder that it is in, or comes to next.
    fn folder(&self) -> Option<&'a str> {
        self.folders.get(self.swept.len()).copied()
    }

    fn take(&mut self, file: Listed, counts: &(dyn Fn(&str, &str) -> bool + Sync)) {
        while self.folder().is_some_and(|folder| is_behind(&file.path, folder)) {
            self.leave();
        }
        if let Some(folder) = self.folder()
            && let Some(path) = below(&file.path, folder)
        {
            self.keys += 1;
            if counts(path, folder) {
                self.files.push(Listed { path: path.to_owned(), ..file });
            }
        }
    }

    fn leave(&mut self) {
        self.keys = 0;
        self.swept.push(Swept::Whole(sight(std::mem::take(&mut self.files), self.now)));
    }

    /// There is nothing behind.
    fn end(&mut self) {
        while self.folder().is_some() {
            self.leave();
        }
    }
}

/// Lists everything once, for a store without an order. Tells besides how many files lie there that no folder of these
/// has. Where there are more than `most`, it gives up: the folders are better asked one by one.
pub(super) async fn whole(
    store: &Store,
    folders: &[&str],
    counts: &(dyn Fn(&str, &str) -> bool + Sync),
    taken: usize,
    most: u64,
    deadline: Instant,
) -> (Vec<Swept>, u64, Option<StoreError>) {
    let mut files: BTreeMap<&str, Vec<Listed>> = folders.iter().map(|folder| (*folder, Vec::new())).collect();
    let (mut keys, mut of_folders, mut now) = (0_u64, 0_u64, Timestamp::now());
    let mut token: Option<String> = None;
    loop {
        let start = token.as_deref().map_or(Start::Beginning, Start::Token);
        let page = match store.list(&Listing { prefix: "", start, limit: 5000 }, deadline).await {
            Ok(page) => page,
            // What it has come through so far says that it is too much for one look.
            Err(error) => return (Vec::new(), keys.max(1) * 2, Some(error)),
        };
        now = page.now.unwrap_or(now);
        keys += page.files.len() as u64;
        for file in page.files {
            let (folder, path) = file.path.split_once('/').unwrap_or_default();
            if let Some(found) = files.get_mut(folder)
                && counts(path, folder)
                && found.len() <= taken
            {
                of_folders += 1;
                found.push(Listed { path: path.to_owned(), ..file });
            }
        }
        token = page.next;
        if keys > most && token.is_some() {
            return (folders.iter().map(|_| Swept::TooMuch).collect(), keys, None);
        }
        if token.is_none() {
            break;
        }
    }
    let swept = folders.iter().map(|folder| match files.remove(folder) {
        Some(found) if found.len() > taken => Swept::TooMuch,
        found => Swept::Whole(sight(found.unwrap_or_default(), now)),
    });
    (swept.collect(), keys - of_folders, None)
}

/// Everything that was found in a folder.
pub(super) fn sight(mut files: Vec<Listed>, now: Timestamp) -> Sight {
    files.sort_unstable_by(|one, two| one.path.cmp(&two.path));
    files.dedup_by(|one, two| one.path == two.path);
    Sight { files, after: None, upto: None, whole: true, now }
}

/// Whether a path comes behind all paths in a folder.
fn is_behind(path: &str, folder: &str) -> bool {
    let beginning = folder.bytes().chain([b'/']);
    below(path, folder).is_none() && path.bytes().gt(beginning)
}

fn below<'a>(path: &'a str, folder: &str) -> Option<&'a str> {
    path.strip_prefix(folder)?.strip_prefix('/')
}
