//! Parts of a large folder: what lies behind its newest names, and one stretch after the other.

use std::collections::BinaryHeap;
use std::time::Instant;

use jiff::{SignedDuration, Timestamp};

use super::judge::Sight;
use crate::stores::{Listed, Listing, Order, Start, Store, StoreError};

/// Most pages of new names that one look takes; the next takes more.
const MOST_PAGES: usize = 50;

/// Most pages that are read of a day, month or year.
const MOST_PAGES_OF_PERIOD: usize = 4;

/// Names are given by clocks that may be a day ahead.
const AHEAD: SignedDuration = SignedDuration::from_hours(26);

/// A folder, and which of its files count.
#[derive(Clone, Copy)]
pub(super) struct Folder<'a> {
    pub(super) store: &'a Store,
    pub(super) name: &'a str,
    pub(super) counts: &'a (dyn Fn(&str, &str) -> bool + Sync),
    /// Most files of a stretch on a store without an order.
    pub(super) stretch: usize,
    pub(super) deadline: Instant,
}

impl Folder<'_> {
    /// Files with documented names that sort behind `start`, which is one; `None` where that cannot be asked for.
    pub(super) async fn newest(self, start: &str) -> Result<Option<Sight>, StoreError> {
        let mut now = Timestamp::now();
        let mut files = Vec::new();
        match self.store.order() {
            Order::ByPath => {
                let prefix = format!("{0}/{0}_", self.name);
                self.pages(&prefix, Some(start), MOST_PAGES, &mut files, &mut now).await?;
            }
            Order::None => {
                let Some(periods) = periods(start, self.name, now) else { return Ok(None) };
                // The newest first: a period that holds very much is left to the full listing.
                for period in periods.into_iter().rev() {
                    let prefix = format!("{0}/{0}_{period}", self.name);
                    self.pages(&prefix, None, MOST_PAGES_OF_PERIOD, &mut files, &mut now).await?;
                }
            }
        }
        files.retain(|file| file.path.as_str() > start);
        let sight = super::sweep::sight(files, now);
        Ok(Some(Sight { after: Some(start.to_owned()), whole: false, ..sight }))
    }

    /// The next stretch of all files, in the order of their paths.
    pub(super) async fn next(self, after: Option<&str>) -> Result<Sight, StoreError> {
        match self.store.order() {
            Order::ByPath => self.next_page(after).await,
            Order::None => self.smallest(after, self.stretch).await,
        }
    }

    async fn next_page(self, after: Option<&str>) -> Result<Sight, StoreError> {
        let prefix = format!("{}/", self.name);
        let from = after.map(|after| format!("{prefix}{after}"));
        let start = from.as_deref().map_or(Start::Beginning, Start::After);
        let mut page =
            self.store.list(&Listing { prefix: &prefix, start, limit: 1000 }, self.deadline).await?;
        // A page may be empty and not the last; only its token leads on.
        while let Some(token) = page.next.as_deref().filter(|_| page.files.is_empty()) {
            let listing = Listing { prefix: &prefix, start: Start::Token(token), limit: 1000 };
            page = self.store.list(&listing, self.deadline).await?;
        }
        let last = page.files.last().and_then(|file| file.path.strip_prefix(&prefix)).map(str::to_owned);
        let upto = last.filter(|_| page.next.is_some());
        let files = page.files.into_iter().filter_map(|file| self.counted(file)).collect();
        let sight = super::sweep::sight(files, page.now.unwrap_or_else(Timestamp::now));
        Ok(Sight { after: after.map(str::to_owned), upto, ..sight })
    }

    /// The first files behind `after` of a listing in no order, in bounded memory.
    async fn smallest(self, after: Option<&str>, most: usize) -> Result<Sight, StoreError> {
        let prefix = format!("{}/", self.name);
        let mut now = Timestamp::now();
        let mut first = Smallest::new(most);
        let mut token: Option<String> = None;
        loop {
            let start = token.as_deref().map_or(Start::Beginning, Start::Token);
            let page =
                self.store.list(&Listing { prefix: &prefix, start, limit: 5000 }, self.deadline).await?;
            now = page.now.unwrap_or(now);
            for file in page.files.into_iter().filter_map(|file| self.counted(file)) {
                if after.is_none_or(|after| file.path.as_str() > after) {
                    first.push(file);
                }
            }
            token = page.next;
            if token.is_none() {
                break;
            }
        }
        let is_cut = first.is_cut;
        let sight = super::sweep::sight(first.files(), now);
        let upto = sight.files.last().map(|file| file.path.clone()).filter(|_| is_cut);
        Ok(Sight { after: after.map(str::to_owned), upto, ..sight })
    }

    /// Pages of a prefix, behind a path of the folder: all, or as many as one look may take. What has come before it breaks
    /// off stands: the next look begins behind it.
    async fn pages(
        self,
        prefix: &str,
        after: Option<&str>,
        most: usize,
        files: &mut Vec<Listed>,
        now: &mut Timestamp,
    ) -> Result<(), StoreError> {
        let mut token: Option<String> = None;
        let after = after.map(|after| format!("{}/{after}", self.name));
        for _ in 0..most {
            let start = match (&token, &after) {
                (Some(token), _) => Start::Token(token),
                (None, Some(after)) => Start::After(after),
                (None, None) => Start::Beginning,
            };
            let page = match self.store.list(&Listing { prefix, start, limit: 5000 }, self.deadline).await {
                Ok(page) => page,
                Err(_) if !files.is_empty() => return Ok(()),
                Err(error) => return Err(error),
            };
            *now = page.now.unwrap_or(*now);
            files.extend(page.files.into_iter().filter_map(|file| self.counted(file)));
            token = page.next;
            if token.is_none() {
                break;
            }
        }
        Ok(())
    }

    /// A file of the folder, by its path in it; `None` where it does not count.
    fn counted(self, file: Listed) -> Option<Listed> {
        let path = file.path.strip_prefix(self.name)?.strip_prefix('/')?;
        (self.counts)(path, self.name).then(|| Listed { path: path.to_owned(), ..file })
    }
}

/// Keeps the smallest of many.
pub(super) struct Smallest {
    heap: BinaryHeap<ByPath>,
    most: usize,
    is_cut: bool,
}

impl Smallest {
    pub(super) fn new(most: usize) -> Self {
        Self { heap: BinaryHeap::new(), most, is_cut: false }
    }

    /// Whether a file of this path would be kept.
    pub(super) fn wants(&mut self, path: &str) -> bool {
        let wants = self.heap.len() < self.most
            || self.heap.peek().is_some_and(|largest| path < largest.0.path.as_str());
        self.is_cut |= !wants;
        wants
    }

    pub(super) fn push(&mut self, file: Listed) {
        if !self.wants(&file.path) {
            return;
        }
        self.heap.push(ByPath(file));
        if self.heap.len() > self.most {
            self.heap.pop();
            self.is_cut = true;
        }
    }

    /// Whether any was left out.
    pub(super) fn is_cut(&self) -> bool {
        self.is_cut
    }

    pub(super) fn files(self) -> Vec<Listed> {
        self.heap.into_iter().map(|ByPath(file)| file).collect()
    }
}

struct ByPath(Listed);

impl PartialEq for ByPath {
    fn eq(&self, other: &Self) -> bool {
        self.0.path == other.0.path
    }
}

impl Eq for ByPath {}

impl PartialOrd for ByPath {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ByPath {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.path.cmp(&other.0.path)
    }
}

/// Most prefixes that are asked for at a time.
const MOST_PREFIXES: usize = 8;

/// Beginnings of the stamps from that of `start` to the latest that a clock may show: days, or months or years where
/// nothing has come for long.
fn periods(start: &str, name: &str, now: Timestamp) -> Option<Vec<String>> {
    let stamp = heartbeat_core::files::stamp_of(start, name)?;
    let first = jiff::civil::Date::strptime("%Y%m%d", stamp.get(..8)?).ok()?;
    let last = jiff::tz::TimeZone::UTC.to_datetime(now.checked_add(AHEAD).ok()?).date();
    let steps = [
        (first, jiff::Span::new().days(1), "%Y%m%d"),
        (first.first_of_month(), jiff::Span::new().months(1), "%Y%m"),
        (first.first_of_year(), jiff::Span::new().years(1), "%Y"),
    ];
    steps.into_iter().find_map(|(first, step, format)| {
        let periods = first.series(step).take_while(|day| *day <= last).take(MOST_PREFIXES + 1);
        let periods: Vec<String> = periods.map(|day| day.strftime(format).to_string()).collect();
        (periods.len() <= MOST_PREFIXES).then_some(periods)
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("20260301_100000", &["20260301", "20260302"])]
    #[case("20260223_100000", &["20260223", "20260224", "20260225", "20260226", "20260227", "20260228", "20260301", "20260302"])]
    #[case("20260210_100000", &["202602", "202603"])]
    #[case("20250110_100000", &["2025", "2026"])]
    #[case("20270110_100000", &[])]
    fn stamps_since_a_file_have_few_beginnings(#[case] stamp: &str, #[case] expected: &[&str]) {
        let now = "2026-03-01T12:00:00Z".parse().unwrap();
        assert_eq!(periods(&format!("t_{stamp}.txt"), "t", now).unwrap(), expected);
        assert_eq!(periods("t_20100101_000000.txt", "t", now), None, "too many years");
    }
}
