//! A listing that goes directory by directory: where it stands travels in the token of each page.

use heartbeat_core::files::is_trigger;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::super::error::Fault;
use super::super::{Listed, Listing, Page, Start};

/// Most entries that a page may have.
const LARGEST_PAGE: usize = 1000;

/// Where a listing stands: one directory is asked for at a time.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in super::super) struct Walk {
    /// The directory to ask for, below the store's folder; empty: that folder itself.
    #[serde(rename = "d")]
    pub(in super::super) directory: String,
    /// Where its page begins; `None`: it is the first.
    #[serde(rename = "t", default, skip_serializing_if = "Option::is_none")]
    pub(in super::super) token: Option<String>,
    /// Most entries a page. All pages of a directory must ask for the same.
    #[serde(rename = "n")]
    pub(in super::super) limit: usize,
    /// Directories still to come.
    #[serde(rename = "b", default, skip_serializing_if = "Vec::is_empty")]
    below: Vec<String>,
}

/// What a directory holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Entry {
    pub(in super::super) name: String,
    pub(in super::super) is_directory: bool,
    pub(in super::super) size: u64,
    /// Milliseconds since 1970.
    pub(in super::super) modified: Option<i64>,
}

impl Walk {
    /// Where a request begins.
    pub(in super::super) fn of(listing: &Listing<'_>) -> Result<Self, Fault> {
        match listing.start {
            Start::Token(token) => serde_json::from_str(token)
                .map_err(|error| Fault::Misconfigured(format!("the token of the page: {error}"))),
            // Without an order there is nothing "behind" a path: all is told.
            Start::Beginning | Start::After(_) => Ok(Self {
                directory: top(listing).to_owned(),
                token: None,
                limit: listing.limit.clamp(1, LARGEST_PAGE),
                below: Vec::new(),
            }),
        }
    }

    /// Whether the directory is the one that the listing is about, which must be there.
    pub(in super::super) fn is_at_top(&self, listing: &Listing<'_>) -> bool {
        self.directory == top(listing)
    }

    /// The page that these entries make. `next`: where the directory's next page begins.
    pub(in super::super) fn page(
        mut self,
        listing: &Listing<'_>,
        entries: Vec<Entry>,
        next: Option<String>,
        now: Option<Timestamp>,
    ) -> Result<Page, Fault> {
        let next = next.filter(|token| !token.is_empty());
        if next.is_some() && next == self.token {
            return Err(Fault::Nonsense("a page whose next page is itself".to_owned()));
        }
        let mut files = Vec::new();
        for Entry { name, is_directory, size, modified } in entries {
            if matches!(name.as_str(), "" | "." | "..") || name.contains('/') {
                return Err(Fault::Nonsense(format!("`{name}` as the name of a file")));
            }
            let path = match self.directory.as_str() {
                "" => name.clone(),
                directory => format!("{directory}/{name}"),
            };
            if !path.starts_with(listing.prefix) {
                continue;
            }
            if is_directory {
                if may_hold_news(&name) {
                    self.below.push(path);
                }
                continue;
            }
            let modified = modified.and_then(|millis| Timestamp::from_millisecond(millis).ok());
            files.push(Listed { path, size, etag: None, modified, owner: None });
        }
        self.token = next;
        if self.token.is_none() {
            let Some(directory) = self.below.pop() else { return Ok(Page { files, next: None, now }) };
            self.directory = directory;
        }
        let next = serde_json::to_string(&self).map_err(|error| Fault::Nonsense(error.to_string()))?;
        Ok(Page { files, next: Some(next), now })
    }
}

fn top<'a>(listing: &Listing<'a>) -> &'a str {
    listing.prefix.rsplit_once('/').map_or("", |(directory, _)| directory)
}

/// Whether anything in a directory of this name can count.
fn may_hold_news(name: &str) -> bool {
    is_trigger(&format!("{name}/any"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing<'a>(prefix: &'a str, start: Start<'a>) -> Listing<'a> {
        Listing { prefix, start, limit: 5 }
    }

    fn entry(name: &str) -> Entry {
        let (name, is_directory) = name.strip_suffix('/').map_or((name, false), |name| (name, true));
        Entry { name: name.to_owned(), is_directory, size: 3, modified: Some(1_000) }
    }

    fn entries(names: &[&str]) -> Vec<Entry> {
        names.iter().map(|name| entry(name)).collect()
    }

    fn paths(page: &Page) -> Vec<&str> {
        page.files.iter().map(|file| file.path.as_str()).collect()
    }

    #[test]
    fn pages_of_a_directory_come_before_what_lies_below() {
        let walk = Walk::of(&listing("a/b", Start::Beginning)).unwrap();
        assert_eq!((walk.directory.as_str(), walk.limit), ("a", 5));
        let first = entries(&["b1", "c", "b2/", "x/", "b.tmp/"]);
        let page = walk.page(&listing("a/b", Start::Beginning), first, Some("p2".to_owned()), None).unwrap();
        assert_eq!(paths(&page), ["a/b1"]);
        let told = page.next.unwrap();
        let on = listing("a/b", Start::Token(&told));
        let walk = Walk::of(&on).unwrap();
        assert!(walk.is_at_top(&on) && walk.token.as_deref() == Some("p2"), "{walk:?}");
        let page = walk.page(&on, entries(&["b3"]), None, None).unwrap();
        assert_eq!(paths(&page), ["a/b3"]);
        let told = page.next.unwrap();
        let on = listing("a/b", Start::Token(&told));
        let walk = Walk::of(&on).unwrap();
        assert_eq!((walk.directory.as_str(), walk.is_at_top(&on)), ("a/b.tmp", false));
        let page = walk.page(&on, entries(&["f"]), None, None).unwrap();
        assert_eq!(paths(&page), ["a/b.tmp/f"]);
        let told = page.next.unwrap();
        let walk = Walk::of(&listing("a/b", Start::Token(&told))).unwrap();
        assert_eq!(walk.directory, "a/b2");
        let page = walk.page(&listing("a/b", Start::Token(&told)), Vec::new(), None, None).unwrap();
        assert!(page.files.is_empty() && page.next.is_none());
    }

    #[test]
    fn hidden_directories_are_passed_over_and_hidden_files_told() {
        let whole = listing("", Start::Beginning);
        let found = entries(&["_temporary/", ".git/", "_SUCCESS", "day/"]);
        let page = Walk::of(&whole).unwrap().page(&whole, found, None, None).unwrap();
        assert_eq!(paths(&page), ["_SUCCESS"]);
        let told = page.next.unwrap();
        let walk = Walk::of(&listing("", Start::Token(&told))).unwrap();
        assert_eq!((walk.directory.as_str(), walk.below.len()), ("day", 0));
    }

    #[test]
    fn what_no_directory_can_hold_and_circles_are_refused() {
        let whole = listing("", Start::Beginning);
        for name in ["", "..", "a/b"] {
            let entry = Entry { name: name.to_owned(), ..entry("x") };
            let refused = Walk::of(&whole).unwrap().page(&whole, vec![entry], None, None);
            assert!(matches!(refused, Err(Fault::Nonsense(_))), "{name}");
        }
        let again = || Some("t".to_owned());
        let page = Walk::of(&whole).unwrap().page(&whole, Vec::new(), again(), None).unwrap();
        let told = page.next.unwrap();
        let on = listing("", Start::Token(&told));
        assert!(matches!(
            Walk::of(&on).unwrap().page(&on, Vec::new(), again(), None),
            Err(Fault::Nonsense(_))
        ));
        assert!(matches!(Walk::of(&listing("", Start::Token("x"))), Err(Fault::Misconfigured(_))));
    }
}
