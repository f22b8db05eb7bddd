//! Which files of a folder a row is through with.

use jiff::Timestamp;

use super::change::RunFiles;
use super::run::{BadRun, Run};
use super::seen::Stretch;
use crate::position::FilesPosition;

impl FilesPosition {
    /// Runs whose files [`processed`] needs. `listed` are sorted.
    pub fn needed_for(&self, listed: &[&str]) -> Vec<&Run> {
        self.needed(listed, around(listed))
    }
}

/// Of sorted names, each once, those that had been seen when a row stood at `upto`.
///
/// A name that was remembered as gone is not among them: what lies there now came back, or is another file, and the row
/// has yet to look at it.
pub fn processed<'n>(
    upto: &FilesPosition,
    listed: &[&'n str],
    files: &RunFiles,
) -> Result<Vec<&'n str>, BadRun> {
    // A part that was not listed whole forgets nothing, at whatever time.
    let unseen = upto.compare(listed, around(listed), files, Timestamp::MIN)?;
    let is_in = |names: &[String], name: &str| names.binary_search_by(|it| it.as_str().cmp(name)).is_ok();
    let is_seen = |name: &&str| !is_in(&unseen.new, name) && !is_in(&unseen.back, name);
    Ok(listed.iter().copied().filter(is_seen).collect())
}

/// The part of a folder that holds sorted names, and hardly more: a run is read from there.
fn around<'a>(listed: &[&'a str]) -> Stretch<'a> {
    // What a name begins with sorts before it.
    let after = listed.first().and_then(|first| Some(&first[..first.char_indices().next_back()?.0]));
    Stretch { after, upto: listed.last().copied(), whole: false }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::super::seen::{Builder, Difference};
    use super::*;

    fn of(names: &BTreeSet<String>, inline: usize) -> (FilesPosition, RunFiles) {
        let mut builder = Builder::new("f", inline);
        let mut files = RunFiles::new();
        for name in names {
            let written = builder.push(name.clone());
            files.extend(written.map(|(run, file)| (run.sha256, file.into())));
        }
        let (position, last) = builder.finish();
        files.extend(last.map(|(run, file)| (run.sha256, file.into())));
        (position, files)
    }

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn what_was_seen_is_processed_wherever_it_is_remembered() {
        let (position, files) = of(&names(&["a", "b", "c", "d", "e"]), 2);
        assert_eq!((position.seen.len(), position.runs[0].names), (2, 3));
        let listed = ["a", "aa", "c", "d", "f"];
        assert_eq!(processed(&position, &listed, &files), Ok(vec!["a", "c", "d"]));
        assert_eq!(processed(&position, &[], &files), Ok(vec![]));
        assert_eq!(processed(&FilesPosition::of("f"), &listed, &files), Ok(vec![]));
    }

    #[test]
    fn name_that_was_gone_is_not_processed() {
        let (position, files) = of(&names(&["a", "b"]), 9);
        let gone = Difference { missing: vec!["a".to_owned()], ..Difference::default() };
        let (position, _) = position.change(gone, Timestamp::UNIX_EPOCH, 9).carry_out(&files).unwrap();
        assert_eq!(processed(&position, &["a", "b"], &files), Ok(vec!["b"]));
    }

    #[test]
    fn run_that_is_missing_or_damaged_is_an_error() {
        let (position, _) = of(&names(&["a", "b", "c"]), 1);
        assert_eq!(processed(&position, &["a"], &RunFiles::new()), Err(BadRun));
        let damaged = [(position.runs[0].sha256.clone(), b"x".as_slice().into())].into();
        assert_eq!(processed(&position, &["a"], &damaged), Err(BadRun));
    }

    proptest! {
        #[test]
        fn look_up_is_exact(
            first in prop::collection::btree_set("[a-cé/]{1,3}", 0..60),
            gone in prop::collection::btree_set("[a-cé/]{1,3}", 0..20),
            then in prop::collection::btree_set("[a-cé/]{1,3}", 0..20),
            listed in prop::collection::btree_set("[a-cé/]{1,3}", 0..30),
            inline in 0_usize..12,
        ) {
            let (mut position, mut files) = of(&first, inline);
            let gone: BTreeSet<String> = gone.intersection(&first).cloned().collect();
            let then: BTreeSet<String> = then.difference(&first).cloned().collect();
            let missing = Difference { missing: gone.iter().cloned().collect(), ..Difference::default() };
            let new = Difference { new: then.iter().cloned().collect(), ..Difference::default() };
            for difference in [missing, new] {
                let change = position.change(difference, Timestamp::from_second(1).unwrap(), inline);
                let (changed, written) = change.carry_out(&files).unwrap();
                files.extend(written.into_iter().map(|(run, file)| (run.sha256, file.into())));
                position = changed;
            }
            let expected: Vec<&str> = listed
                .iter()
                .filter(|name| (first.contains(*name) && !gone.contains(*name)) || then.contains(*name))
                .map(String::as_str)
                .collect();
            let listed: Vec<&str> = listed.iter().map(String::as_str).collect();
            // Only what is said to be needed is there to be read.
            let needed = position.needed_for(&listed);
            let files = needed.iter().map(|run| (run.sha256.clone(), files[&run.sha256].clone())).collect();
            prop_assert_eq!(processed(&position, &listed, &files), Ok(expected));
        }
    }
}
