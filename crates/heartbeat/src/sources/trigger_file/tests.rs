use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use rstest::rstest;
use tempfile::TempDir;

use super::*;

struct Folder {
    base: TempDir,
}

impl Folder {
    fn new() -> Self {
        let base = tempfile::tempdir().unwrap();
        fs::create_dir(base.path().join("my_trigger")).unwrap();
        Self { base }
    }

    fn put(&self, path: &str) {
        let path = self.base.path().join("my_trigger").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "Success").unwrap();
    }

    fn look(&self, since: Since) -> Result<Finding, SourceError> {
        self.look_at("my_trigger", since)
    }

    fn look_at(&self, name: &str, since: Since) -> Result<Finding, SourceError> {
        let ask = Ask { asset: Asset::Folder { name: name.into() }, since };
        answer(self.base.path(), &ask, Instant::now() + Duration::from_mins(1))
    }
}

fn names(finding: &Finding) -> Vec<&str> {
    match &finding.news {
        Some(Manifest::Files(files)) => files.iter().map(|file| file.path.as_str()).collect(),
        _ => Vec::new(),
    }
}

fn then(finding: Finding) -> Since {
    Since::Position(finding.position)
}

#[test]
fn every_new_path_is_news_once_however_it_sorts() {
    let folder = Folder::new();
    folder.put("my_trigger_20260102_000000.txt");
    let first = folder.look(Since::Beginning).unwrap();
    assert_eq!(names(&first), ["my_trigger_20260102_000000.txt"]);
    let idle = folder.look(then(first)).unwrap();
    assert_eq!(idle.news, None);
    folder.put("my_trigger_20260101_000000.txt");
    folder.put("odd name.csv");
    folder.put("2026/late.txt");
    let late = folder.look(then(idle)).unwrap();
    assert_eq!(names(&late), ["2026/late.txt", "my_trigger_20260101_000000.txt", "odd name.csv"]);
    folder.put("odd name.csv");
    assert_eq!(folder.look(then(late)).unwrap().news, None, "an overwritten file is not new");
}

#[test]
fn empty_file_is_news_and_carries_its_size() {
    let folder = Folder::new();
    fs::write(folder.base.path().join("my_trigger/a.txt"), "").unwrap();
    let Some(Manifest::Files(files)) = folder.look(Since::Beginning).unwrap().news else {
        panic!("news expected")
    };
    assert_eq!(files[0].size, 0);
    assert!(files[0].modified.is_some());
}

#[rstest]
#[case(".hidden")]
#[case("_SUCCESS")]
#[case("a.tmp")]
#[case("a.TMP")]
#[case("_delta_log/0.json")]
#[case(".spark/part")]
fn never_news(#[case] path: &str) {
    let folder = Folder::new();
    folder.put(path);
    assert_eq!(folder.look(Since::Beginning).unwrap().news, None);
    assert!(!is_trigger(path));
}

#[test]
fn file_that_has_gone_is_forgotten_and_news_when_made_again() {
    let folder = Folder::new();
    folder.put("a.txt");
    let first = folder.look(Since::Beginning).unwrap();
    fs::remove_file(folder.base.path().join("my_trigger/a.txt")).unwrap();
    let gone = folder.look(then(first)).unwrap();
    assert_eq!(gone.news, None);
    let Position::Files(position) = &gone.position else { panic!("files expected") };
    assert_eq!(position.seen, BTreeSet::new());
    folder.put("a.txt");
    assert_eq!(names(&folder.look(then(gone)).unwrap()), ["a.txt"]);
}

#[test]
fn since_a_time_and_since_now() {
    let folder = Folder::new();
    folder.put("a.txt");
    let before = Timestamp::now() - jiff::SignedDuration::from_hours(1);
    let after = Timestamp::now() + jiff::SignedDuration::from_hours(1);
    assert_eq!(names(&folder.look(Since::Time(before)).unwrap()), ["a.txt"]);
    let later = folder.look(Since::Time(after)).unwrap();
    assert_eq!(later.news, None);
    assert_eq!(folder.look(then(later)).unwrap().news, None);
    let now = folder.look(Since::Now).unwrap();
    assert_eq!(now.news, None);
    assert_eq!(folder.look(then(now)).unwrap().news, None);
}

#[test]
fn moved_folder_is_looked_at_from_its_beginning() {
    let (old, new) = (Folder::new(), Folder::new());
    old.put("a.txt");
    new.put("a.txt");
    let moved = new.look(then(old.look(Since::Beginning).unwrap())).unwrap();
    assert_eq!(names(&moved), ["a.txt"]);
    assert!(moved.remarks[0].contains("moved"));
}

#[test]
fn missing_folder_and_file_in_its_place_are_errors_of_the_row() {
    let folder = Folder::new();
    folder.put("a.txt");
    assert!(matches!(folder.look_at("other", Since::Beginning), Err(SourceError::NotFound { .. })));
    assert!(matches!(
        folder.look_at("my_trigger/a.txt", Since::Beginning),
        Err(SourceError::NotFound { .. })
    ));
}

#[test]
fn file_that_cannot_be_looked_at_yet_is_not_taken_for_seen() {
    let folder = Folder::new();
    folder.put("a.txt");
    let first = folder.look(Since::Beginning).unwrap();
    let late = folder.base.path().join("my_trigger/late.txt");
    std::os::unix::fs::symlink(folder.base.path().join("elsewhere"), &late).unwrap();
    let dangling = folder.look(then(first)).unwrap();
    assert_eq!(dangling.news, None);
    fs::write(folder.base.path().join("elsewhere"), "Success").unwrap();
    assert_eq!(names(&folder.look(then(dangling)).unwrap()), ["late.txt"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_folder_gets_its_own_answer() {
    let folder = Folder::new();
    folder.put("a.txt");
    let source = TriggerFileSource::new(folder.base.path().to_str().unwrap());
    let ask = |name: &str| Ask { asset: Asset::Folder { name: name.into() }, since: Since::Beginning };
    let asks: Arc<[Ask]> =
        (0..40).map(|number| ask(if number % 2 == 0 { "my_trigger" } else { "none" })).collect();
    let answers = source.look(&asks, Instant::now() + Duration::from_mins(1)).await;
    assert!(
        answers
            .iter()
            .step_by(2)
            .all(|answer| matches!(answer, Ok(Answer::Found(found)) if names(found) == ["a.txt"]))
    );
    assert!(
        answers.iter().skip(1).step_by(2).all(|answer| matches!(answer, Err(SourceError::NotFound { .. })))
    );
}
