//! Messages in hand: received, not deleted yet. Pure; the time is passed in.
//!
//! Received -> judged, as a listing of its files would be -> committed, with the positions of all rows -> deleted. A message
//! that is lost from hand is still in the queue, and comes again once it is no longer hidden.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

use super::events::Told;
use crate::stores::Listed;

/// Messages in hand, by their ids.
#[derive(Debug, Default)]
pub(super) struct Hand {
    held: HashMap<String, Held>,
    /// Ids of the messages that tell of files of a folder which somebody waits for.
    folders: BTreeMap<String, HashSet<String>>,
    /// Receipts of those to delete.
    done: HashMap<String, String>,
}

#[derive(Debug)]
struct Held {
    receipt: String,
    hidden_until: Instant,
    /// Files that are not in the positions of all rows yet.
    open: Vec<Told>,
    is_shared: bool,
}

/// A message as it is named to the queue: its id and its receipt.
pub(super) type Name = (String, String);

impl Hand {
    /// Takes a message that tells of these files. One that `is_shared` tells of files elsewhere too, and is never deleted.
    pub(super) fn take(&mut self, name: Name, files: Vec<Told>, is_shared: bool, hidden_until: Instant) {
        let (id, receipt) = name;
        self.forget(&id);
        if files.is_empty() {
            if !is_shared {
                self.done.insert(id, receipt);
            }
            return;
        }
        for told in &files {
            self.folders.entry(told.folder.clone()).or_default().insert(id.clone());
        }
        self.held.insert(id, Held { receipt, hidden_until, open: files, is_shared });
    }

    /// Room for so many messages, or as many as there is after those have been let go that tell of no folder that `is_asked`.
    pub(super) fn make_room(&mut self, wanted: usize, most: usize, is_asked: impl Fn(&str) -> bool) -> usize {
        let missing = (self.held.len() + wanted).saturating_sub(most);
        if missing > 0 {
            let idle = |held: &Held| held.open.iter().all(|told| !is_asked(&told.folder));
            let mut idle: Vec<(Instant, String)> = self
                .held
                .iter()
                .filter(|(_, held)| idle(held))
                .map(|(id, held)| (held.hidden_until, id.clone()))
                .collect();
            idle.sort_unstable();
            for (_, id) in idle.into_iter().take(missing) {
                self.forget(&id);
            }
        }
        most.saturating_sub(self.held.len()).min(wanted)
    }

    /// Folders that messages tell of.
    pub(super) fn folders(&self) -> Vec<String> {
        self.folders.keys().cloned().collect()
    }

    /// Files of a folder, as their last write left them, sorted by path, each once.
    pub(super) fn files(&self, folder: &str) -> Vec<Listed> {
        let mut files: BTreeMap<&str, &Told> = BTreeMap::new();
        let ids = self.folders.get(folder).into_iter().flatten();
        let open = ids.filter_map(|id| self.held.get(id)).flat_map(|held| &held.open);
        for told in open.filter(|told| told.folder == folder) {
            let known = files.entry(&told.file.path).or_insert(told);
            if told.is_newer_than(known) {
                *known = told;
            }
        }
        files.into_values().map(|told| told.file.clone()).collect()
    }

    /// Files of a folder that nobody waits for any more. A message all of whose files are such is to be deleted.
    pub(super) fn settle(&mut self, folder: &str, is_settled: impl Fn(&str) -> bool) {
        let Some(ids) = self.folders.get(folder).cloned() else { return };
        for id in ids {
            let Some(held) = self.held.get_mut(&id) else { continue };
            held.open.retain(|told| told.folder != folder || !is_settled(&told.file.path));
            let is_left = held.open.iter().any(|told| told.folder == folder);
            let (is_done, is_shared, receipt) = (held.open.is_empty(), held.is_shared, held.receipt.clone());
            if !is_left {
                self.unlink(folder, &id);
            }
            if is_done {
                self.forget(&id);
                if !is_shared {
                    self.done.insert(id, receipt);
                }
            }
        }
    }

    /// Messages to delete, so many at most.
    pub(super) fn done(&self, most: usize) -> Vec<Name> {
        self.done.iter().take(most).map(|(id, receipt)| (id.clone(), receipt.clone())).collect()
    }

    /// Messages of folders that are `minded` which will not be hidden any longer than for `margin`, so many at most.
    pub(super) fn ending(
        &self,
        now: Instant,
        margin: Duration,
        most: usize,
        is_minded: impl Fn(&str) -> bool,
    ) -> Vec<Name> {
        let ends = |held: &Held| held.hidden_until.saturating_duration_since(now) < margin;
        let minded = |held: &Held| held.open.iter().any(|told| is_minded(&told.folder));
        let ending = self.held.iter().filter(|(_, held)| ends(held) && minded(held));
        ending.take(most).map(|(id, held)| (id.clone(), held.receipt.clone())).collect()
    }

    /// A message is hidden until then.
    pub(super) fn hidden(&mut self, id: &str, until: Instant) {
        if let Some(held) = self.held.get_mut(id) {
            held.hidden_until = until;
        }
    }

    /// Lets go of a message, whether it was deleted or is to come again.
    pub(super) fn forget(&mut self, id: &str) {
        self.done.remove(id);
        let Some(held) = self.held.remove(id) else { return };
        for told in &held.open {
            self.unlink(&told.folder, id);
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    fn unlink(&mut self, folder: &str, id: &str) {
        if let Some(ids) = self.folders.get_mut(folder) {
            ids.remove(id);
            if ids.is_empty() {
                self.folders.remove(folder);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::events::{Meaning, read};
    use super::*;

    fn told(key: &str, sequencer: &str) -> Told {
        let body = serde_json::json!({"Records": [{
            "eventName": "ObjectCreated:Put",
            "s3": {"bucket": {"name": "b"}, "object": {"key": key, "eTag": sequencer, "sequencer": sequencer}},
        }]});
        match read(&body.to_string()).unwrap().remove(0).meaning("b", "", |_, _| true) {
            Meaning::File(told) => told,
            other => panic!("{other:?}"),
        }
    }

    fn name(id: &str) -> Name {
        (id.to_owned(), format!("receipt of {id}"))
    }

    fn paths(hand: &Hand, folder: &str) -> Vec<String> {
        hand.files(folder).into_iter().map(|file| file.path).collect()
    }

    #[test]
    fn a_message_is_done_when_nobody_waits_for_any_of_its_files() {
        let (mut hand, now) = (Hand::default(), Instant::now());
        hand.take(name("1"), vec![told("s/a", "1"), told("t/b", "1")], false, now);
        hand.take(name("2"), vec![told("s/c", "1")], true, now);
        assert_eq!(
            (paths(&hand, "s"), paths(&hand, "t")),
            (vec!["a".into(), "c".into()], vec!["b".to_owned()])
        );
        hand.settle("s", |_| true);
        assert_eq!((hand.done(9), hand.folders()), (Vec::new(), vec!["t".to_owned()]), "`2` is shared");
        hand.settle("t", |path| path == "b");
        assert_eq!((hand.done(9), hand.len()), (vec![name("1")], 0));
        hand.forget("1");
        assert!(hand.done(9).is_empty());
        hand.take(name("3"), Vec::new(), false, now);
        assert_eq!(hand.done(9), [name("3")]);
    }

    #[test]
    fn a_message_that_comes_again_is_one_and_the_last_write_of_a_file_counts() {
        let (mut hand, now) = (Hand::default(), Instant::now());
        hand.take(name("1"), vec![told("s/a", "2")], false, now);
        hand.take(("1".to_owned(), "new".to_owned()), vec![told("s/a", "2")], false, now);
        hand.take(name("2"), vec![told("s/a", "1")], false, now);
        assert_eq!(hand.files("s")[0].etag.as_deref(), Some("2"));
        hand.settle("s", |_| true);
        let mut done = hand.done(9);
        done.sort_unstable();
        assert_eq!(done, [("1".to_owned(), "new".to_owned()), name("2")]);
    }

    #[test]
    fn room_is_made_of_what_nobody_asks_about_now() {
        let (mut hand, now) = (Hand::default(), Instant::now());
        for (number, key) in ["s/a", "t/a", "t/b"].iter().enumerate() {
            let until = now + Duration::from_secs(number as u64);
            hand.take(name(&number.to_string()), vec![told(key, "1")], false, until);
        }
        assert_eq!(hand.make_room(1, 4, |folder| folder == "s"), 1);
        assert_eq!(hand.make_room(2, 4, |folder| folder == "s"), 2);
        assert_eq!((paths(&hand, "s"), paths(&hand, "t")), (vec!["a".into()], vec!["b".to_owned()]));
        assert_eq!(hand.make_room(9, 4, |_| true), 2);
    }

    #[test]
    fn what_will_be_shown_again_soon_is_told_where_it_is_minded() {
        let (mut hand, now) = (Hand::default(), Instant::now());
        let margin = Duration::from_secs(10);
        hand.take(name("1"), vec![told("s/a", "1")], false, now + Duration::from_secs(5));
        hand.take(name("2"), vec![told("t/a", "1")], false, now);
        hand.take(name("3"), vec![told("s/a", "1")], false, now + Duration::from_secs(15));
        assert_eq!(hand.ending(now, margin, 9, |folder| folder == "s"), [name("1")]);
        hand.hidden("1", now + Duration::from_mins(1));
        assert!(hand.ending(now, margin, 9, |folder| folder == "s").is_empty());
    }
}
