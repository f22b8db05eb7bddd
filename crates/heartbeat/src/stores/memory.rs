//! A store in memory: for tests, which make it fail, and for measurements on more files than a machine holds.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use jiff::Timestamp;

use super::error::{Fault, StoreError};
use super::http::TrafficCount;
use super::{Created, Listed, Listing, Order, Page, Start};

/// A store that is gone with the process.
pub struct Memory {
    order: Order,
    page: usize,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    files: BTreeMap<String, File>,
    series: Option<Series>,
    troubles: VecDeque<Trouble>,
    traffic: TrafficCount,
    now: Timestamp,
    forbids_listing: bool,
}

struct File {
    body: Bytes,
    modified: Timestamp,
    written: u64,
}

/// Very many files whose names are made when they are asked for.
#[derive(Debug, Clone, Copy)]
pub struct Series {
    /// How many.
    pub count: u64,
    /// The path of each; paths ascend with the number.
    pub path: fn(u64) -> String,
}

/// What goes wrong with the next listings, one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// Nothing.
    None,
    /// No answer.
    Fails,
    /// So many files at the end of the page are left out, and the listing ends there.
    CutsOff(usize),
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").field("order", &self.order).finish_non_exhaustive()
    }
}

impl Memory {
    /// An empty store that lists in this order, at most so many files a page.
    pub fn new(order: Order, page: usize) -> Self {
        Self { order, page, inner: Mutex::default() }
    }

    /// The same with very many files.
    #[must_use]
    pub fn with_series(self, series: Series) -> Self {
        self.inner().series = Some(series);
        self
    }

    /// Writes a file, whether there is one or not.
    pub fn put(&self, path: &str, body: impl Into<Bytes>) {
        let mut inner = self.inner();
        let (modified, written) = (inner.now, inner.traffic.requests);
        inner.files.insert(path.to_owned(), File { body: body.into(), modified, written });
    }

    /// Removes a file.
    pub fn remove(&self, path: &str) {
        self.inner().files.remove(path);
    }

    /// Sets the store's clock.
    pub fn set_now(&self, now: Timestamp) {
        self.inner().now = now;
    }

    /// Whether listings are refused.
    pub fn forbid_listing(&self, forbids: bool) {
        self.inner().forbids_listing = forbids;
    }

    /// Adds to what goes wrong.
    pub fn trouble(&self, trouble: Trouble) {
        self.inner().troubles.push_back(trouble);
    }

    /// Nothing goes wrong any more.
    pub fn clear_troubles(&self) {
        self.inner().troubles.clear();
    }

    /// Paths that are there, but those of the series.
    pub fn paths(&self) -> Vec<String> {
        self.inner().files.keys().cloned().collect()
    }

    pub(super) fn order(&self) -> Order {
        self.order
    }

    pub(super) fn traffic(&self) -> TrafficCount {
        self.inner().traffic
    }

    pub(super) fn list(&self, listing: &Listing<'_>) -> Result<Page, StoreError> {
        let mut inner = self.inner();
        inner.traffic.requests += 1;
        if inner.forbids_listing {
            let (need, told) = ("listing".to_owned(), "forbidden".to_owned());
            return Err(Fault::Forbidden { need, told }.of("store"));
        }
        let trouble = inner.troubles.pop_front().unwrap_or(Trouble::None);
        if trouble == Trouble::Fails {
            return Err(Fault::Unreachable { told: "trouble".to_owned(), cause: None }.of("store"));
        }
        let after = match listing.start {
            Start::Beginning => String::new(),
            Start::After(path) | Start::Token(path) => path.to_owned(),
        };
        let limit = self.page.min(listing.limit);
        let mut files: Vec<Listed> = inner.behind(&after, listing.prefix).take(limit + 1).collect();
        let mut next = (files.len() > limit).then(|| files[limit - 1].path.clone());
        files.truncate(limit);
        if let Trouble::CutsOff(count) = trouble {
            files.truncate(files.len().saturating_sub(count));
            next = None;
        }
        if self.order == Order::None {
            files.reverse();
        }
        let bytes: usize = files.iter().map(|file| file.path.len() + 200).sum();
        inner.traffic.received += bytes as u64 + 300;
        Ok(Page { files, next, now: Some(inner.now) })
    }

    pub(super) fn create(&self, path: &str, body: Bytes) -> Created {
        if self.inner().files.contains_key(path) {
            return Created::Taken;
        }
        self.put(path, body);
        Created::Done
    }

    pub(super) fn read(&self, path: &str) -> Option<Bytes> {
        self.inner().files.get(path).map(|file| file.body.clone())
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Files behind a path that begin with a prefix, in order.
    fn behind(&self, after: &str, prefix: &str) -> impl Iterator<Item = Listed> {
        let from = if after >= prefix { after.to_owned() } else { prefix.to_owned() };
        let is_behind = move |path: &str| after.is_empty() || path > after;
        let kept = self.files.range(from.clone()..).map(|(path, file)| Listed {
            path: path.clone(),
            size: file.body.len() as u64,
            etag: Some(format!("{}-{}", file.written, file.body.len())),
            modified: Some(file.modified),
            owner: None,
        });
        let now = self.now;
        let made = self.series.into_iter().flat_map(move |series| {
            let (mut low, mut high) = (0, series.count);
            while low < high {
                let middle = u64::midpoint(low, high);
                if (series.path)(middle).as_str() < from.as_str() {
                    low = middle + 1;
                } else {
                    high = middle;
                }
            }
            (low..series.count).map(move |number| Listed {
                path: (series.path)(number),
                size: 7,
                etag: None,
                modified: Some(now),
                owner: None,
            })
        });
        let (mut kept, mut made) = (kept.peekable(), made.peekable());
        let both = std::iter::from_fn(move || match (kept.peek(), made.peek()) {
            (Some(one), Some(two)) if one.path <= two.path => kept.next(),
            (Some(_), None) => kept.next(),
            _ => made.next(),
        });
        let prefix = prefix.to_owned();
        both.filter(move |file| is_behind(&file.path)).take_while(move |file| file.path.starts_with(&prefix))
    }
}
