use proptest::prelude::*;

use super::*;
use crate::state::StoredPosition;

/// A folder and what a row remembers of it, as engine and store would keep them.
struct Scene {
    there: BTreeSet<String>,
    position: FilesPosition,
    files: RunFiles,
    reported: BTreeMap<String, u32>,
    now: Timestamp,
}

impl Scene {
    fn new() -> Self {
        Self {
            there: BTreeSet::new(),
            position: FilesPosition::of("f"),
            files: RunFiles::new(),
            reported: BTreeMap::new(),
            now: "2026-01-01T00:00:00Z".parse().unwrap(),
        }
    }

    fn look(&mut self, stretch: Stretch<'_>, is_committed: bool) {
        let within = |name: &&String| {
            stretch.after.is_none_or(|after| after < name.as_str())
                && stretch.upto.is_none_or(|upto| name.as_str() <= upto)
        };
        let listed: Vec<&str> = self.there.iter().filter(within).map(String::as_str).collect();
        // Only what is said to be needed is there to be read.
        let needed = self.position.needed(&listed, stretch);
        let files = needed.iter().map(|run| (run.sha256.clone(), self.files[&run.sha256].clone())).collect();
        let difference = self.position.compare(&listed, stretch, &files, self.now).unwrap();
        if difference.is_empty() {
            return;
        }
        let new = difference.new.clone();
        let position = self.changed(difference, self.now);
        if is_committed {
            self.position = position;
            for name in new {
                *self.reported.entry(name).or_default() += 1;
            }
        }
        self.check();
    }

    /// The position after a change, whose runs are stored.
    fn changed(&mut self, difference: Difference, now: Timestamp) -> FilesPosition {
        let change = self.position.change(difference, now, MOST_INLINE);
        // Only what is said to be needed is there to be read.
        let files = change.needed().map(|digest| (digest.to_owned(), self.files[digest].clone())).collect();
        let (position, written) = change.carry_out(&files).unwrap();
        self.files.extend(written.into_iter().map(|(run, file)| (run.sha256, file.into())));
        position
    }

    fn check(&self) {
        let position = &self.position;
        assert!(position.seen.len() + position.gone.len() <= MOST_INLINE);
        let mut last: Option<&str> = None;
        for run in &position.runs {
            assert!(last.is_none_or(|last| last < run.first.as_str()), "runs are disjoint and in order");
            last = Some(&run.last);
            let mut names = Names::parse(&self.files[&run.sha256]).unwrap().behind(None).unwrap();
            let mut count = 0;
            while let Some((name, _)) = names.read().unwrap() {
                assert!(run.first <= name && name <= run.last);
                assert!(!position.has_inline(&name), "a name is kept once");
                count += 1;
            }
            assert_eq!(count, run.names);
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    /// Files of consecutive numbers.
    Create(u32, u32),
    Delete(u32, u32),
    Look(Option<u32>, Option<u32>, bool, bool),
    Wait(u32),
}

fn name(number: u32) -> String {
    format!("t_{number:06}.txt")
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let bound = || prop::option::of(0_u32..4_000);
    let step = prop_oneof![
        4 => (0_u32..4_000, 1_u32..700).prop_map(|(from, count)| Step::Create(from, count)),
        2 => (0_u32..4_000, 1_u32..300).prop_map(|(from, count)| Step::Delete(from, count)),
        6 => (bound(), bound(), any::<bool>(), prop::bool::weighted(0.8)).prop_map(|(a, b, w, c)| Step::Look(a, b, w, c)),
        1 => (1_u32..5).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Whatever is listed when, a path is news once, as long as it does not stay away for longer than names are remembered.
    #[test]
    fn each_path_is_news_once(steps in steps()) {
        let mut scene = Scene::new();
        for step in steps {
            match step {
                Step::Create(from, count) => scene.there.extend((from..from + count).map(name)),
                Step::Delete(from, count) => {
                    for number in from..from + count {
                        scene.there.remove(&name(number));
                    }
                }
                Step::Look(after, upto, whole, is_committed) => {
                    let (after, upto) = (after.map(name), upto.map(name));
                    scene.look(Stretch { after: after.as_deref(), upto: upto.as_deref(), whole }, is_committed);
                }
                Step::Wait(hours) => scene.now += SignedDuration::from_hours(i64::from(hours)),
            }
        }
        scene.look(EVERYTHING, true);
        prop_assert!(scene.reported.values().all(|times| *times == 1), "doubled");
        prop_assert!(scene.there.iter().all(|name| scene.reported.contains_key(name)), "missed");
    }

    #[test]
    fn the_first_position_is_that_of_a_comparison(count in 0_u32..3_000) {
        let mut builder = Builder::new("f", MOST_INLINE);
        let mut files = RunFiles::new();
        for number in 0..count {
            files.extend(builder.push(name(number)).map(|(run, file)| (run.sha256, file.into())));
        }
        let (position, last) = builder.finish();
        files.extend(last.map(|(run, file)| (run.sha256, file.into())));
        prop_assert_eq!(position.names(), u64::from(count));
        let names: Vec<String> = (0..=count).map(name).collect();
        let listed: Vec<&str> = names.iter().map(String::as_str).collect();
        let difference = position.compare(&listed, EVERYTHING, &files, Timestamp::UNIX_EPOCH).unwrap();
        prop_assert_eq!(difference.new, vec![name(count)]);
        prop_assert!(difference.missing.is_empty());
    }
}

#[test]
fn a_name_that_stays_away_is_forgotten_and_is_news_again() {
    let mut scene = Scene::new();
    scene.there.insert(name(1));
    scene.look(EVERYTHING, true);
    scene.there.clear();
    scene.look(EVERYTHING, true);
    scene.now += REMEMBERED * 2;
    scene.there.insert(name(1));
    scene.look(EVERYTHING, true);
    assert_eq!(scene.reported[&name(1)], 1, "it may have been there all the time");
    scene.there.clear();
    scene.look(EVERYTHING, true);
    scene.now += REMEMBERED;
    scene.look(EVERYTHING, true);
    scene.now += FORGOTTEN_ALONE - REMEMBERED;
    scene.look(EVERYTHING, true);
    assert_eq!(scene.position.names(), 1, "nothing is written for it alone so soon");
    scene.now += SignedDuration::from_secs(1);
    scene.look(EVERYTHING, true);
    assert_eq!(scene.position.names(), 0);
    scene.there.insert(name(1));
    scene.look(EVERYTHING, true);
    assert_eq!(scene.reported[&name(1)], 2);
}

#[test]
fn names_of_runs_are_forgotten_along_with_other_changes() {
    let mut scene = Scene::new();
    scene.there.extend((0..2_000).map(name));
    scene.look(EVERYTHING, true);
    scene.there.retain(|there| *there >= name(300));
    scene.look(EVERYTHING, true);
    scene.now += REMEMBERED + SignedDuration::from_secs(1);
    scene.look(Stretch { after: Some(&name(299)), upto: None, whole: true }, true);
    assert_eq!(scene.position.names(), 2_000, "the listing did not show that they are still away");
    scene.there.insert(name(5_000));
    scene.look(EVERYTHING, true);
    assert_eq!(scene.position.names(), 1_701);
}

/// A listing in parts takes many looks, and rows of a folder take turns.
#[test]
fn forgetting_that_another_look_has_found_out_asks_the_position() {
    let mut scene = Scene::new();
    scene.there.extend((0..2_000).map(name));
    scene.look(EVERYTHING, true);
    scene.there.retain(|there| *there >= name(20));
    scene.look(EVERYTHING, true);
    let gone = scene.now;
    scene.now += REMEMBERED + SignedDuration::from_secs(1);
    let inline = name(1_990);
    scene.position.seen.remove(&inline);
    scene.position.gone.insert(inline.clone(), scene.now);
    let forgotten = |names: &[String]| Difference { forgotten: names.to_vec(), ..Difference::default() };
    // One that is there, one that was seen to be gone lately, and one that is gone for long, but not yet at that time.
    assert_eq!(scene.changed(forgotten(&[name(500), inline]), scene.now).names(), 2_000);
    assert_eq!(scene.changed(forgotten(&[name(3)]), gone).names(), 2_000);
    assert_eq!(scene.changed(forgotten(&[name(3)]), scene.now).names(), 1_999);
    // It came back while a listing was under way.
    let both = Difference { back: vec![name(3)], ..forgotten(&[name(3)]) };
    let position = scene.changed(both, scene.now);
    let seen = position.compare(
        &[&name(3)],
        Stretch { after: None, upto: Some(&name(3)), whole: false },
        &scene.files,
        scene.now,
    );
    assert_eq!((position.names(), seen.unwrap()), (2_000, Difference::default()));
}

/// A mark for a name that a run does not hold is somebody else's.
#[test]
fn marks_of_other_names_add_none() {
    let mut scene = Scene::new();
    scene.there.extend((0..1400).step_by(2).map(name));
    scene.look(EVERYTHING, true);
    let before = scene.position.names();
    let marks = Difference { back: vec![name(3)], missing: vec![name(5)], ..Difference::default() };
    assert_eq!(scene.changed(marks, scene.now).names(), before);
}

#[test]
fn many_names_make_few_runs_and_a_small_row() {
    let mut scene = Scene::new();
    for batch in 0..200 {
        scene.there.extend((batch * 500..(batch + 1) * 500).map(name));
        let after = name((batch * 500).saturating_sub(1));
        let after = (batch > 0).then_some(after.as_str());
        scene.look(Stretch { after, upto: None, whole: false }, true);
    }
    assert_eq!(scene.position.names(), 100_000);
    assert!(scene.position.runs.len() <= 10, "{}", scene.position.runs.len());
    let stored = StoredPosition::Folder(crate::state::FolderBeside {
        sha256: "0".repeat(64),
        runs: scene.position.runs.iter().map(|run| run.sha256.clone()).collect(),
    });
    assert!(serde_json::to_string(&stored).unwrap().len() < 1_000);
}

#[test]
fn a_listing_begins_a_little_before_the_newest_name() {
    let now: Timestamp = "2026-01-01T12:00:00Z".parse().unwrap();
    let mut position = FilesPosition::of("f");
    assert_eq!(position.listing_start("t", now), None);
    position.seen.extend(["a.txt".to_owned(), "zzz".to_owned(), "t_20260101_100000.txt".to_owned()]);
    assert_eq!(position.listing_start("t", now), Some("t_20260101_100000.txt"));
    position.seen.extend(
        ["t_20260101_115000.txt", "t_20260101_115500.txt", "t_20990101_000000.txt"].map(str::to_owned),
    );
    assert_eq!(
        position.listing_start("t", now),
        Some("t_20260101_100000.txt"),
        "a quarter of an hour, and one more"
    );
    position.seen.extend((0..200).map(|i| format!("t_20260101_1159{:02}.txt", i % 60)));
    position.seen.extend((0..60).map(|i| format!("t_20260101_1158{i:02}.txt")));
    assert_eq!(position.listing_start("t", now), Some("t_20260101_115819.txt"), "at most a hundred");
}
