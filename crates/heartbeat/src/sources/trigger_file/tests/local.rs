use std::fs;

use jiff::Timestamp;
use rstest::rstest;
use tempfile::TempDir;

use super::*;

struct Folder {
    base: TempDir,
    source: TriggerFileSource,
}

fn source(base: &std::path::Path, change: impl FnOnce(&mut TriggerFiles)) -> TriggerFileSource {
    let mut config = TriggerFiles::at(Location::parse(base.to_str().unwrap()).unwrap());
    change(&mut config);
    TriggerFileSource::new(&config, &Arc::new(Secrets::default()), Arc::new(MemoryRuns::default()))
}

impl Folder {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut TriggerFiles)) -> Self {
        let base = tempfile::tempdir().unwrap();
        fs::create_dir(base.path().join("my_trigger")).unwrap();
        let source = source(base.path(), change);
        Self { base, source }
    }

    fn put(&self, path: &str) {
        self.write(path, "Success");
    }

    fn write(&self, path: &str, body: &str) {
        let path = self.base.path().join("my_trigger").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, body).unwrap();
    }

    async fn look(&self, since: Since) -> Finding {
        match self.answer("my_trigger", since.clone()).await.unwrap() {
            Answer::Found(found) => *found,
            Answer::Same => match since {
                Since::Position(position) => Finding::at(position),
                other => panic!("{other:?} stands nowhere"),
            },
        }
    }

    async fn answer(&self, name: &str, since: Since) -> Result<Answer, SourceError> {
        let asks: Arc<[Ask]> = [ask(name, since)].into();
        self.source.look(&asks, soon()).await.remove(0)
    }
}

#[tokio::test]
async fn every_new_path_is_news_once_however_it_sorts() {
    let folder = Folder::new();
    folder.put("my_trigger_20260102_000000.txt");
    let first = folder.look(Since::Beginning).await;
    assert_eq!(names(&first), ["my_trigger_20260102_000000.txt"]);
    let idle = folder.look(then(first)).await;
    assert_eq!(idle.news, None);
    folder.put("my_trigger_20260101_000000.txt");
    folder.put("odd name.csv");
    folder.put("2026/late.txt");
    let late = folder.look(then(idle)).await;
    assert_eq!(names(&late), ["2026/late.txt", "my_trigger_20260101_000000.txt", "odd name.csv"]);
    folder.put("odd name.csv");
    assert_eq!(folder.look(then(late)).await.news, None, "an overwritten file is not new");
}

#[tokio::test]
async fn empty_file_is_news_and_carries_its_size() {
    let folder = Folder::new();
    folder.write("a.txt", "");
    let Some(Manifest::Files(files)) = folder.look(Since::Beginning).await.news else {
        panic!("news expected")
    };
    assert_eq!(files[0].size, 0);
    assert!(files[0].modified.is_some());
}

#[rstest]
#[case(".hidden")]
#[case("_SUCCESS")]
#[case("a.tmp")]
#[case("_delta_log/0.json")]
#[case(".spark/part")]
#[tokio::test]
async fn never_news(#[case] path: &str) {
    let folder = Folder::new();
    folder.put(path);
    assert_eq!(folder.look(Since::Beginning).await.news, None);
}

#[tokio::test]
async fn file_that_is_deleted_and_made_again_is_no_news() {
    let folder = Folder::new();
    folder.put("a.txt");
    let first = folder.look(Since::Beginning).await;
    fs::remove_file(folder.base.path().join("my_trigger/a.txt")).unwrap();
    let gone = folder.look(then(first)).await;
    assert_eq!(gone.news, None);
    let Position::Files(position) = &gone.position else { panic!("files expected") };
    assert!(position.seen.is_empty() && position.gone.contains_key("a.txt"));
    folder.put("a.txt");
    let again = folder.look(then(gone)).await;
    assert_eq!(again.news, None);
    let Position::Files(position) = &again.position else { panic!("files expected") };
    assert!(position.seen.contains("a.txt") && position.gone.is_empty());
}

#[tokio::test]
async fn since_a_time_and_since_now() {
    let folder = Folder::new();
    folder.put("a.txt");
    let before = Timestamp::now() - SignedDuration::from_hours(1);
    let after = Timestamp::now() + SignedDuration::from_hours(1);
    assert_eq!(names(&folder.look(Since::Time(before)).await), ["a.txt"]);
    let later = folder.look(Since::Time(after)).await;
    assert_eq!(later.news, None);
    assert_eq!(folder.look(then(later)).await.news, None);
    let now = folder.look(Since::Now).await;
    assert_eq!(now.news, None);
    assert_eq!(folder.look(then(now)).await.news, None);
}

#[tokio::test]
async fn moved_folder_is_looked_at_from_its_beginning() {
    let (old, new) = (Folder::new(), Folder::new());
    old.put("a.txt");
    new.put("a.txt");
    let moved = new.look(then(old.look(Since::Beginning).await)).await;
    assert_eq!(names(&moved), ["a.txt"]);
    assert!(moved.remarks[0].contains("moved"));
}

#[tokio::test]
async fn missing_folder_and_file_in_its_place_are_errors_of_the_row() {
    let folder = Folder::new();
    folder.put("a.txt");
    for name in ["other", "my_trigger/a.txt"] {
        let answer = folder.answer(name, Since::Beginning).await;
        assert!(matches!(answer, Err(SourceError::NotFound { .. })), "{answer:?}");
    }
}

#[tokio::test]
async fn file_that_cannot_be_looked_at_yet_is_not_taken_for_seen() {
    let folder = Folder::new();
    folder.put("a.txt");
    let first = folder.look(Since::Beginning).await;
    let late = folder.base.path().join("my_trigger/late.txt");
    std::os::unix::fs::symlink(folder.base.path().join("elsewhere"), &late).unwrap();
    let dangling = folder.look(then(first)).await;
    assert_eq!(dangling.news, None);
    fs::write(folder.base.path().join("elsewhere"), "Success").unwrap();
    assert_eq!(names(&folder.look(then(dangling)).await), ["late.txt"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_folder_gets_its_own_answer() {
    let folder = Folder::new();
    folder.put("a.txt");
    let of = |number| ask(if number % 2 == 0 { "my_trigger" } else { "none" }, Since::Beginning);
    let asks: Arc<[Ask]> = (0..40).map(of).collect();
    let answers = folder.source.look(&asks, soon()).await;
    for (index, answer) in answers.iter().enumerate() {
        match answer {
            Ok(Answer::Found(found)) if index % 2 == 0 => assert_eq!(names(found), ["a.txt"]),
            Err(SourceError::NotFound { .. }) if index % 2 == 1 => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn only_names_of_the_pattern_count() {
    let pattern = "<sensor_id>_YYYYmmdd_HHMMSS.txt";
    let folder = Folder::with(|config| {
        config.pattern = Some(heartbeat_core::files::NamePattern::parse(pattern).unwrap());
    });
    for path in ["my_trigger_20260102_000000.txt", "my_trigger.txt", "other_20260102_000000.txt"] {
        folder.put(path);
    }
    assert_eq!(names(&folder.look(Since::Beginning).await), ["my_trigger_20260102_000000.txt"]);
}

#[tokio::test]
async fn existing_and_old_files_are_no_news_where_it_is_so_configured() {
    let folder = Folder::with(|config| config.include_existing = false);
    folder.put("a.txt");
    let first = folder.look(Since::Beginning).await;
    assert!(first.news.is_none() && first.keep);
    folder.put("b.txt");
    assert_eq!(names(&folder.look(then(first)).await), ["b.txt"]);

    let folder = Folder::with(|config| config.max_file_age = Some(Duration::from_hours(1)));
    folder.put("old.txt");
    folder.put("new.txt");
    let old = std::time::SystemTime::now() - Duration::from_hours(2);
    let file = fs::File::options().write(true).open(folder.base.path().join("my_trigger/old.txt")).unwrap();
    file.set_modified(old).unwrap();
    let first = folder.look(Since::Beginning).await;
    assert_eq!(names(&first), ["new.txt"]);
    assert!(first.remarks[0].contains("max_file_age"), "{:?}", first.remarks);
    assert_eq!(folder.look(then(first)).await.news, None, "it is seen all the same");
}

#[tokio::test]
async fn a_folder_that_many_jobs_wait_for_is_probed_once() {
    let folder = Folder::with(|_| {});
    folder.put("a.txt");
    let asks: Vec<Ask> = (0..50).map(|_| ask("my_trigger", Since::Now)).collect();
    let probed = folder.source.probe(&asks, soon()).await;
    assert!(probed.len() == 50 && probed.iter().all(|probed| matches!(probed, Ok(None))), "{probed:?}");
}

#[tokio::test]
async fn unsigned_files_and_those_of_strangers_start_nothing() {
    let key = Secret::new("key");
    let folder = Folder::with(|config| {
        // The key is being changed: files of the one before still start something.
        let keys = [Secret::new("new"), key.clone()];
        config.trust = TriggerTrust::Signed(keys.map(SecretRef::Literal).to_vec());
    });
    folder.put("a.txt");
    folder.write("b.txt", &trust::signed(&key, "my_trigger", "b.txt"));
    folder.write("c.txt", &trust::signed(&key, "my_trigger", "b.txt"));
    folder.write("d/b.txt", &trust::signed(&key, "my_trigger", "b.txt"));
    let first = folder.look(Since::Beginning).await;
    assert_eq!(names(&first), ["b.txt"]);
    assert!(first.remarks[0].contains("a.txt starts nothing: it is not signed"), "{:?}", first.remarks);
    assert!(
        first.remarks[1].contains("c.txt starts nothing: its signature is not of"),
        "{:?}",
        first.remarks
    );
    assert_eq!(folder.look(then(first)).await.news, None);

    let folder = Folder::with(|config| config.trust = TriggerTrust::Owners(["4294967294".to_owned()].into()));
    folder.put("a.txt");
    let first = folder.look(Since::Beginning).await;
    assert_eq!(first.news, None);
    assert!(first.remarks[0].contains("not in `allowed_owners`"), "{:?}", first.remarks);
}

#[tokio::test]
async fn an_empty_key_signs_nothing() {
    let folder = Folder::with(|config| {
        config.trust = TriggerTrust::Signed(vec![SecretRef::Literal(Secret::new(""))]);
    });
    folder.write("a.txt", &trust::signed(&Secret::new(""), "my_trigger", "a.txt"));
    let error = folder.answer("my_trigger", Since::Beginning).await.unwrap_err();
    assert!(error.to_string().contains("signing_key"), "{error}");
}

/// What was passed over at the first look is not told of again and again.
#[tokio::test]
async fn files_that_start_nothing_are_remembered_too() {
    let folder = Folder::with(|config| config.trust = TriggerTrust::Owners(["4294967294".to_owned()].into()));
    folder.put("a.txt");
    let first = folder.look(Since::Beginning).await;
    assert!(first.news.is_none() && first.keep && first.remarks.len() == 1);
    assert!(folder.look(then(first)).await.remarks.is_empty());
}

#[tokio::test]
async fn an_odd_entry_silences_no_folder() {
    let folder = Folder::new();
    folder.put("a.txt");
    let link = folder.base.path().join("my_trigger/loop");
    std::os::unix::fs::symlink(&link, &link).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        folder.base.path().join("my_trigger/pipe"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RWXU,
        0,
    )
    .unwrap();
    assert_eq!(names(&folder.look(Since::Beginning).await), ["a.txt"]);
}

#[tokio::test]
async fn large_folders_are_read_in_parts_and_nothing_is_missed() {
    let folder = Folder::new();
    let limits = Limits { inline: 20, stretch: 30, ..Limits::default() };
    let folder = Folder { source: folder.source.with_limits(limits).patient(), ..folder };
    for number in 0..200 {
        folder.put(&format!("n{number:03}"));
    }
    let first = folder.look(Since::Beginning).await;
    assert_eq!(names(&first).len(), 200);
    let Position::Files(position) = &first.position else { panic!("files expected") };
    assert!(position.seen.len() <= 20 && position.runs.len() == 1);
    let (mut since, mut found) = (then(first), Vec::new());
    for name in ["n999", "n0005", "late/n"] {
        folder.put(name);
        // The next full listing is not due yet; here it is.
        folder.source.folders().get_mut("my_trigger").unwrap().large = Large::default();
        let look = folder.look(since).await;
        found.extend(names(&look).into_iter().map(str::to_owned));
        since = then(look);
    }
    assert_eq!(found, ["n999", "n0005", "late/n"]);
}

/// What the system is asked is not seen from here; what a change would do is.
#[tokio::test]
async fn a_directory_that_has_not_changed_is_not_read() {
    let folder = Folder::new();
    folder.put("a.txt");
    let mut since = then(folder.look(Since::Beginning).await);
    // Directories that changed a moment ago are read again.
    let quiet = |folder: &Folder| folder.source.folders()["my_trigger"].quiet.is_some();
    since = then(folder.look(since).await);
    assert!(quiet(&folder));
    let asks: Arc<[Ask]> = [ask("my_trigger", since.clone())].into();
    let stands = |folder: &Folder| {
        let folders = folder.source.folders();
        folders["my_trigger"].quiet.as_ref().unwrap().directories.stand(folder.base.path())
    };
    assert!(!stands(&folder), "it changed less than a moment ago");
    folder.source.folders().get_mut("my_trigger").unwrap().quiet.as_mut().unwrap().directories.tell();
    assert!(stands(&folder));
    folder.put("b.txt");
    assert!(!stands(&folder));
    let found = folder.source.look(&asks, soon()).await.remove(0).unwrap();
    assert!(matches!(found, Answer::Found(found) if names(&found) == ["b.txt"]));
}
