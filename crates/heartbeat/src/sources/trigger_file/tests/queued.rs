//! Looks that a queue tells of files, one thing at a time.

use heartbeat_core::source::Absent;
use jiff::Timestamp;
use serde_json::json;

use super::*;

struct Bucket {
    store: Arc<Store>,
    queue: Arc<Queue>,
    source: TriggerFileSource,
}

const NOW: &str = "2026-03-01T12:00:00Z";

impl Bucket {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut TriggerFiles)) -> Self {
        let store = Arc::new(Store::Memory(MemoryStore::new(Order::ByPath, 1000)));
        let queue = MemoryQueue::new(0, 5);
        queue.behave();
        let queue = Arc::new(Queue::Memory(queue));
        let mut config = TriggerFiles::at(Location::parse("s3://bucket/base").unwrap());
        change(&mut config);
        let source =
            TriggerFileSource::new(&config, &Arc::new(Secrets::default()), Arc::new(MemoryRuns::default()))
                .on(Arc::clone(&store))
                .told_by(Arc::clone(&queue));
        let bucket = Self { store, queue, source };
        bucket.pass(0);
        bucket
    }

    fn store(&self) -> &MemoryStore {
        memory(&self.store)
    }

    fn queue(&self) -> &MemoryQueue {
        messages(&self.queue)
    }

    fn pass(&self, ticks: u64) {
        let now = NOW.parse().unwrap();
        self.queue().tick(ticks, now);
        self.store().set_now(now);
    }

    fn put(&self, path: &str) {
        self.store().put(path, "Success");
        self.tell(path, NOW);
    }

    fn tell(&self, path: &str, time: &str) {
        let event = json!({"Records": [{
            "eventName": "ObjectCreated:Put", "eventTime": time,
            "s3": {"bucket": {"name": "bucket"}, "object": {"key": format!("base/{path}"), "size": 7}},
        }]});
        self.queue().send(event.to_string(), 0);
    }

    fn requests(&self) -> u64 {
        self.store.traffic().requests
    }

    async fn look(&self, since: Since) -> Result<Answer, SourceError> {
        let asks: Arc<[Ask]> = [ask("s", since)].into();
        self.source.look(&asks, soon()).await.remove(0)
    }

    async fn found(&self, since: Since) -> Finding {
        match self.look(since).await.unwrap() {
            Answer::Found(found) => *found,
            Answer::Same => panic!("news expected"),
        }
    }
}

#[tokio::test]
async fn after_the_first_look_files_are_found_without_a_listing_and_then_deleted_from_the_queue() {
    let bucket = Bucket::new();
    bucket.put("s/1");
    let first = bucket.found(Since::Beginning).await;
    assert_eq!((names(&first), bucket.requests()), (vec!["1"], 1));
    let since = then(first);
    assert_eq!(bucket.look(since.clone()).await.unwrap(), Answer::Same);
    assert_eq!(bucket.queue().len(), 0);
    bucket.put("s/2");
    let second = bucket.found(since).await;
    assert_eq!((names(&second), bucket.queue().len()), (vec!["2"], 1), "it is not committed yet");
    let since = then(second);
    bucket.tell("s/2", NOW);
    bucket.tell("s/1", NOW);
    assert_eq!(bucket.look(since).await.unwrap(), Answer::Same);
    assert_eq!((bucket.queue().len(), bucket.requests()), (0, 1));
}

#[tokio::test]
async fn a_row_that_is_away_keeps_the_message() {
    let bucket = Bucket::new();
    bucket.put("s/0");
    let old = then(bucket.found(Since::Beginning).await);
    bucket.put("s/1");
    let new = then(bucket.found(old.clone()).await);
    let away = |since: Option<Since>| {
        let asset = Asset::Folder { name: "s".to_owned() };
        bucket.source.absent(&[Absent { asset, since }].into());
    };
    for since in [None, Some(old.clone())] {
        away(since);
        assert_eq!(bucket.look(new.clone()).await.unwrap(), Answer::Same);
        assert_eq!(bucket.queue().len(), 1, "`0` is gone, `1` stays");
    }
    away(Some(new.clone()));
    assert_eq!(bucket.look(new).await.unwrap(), Answer::Same);
    assert_eq!(bucket.queue().len(), 0);
}

#[tokio::test]
async fn without_the_right_to_list_a_row_begins_empty_and_lives_by_messages() {
    let bucket = Bucket::new();
    bucket.store().forbid_listing(true);
    bucket.store().put("s/old", "Success");
    let first = bucket.found(Since::Beginning).await;
    assert!(first.news.is_none() && first.keep);
    assert!(first.remarks[0].contains("s3:ListBucket"), "{:?}", first.remarks);
    let since = then(first);
    assert_eq!(bucket.look(since.clone()).await.unwrap(), Answer::Same);
    bucket.put("s/new");
    assert_eq!(names(&bucket.found(since).await), ["new"]);
    let asks: Arc<[Ask]> = [ask("s", Since::Now)].into();
    let probed = bucket.source.probe(&asks, soon()).await.remove(0).unwrap().unwrap();
    assert!(probed.contains("may not be listed"), "{probed}");
    bucket.source.reach(soon()).await.unwrap();
}

#[tokio::test]
async fn while_the_queue_cannot_be_read_folders_are_listed_and_where_they_may_not_be_it_is_an_error() {
    let bucket = Bucket::new();
    bucket.store().put("s/0", "Success");
    let since = then(bucket.found(Since::Beginning).await);
    bucket.queue().fail(true);
    bucket.store().put("s/1", "Success");
    let since = then(bucket.found(since).await);
    bucket.store().forbid_listing(true);
    bucket.store().put("s/2", "Success");
    assert!(matches!(bucket.look(since.clone()).await, Err(SourceError::Unreachable { .. })));
    assert!(matches!(bucket.look(Since::Beginning).await, Err(SourceError::Unreachable { .. })));
    bucket.queue().fail(false);
    bucket.tell("s/2", NOW);
    assert_eq!(names(&bucket.found(since).await), ["2"]);
}

/// The name of a file that has gone is forgotten in the end; a message may live for longer.
#[tokio::test]
async fn an_old_message_of_a_file_that_has_gone_is_no_news() {
    let bucket = Bucket::new();
    bucket.store().put("s/0", "Success");
    let since = then(bucket.found(Since::Beginning).await);
    bucket.tell("s/gone", "2026-02-22T00:00:00Z");
    assert_eq!(bucket.look(since.clone()).await.unwrap(), Answer::Same);
    assert_eq!(bucket.look(since.clone()).await.unwrap(), Answer::Same);
    assert_eq!(bucket.queue().len(), 0);
    bucket.store().put("s/late", "Success");
    bucket.tell("s/late", "2026-02-22T00:00:00Z");
    assert_eq!(names(&bucket.found(since).await), ["late"]);
}

#[tokio::test]
async fn what_counts_in_a_listing_counts_in_a_message() {
    let bucket = Bucket::with(|config| {
        config.pattern = Some(heartbeat_core::files::NamePattern::parse("*.txt").unwrap());
        config.max_file_age = Some(Duration::from_hours(1));
    });
    bucket.put("s/0.txt");
    let since = then(bucket.found(Since::Beginning).await);
    for path in ["s/1.csv", "s/_2.txt", "s/3.tmp", "s/"] {
        bucket.put(path);
    }
    bucket.tell("s/old.txt", "2026-03-01T10:00:00Z");
    let found = bucket.found(since).await;
    assert_eq!(found.news, None);
    assert!(found.remarks[0].contains("max_file_age"), "{:?}", found.remarks);
    let since = then(found);
    bucket.put("s/sub folder/4.txt");
    let found = bucket.found(since).await;
    let Some(Manifest::Files(files)) = &found.news else { panic!("{found:?}") };
    assert_eq!((files[0].path.as_str(), files[0].size), ("sub folder/4.txt", 7));
    assert_eq!(files[0].modified, Some(NOW.parse::<Timestamp>().unwrap()));
}

#[tokio::test]
async fn whose_a_file_is_is_asked_of_the_store_and_signatures_are_read() {
    let bucket = Bucket::with(|config| config.trust = TriggerTrust::Owners(["me".to_owned()].into()));
    bucket.store().put("s/0", "Success");
    let since = then(bucket.found(Since::Beginning).await);
    bucket.put("s/1");
    let found = bucket.found(since.clone()).await;
    assert!(found.remarks[0].contains("does not tell its owner"), "{:?}", found.remarks);
    // Without the right to list nobody can tell whose it is.
    bucket.store().forbid_listing(true);
    let refused = bucket.look(since).await;
    assert!(matches!(refused, Err(SourceError::NotAllowed { .. })), "{refused:?}");
}

#[tokio::test]
async fn a_signed_file_that_is_gone_before_it_is_read_is_no_news_and_its_message_goes() {
    let key = Secret::new("key");
    let bucket = Bucket::with(|config| {
        config.trust = TriggerTrust::Signed(vec![SecretRef::Literal(key.clone())]);
    });
    bucket.store().put("s/0", trust::signed(&key, "s", "0"));
    let since = then(bucket.found(Since::Beginning).await);
    bucket.tell("s/gone", NOW);
    assert_eq!(bucket.look(since.clone()).await.unwrap(), Answer::Same);
    bucket.store().put("s/1", trust::signed(&key, "s", "1"));
    bucket.store().put("s/2", "Success");
    bucket.tell("s/1", NOW);
    bucket.tell("s/2", NOW);
    let found = bucket.found(since).await;
    assert_eq!(names(&found), ["1"]);
    assert!(found.remarks[0].contains("2 starts nothing: it is not signed"), "{:?}", found.remarks);
    assert_eq!(bucket.look(then(found)).await.unwrap(), Answer::Same);
    assert_eq!(bucket.queue().len(), 0);
}

/// As long as names are remembered a message of a file that has gone is old news; after that the store is asked.
#[tokio::test]
async fn a_file_that_is_made_again_after_a_week_is_news_if_it_is_there() {
    let bucket = Bucket::new();
    bucket.store().put("s/0", "Success");
    let Position::Files(mut position) = bucket.found(Since::Beginning).await.position else { panic!() };
    position.gone.insert("again".to_owned(), "2026-02-20T00:00:00Z".parse().unwrap());
    position.gone.insert("lately".to_owned(), "2026-02-28T00:00:00Z".parse().unwrap());
    let since = Since::Position(Position::Files(position));
    bucket.tell("s/lately", NOW);
    bucket.tell("s/again", NOW);
    bucket.source.told().make_due();
    let found = bucket.found(since).await;
    assert_eq!(names(&found), [""; 0], "a listing shows that they are not there, and one is forgotten");
    let since = Since::Position(found.position);
    bucket.put("s/lately");
    bucket.put("s/again");
    assert_eq!(names(&bucket.found(since).await), ["again"]);
}
