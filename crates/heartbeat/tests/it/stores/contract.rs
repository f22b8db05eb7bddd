//! What every store must do, whatever it is.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, StreamExt as _};
use heartbeat::stores::{Created, LONGEST_BODY, Listed, Listing, Order, Start, Store};
use jiff::Timestamp;

use crate::support::stores::soon;

/// Names that are changed on their way by whoever decodes once too often, or trims, or splits.
const ODD: [&str; 14] = [
    "a b.txt",
    " a",
    "a ",
    "a+b.txt",
    "a%20b.txt",
    "a%2Fb.txt",
    "a%.txt",
    "ä/ö/ü.txt",
    "日本/💙.txt",
    "a&b=c;d.txt",
    "a<b>\"c'.txt",
    "a?b#c.txt",
    "a@:,$!*()[]{}|^`~.txt",
    "sub/.hidden/x_20240101_000000.txt",
];

/// Keys that are no paths of files.
pub(crate) const NO_PATHS: [&str; 4] = ["b//c.txt", "b/marker/", "/leading", "b/"];

/// A store whose folder is empty does all that is asked of one, also with `more_keys`.
pub(crate) async fn contract(store: &Store, more_keys: &[&str]) {
    assert_eq!(paths(&all(store, "", 1000).await), Vec::<String>::new());
    one_file(store).await;
    bodies(store).await;
    odd_keys(store, more_keys).await;
    if store.traffic().requests > 0 {
        no_detours(store).await;
    }
    prefixes(store).await;
    pages(store).await;
    if store.order() == Order::ByPath {
        starts_behind(store).await;
    }
    assert_eq!(paths(&all(store, "", 1000).await), Vec::<String>::new());
}

/// More files than a page holds.
pub(crate) async fn many(store: &Store) {
    let names: Vec<String> = (0..1200).map(|i| format!("many/{i:04}")).collect();
    stream::iter(&names)
        .for_each_concurrent(16, async |name| {
            assert_eq!(create(store, name, b"x").await, Created::Done);
        })
        .await;
    let before = store.traffic().requests;
    let mut listed = paths(&all(store, "many/", 1000).await);
    if before > 0 {
        assert!(store.traffic().requests - before <= 2, "one request a page");
    }
    listed.sort_unstable();
    assert_eq!(listed, names);
}

async fn one_file(store: &Store) {
    let path = "s/x.txt";
    assert_eq!(store.read(path, soon()).await.unwrap(), None);
    assert_eq!(create(store, path, b"ours").await, Created::Done);
    assert_eq!(create(store, path, b"another's").await, Created::Taken);
    assert_eq!(store.read(path, soon()).await.unwrap().unwrap(), "ours");
    let first = only(store).await;
    assert_eq!((first.path.as_str(), first.size), (path, 4));
    let age = Timestamp::now().duration_since(first.modified.unwrap());
    assert!(age.abs() < Duration::from_mins(5).try_into().unwrap(), "{age}");
    assert!(store.url(path).ends_with("/s/x.txt"), "{}", store.url(path));
    store.delete(path, soon()).await.unwrap();
    store.delete(path, soon()).await.unwrap();
    assert_eq!(store.read(path, soon()).await.unwrap(), None);
    assert_eq!(create(store, path, b"more").await, Created::Done);
    let second = only(store).await;
    assert!(first.etag.is_some());
    assert_ne!(first.etag, second.etag);
    store.delete(path, soon()).await.unwrap();
}

async fn bodies(store: &Store) {
    let long = vec![b'x'; LONGEST_BODY + 10_000];
    assert_eq!(create(store, "empty", b"").await, Created::Done);
    assert_eq!(create(store, "long", &long).await, Created::Done);
    assert_eq!(store.read("empty", soon()).await.unwrap().unwrap(), "");
    assert_eq!(store.read("long", soon()).await.unwrap().unwrap(), &long[..LONGEST_BODY]);
    let mut files = all(store, "", 1000).await;
    files.sort_by(|a, b| a.path.cmp(&b.path));
    let sizes: Vec<_> = files.iter().map(|file| (file.path.as_str(), file.size as usize)).collect();
    assert_eq!(sizes, [("empty", 0), ("long", long.len())]);
    remove(store, &["empty", "long"]).await;
}

async fn odd_keys(store: &Store, more: &[&str]) {
    let names = [&ODD, more].concat();
    for name in &names {
        assert_eq!(create(store, name, name.as_bytes()).await, Created::Done, "{name}");
    }
    let listed = paths(&all(store, "", 1000).await).into_iter().collect::<BTreeSet<_>>();
    assert_eq!(listed, names.iter().map(|name| (*name).to_owned()).collect());
    for name in &names {
        assert_eq!(store.read(name, soon()).await.unwrap().unwrap(), name.as_bytes(), "{name}");
        let listed = paths(&all(store, name, 1000).await).into_iter().collect::<BTreeSet<_>>();
        let below = names.iter().filter(|other| other.starts_with(name));
        assert_eq!(listed, below.map(|other| (*other).to_owned()).collect(), "{name} as a prefix");
    }
    remove(store, &names).await;
}

/// A path is never made another one on its way; better no answer.
async fn no_detours(store: &Store) {
    assert_eq!(create(store, "b", b"").await, Created::Done);
    for path in ["x/../b", "./b"] {
        assert!(!matches!(store.read(path, soon()).await, Ok(Some(_))), "{path}");
    }
    remove(store, &["b"]).await;
}

async fn prefixes(store: &Store) {
    let names = ["a/b/1", "a/b/2", "a/bc", "a/c", "ab"];
    for name in names {
        assert_eq!(create(store, name, b"").await, Created::Done);
    }
    for (prefix, expected) in
        [("a/", &names[..4]), ("a/b", &names[..3]), ("a/b/", &names[..2]), ("a", &names[..]), ("ax", &[])]
    {
        let mut listed = paths(&all(store, prefix, 1000).await);
        listed.sort_unstable();
        assert_eq!(listed, expected, "{prefix}");
    }
    remove(store, &names).await;
}

async fn pages(store: &Store) {
    let names: Vec<String> = (0..7).map(|i| format!("p/{i}")).collect();
    for name in &names {
        assert_eq!(create(store, name, b"").await, Created::Done);
    }
    for limit in [1, 3, 7, 8] {
        let listed = paths(&all(store, "p/", limit).await);
        let sorted = listed.iter().cloned().collect::<BTreeSet<_>>();
        assert_eq!(sorted.into_iter().collect::<Vec<_>>(), names, "{limit}");
        assert_eq!(listed.len(), names.len(), "{limit}: {listed:?}");
        if store.order() == Order::ByPath {
            assert_eq!(listed, names, "{limit}");
        }
    }
    let listing = Listing { prefix: "p/", start: Start::Beginning, limit: 3 };
    let page = store.list(&listing, soon()).await.unwrap();
    if page.next.is_some() {
        assert_eq!(page.files.len(), 3);
        let now = page.now.unwrap().duration_since(Timestamp::now());
        assert!(now.abs() < Duration::from_mins(1).try_into().unwrap(), "{now}");
    }
    remove(store, &names.iter().map(String::as_str).collect::<Vec<_>>()).await;
}

async fn starts_behind(store: &Store) {
    let names = ["q/1", "q/2", "q/2 ", "q/2!/3", "q/20", "q/ä", "q/💙"];
    for name in names {
        assert_eq!(create(store, name, b"").await, Created::Done);
    }
    for (after, expected) in
        [("q/2", &names[2..]), ("q/", &names[..]), ("q/15", &names[1..]), ("q/💙", &[]), ("q/ä", &names[6..])]
    {
        for limit in [1, 2, 1000] {
            let listed = walk(store, "q/", Start::After(after), limit).await;
            assert_eq!(paths(&listed), expected, "after {after}, {limit} a page");
        }
        let listing = Listing { prefix: "q/", start: Start::After(after), limit: 1 };
        let page = store.list(&listing, soon()).await.unwrap();
        assert_eq!(page.files.len(), expected.len().min(1), "a page after {after}");
    }
    remove(store, &names).await;
}

/// All pages of a listing.
pub(crate) async fn all(store: &Store, prefix: &str, limit: usize) -> Vec<Listed> {
    walk(store, prefix, Start::Beginning, limit).await
}

async fn walk(store: &Store, prefix: &str, start: Start<'_>, limit: usize) -> Vec<Listed> {
    let mut page = store.list(&Listing { prefix, start, limit }, soon()).await.unwrap();
    let mut files = std::mem::take(&mut page.files);
    while let Some(token) = page.next {
        page = store.list(&Listing { prefix, start: Start::Token(&token), limit }, soon()).await.unwrap();
        files.append(&mut page.files);
    }
    files
}

async fn only(store: &Store) -> Listed {
    let mut files = all(store, "", 1000).await;
    assert_eq!(files.len(), 1, "{files:?}");
    files.remove(0)
}

pub(crate) async fn create(store: &Store, path: &str, body: &[u8]) -> Created {
    store.create(path, Bytes::copy_from_slice(body), soon()).await.unwrap_or_else(|error| panic!("{error}"))
}

async fn remove(store: &Store, paths: &[&str]) {
    for path in paths {
        store.delete(path, soon()).await.unwrap();
    }
}

pub(crate) fn paths(files: &[Listed]) -> Vec<String> {
    files.iter().map(|file| file.path.clone()).collect()
}
