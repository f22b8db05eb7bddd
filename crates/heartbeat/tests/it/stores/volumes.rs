//! Volumes and DBFS against the stand-in, which the official SDK is held against too (`jobs/sdk.rs`).

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use heartbeat::jobs::Domain;
use heartbeat::jobs_api::{
    Fault as Mishap, FaultKind, FaultTarget, FilesConfig, StandIn, StandInConfig, StandInHandle, StatusFault,
};
use heartbeat::secrets::Secrets;
use heartbeat::stores::{Created, Fault, LONGEST_BODY, Listing, Order, Page, Start, Store, StoreError};
use heartbeat_core::acon::StorageOptions;
use heartbeat_core::location::Location;
use heartbeat_core::secret::{Secret, SecretRef};
use rstest::rstest;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Volume,
    Dbfs,
}
use Kind::{Dbfs, Volume};

/// A workspace with the folder `triggers` in a volume or in DBFS.
struct Place {
    kind: Kind,
    stand_in: StandInHandle,
    served: tempfile::TempDir,
}

impl Place {
    async fn new(kind: Kind) -> Self {
        let served = tempfile::tempdir().unwrap();
        let token = Some(heartbeat::jobs::Token::parse("good-token").unwrap());
        let files = Some(FilesConfig::of(served.path()));
        let stand_in =
            StandIn::start(StandInConfig { token, files, ..StandInConfig::default() }).await.unwrap();
        let place = Self { kind, stand_in, served };
        std::fs::create_dir_all(place.folder()).unwrap();
        place
    }

    fn root(&self) -> PathBuf {
        self.served.path().join(if self.kind == Volume { "Volumes/c/s/v" } else { "dbfs" })
    }

    fn folder(&self) -> PathBuf {
        self.root().join("triggers")
    }

    /// Puts files into the folder without asking the workspace.
    fn put(&self, paths: impl IntoIterator<Item = impl AsRef<str>>) {
        for path in paths {
            let path = self.folder().join(path.as_ref());
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "Success").unwrap();
        }
    }

    async fn store_at(&self, location: &str, token: &str) -> Store {
        let token = SecretRef::Literal(Secret::new(token));
        let domain = Domain::parse(&self.stand_in.url()).unwrap();
        let secrets = Arc::new(Secrets::of(&domain, Some(&token)));
        let location = Location::parse(location).unwrap();
        Store::open(&location, &StorageOptions::default(), &secrets).await.unwrap()
    }

    async fn store(&self) -> Store {
        self.store_at(self.url(), "good-token").await
    }

    fn url(&self) -> &'static str {
        if self.kind == Volume { "dbfs:/Volumes/c/s/v/triggers" } else { "dbfs:/triggers" }
    }

    fn target(&self) -> FaultTarget {
        if self.kind == Volume { FaultTarget::Files } else { FaultTarget::Dbfs }
    }

    fn inject(&self, kind: FaultKind, times: u32) {
        self.stand_in.inject(Mishap { times, ..Mishap::once(self.target(), kind) });
    }

    fn calls(&self) -> u64 {
        self.stand_in.count(if self.kind == Volume { "files" } else { "dbfs" })
    }
}

fn status(code: u16) -> FaultKind {
    FaultKind::Status(StatusFault { code, body: None, headers: [].into() })
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(30)
}

async fn page(store: &Store, prefix: &str, start: Start<'_>, limit: usize) -> Result<Page, StoreError> {
    store.list(&Listing { prefix, start, limit }, soon()).await
}

/// All pages.
async fn pages(store: &Store, prefix: &str, limit: usize) -> Vec<Page> {
    let mut pages = vec![page(store, prefix, Start::Beginning, limit).await.unwrap()];
    while let Some(next) = pages.last().and_then(|page| page.next.clone()) {
        pages.push(page(store, prefix, Start::Token(&next), limit).await.unwrap());
    }
    pages
}

/// All paths, sorted.
async fn paths(store: &Store, prefix: &str) -> Vec<String> {
    let pages = pages(store, prefix, 1000).await;
    let mut paths: Vec<_> = pages.into_iter().flat_map(|page| page.files).map(|file| file.path).collect();
    paths.sort();
    paths
}

async fn create(store: &Store, path: &str, body: &'static str) -> Result<Created, StoreError> {
    store.create(path, Bytes::from_static(body.as_bytes()), soon()).await
}

async fn read(store: &Store, path: &str) -> Option<Bytes> {
    store.read(path, soon()).await.unwrap()
}

#[rstest]
#[case(Volume)]
#[case(Dbfs)]
#[tokio::test]
async fn a_file_is_created_once_read_listed_and_deleted(#[case] kind: Kind) {
    let place = Place::new(kind).await;
    let store = place.store().await;
    assert_eq!((store.order(), store.url("a/b")), (Order::None, format!("{}/a/b", place.url())));
    assert_eq!(create(&store, "s/deep/er/f.txt", "Success").await.unwrap(), Created::Done);
    assert_eq!(create(&store, "s/deep/er/f.txt", "other").await.unwrap(), Created::Taken);
    assert_eq!(read(&store, "s/deep/er/f.txt").await.unwrap(), "Success");
    assert_eq!(create(&store, "s/empty", "").await.unwrap(), Created::Done);
    assert_eq!(read(&store, "s/empty").await.unwrap(), "");
    let long = Bytes::from(vec![b'x'; LONGEST_BODY + 1]);
    store.create("s/long", long, soon()).await.unwrap();
    assert_eq!(read(&store, "s/long").await.unwrap().len(), LONGEST_BODY);
    let files: Vec<_> = pages(&store, "", 1000).await.into_iter().flat_map(|page| page.files).collect();
    let found = files.iter().find(|file| file.path == "s/deep/er/f.txt").unwrap();
    let age = found.modified.unwrap().duration_until(jiff::Timestamp::now());
    assert!(found.size == 7 && age.as_secs().abs() < 60, "{found:?}");
    for _ in 0..2 {
        store.delete("s/deep/er/f.txt", soon()).await.unwrap();
    }
    assert_eq!(read(&store, "s/deep/er/f.txt").await, None);
    assert_eq!(paths(&store, "").await, ["s/empty", "s/long"]);
    place.stand_in.stop().await;
}

#[rstest]
#[case(Volume)]
#[case(Dbfs)]
#[tokio::test]
async fn names_are_taken_as_they_are(#[case] kind: Kind) {
    let place = Place::new(kind).await;
    let store = place.store().await;
    let odd = ["a b", "%41", "#?&=+", "é ü/😀 x", "a%2Fb", "..a", "quote\"'\\", "tilde~;:@,$"];
    for name in odd {
        assert_eq!(create(&store, name, "Success").await.unwrap(), Created::Done, "{name}");
        assert_eq!(read(&store, name).await.unwrap(), "Success", "{name}");
    }
    let mut expected = odd.to_vec();
    expected.sort_unstable();
    assert_eq!(paths(&store, "").await, expected);
    assert_eq!(paths(&store, "é ü/").await, ["é ü/😀 x"]);
    assert!(place.folder().join("a%2Fb").is_file());
    for name in odd {
        store.delete(name, soon()).await.unwrap();
    }
    assert_eq!(paths(&store, "").await, [""; 0]);
    for path in ["../up", "a//b", "a/./b", "/a"] {
        let refused = create(&store, path, "x").await.unwrap_err();
        assert!(matches!(refused.fault, Fault::Misconfigured(_)), "{refused}");
    }
    place.stand_in.stop().await;
}

#[rstest]
#[case(Volume, 2)]
#[case(Dbfs, 1)]
#[tokio::test]
async fn a_large_folder_comes_in_as_many_requests_as_it_has_pages(#[case] kind: Kind, #[case] requests: u64) {
    let place = Place::new(kind).await;
    let names: Vec<String> = (0..1200).map(|number| format!("f{number:04}")).collect();
    place.put(&names);
    let store = place.store().await;
    assert_eq!(paths(&store, "").await, names);
    let traffic = store.traffic();
    assert_eq!((traffic.requests, place.calls()), (requests, requests));
    assert!(traffic.received > 1200 * 20);
    let few = pages(&store, "f000", 7).await;
    assert_eq!(few.iter().map(|page| page.files.len()).sum::<usize>(), 10);
    assert_eq!(few.len(), if kind == Volume { 1200_usize.div_ceil(7) } else { 1 });
    place.stand_in.stop().await;
}

#[rstest]
#[case(Volume)]
#[case(Dbfs)]
#[tokio::test]
async fn folders_are_listed_one_by_one_and_only_those_that_can_count(#[case] kind: Kind) {
    let place = Place::new(kind).await;
    place.put([
        "s/1",
        "s/a/2",
        "s/a/b/3",
        "s/x.tmp/4",
        "s/_hidden/5",
        "s/.git/6",
        "s/_SUCCESS",
        "t/7",
        "s2/8",
    ]);
    let store = place.store().await;
    let within = ["s/1", "s/_SUCCESS", "s/a/2", "s/a/b/3", "s/x.tmp/4"];
    assert_eq!(paths(&store, "s/").await, within);
    // `s`, `s/a`, `s/a/b` and `s/x.tmp`.
    assert_eq!(place.calls(), 4);
    assert_eq!(paths(&store, "s/a").await, ["s/a/2", "s/a/b/3"]);
    assert_eq!(place.calls(), 7);
    assert_eq!(paths(&store, "s").await, [&within[..], &["s2/8"]].concat());
    let first = page(&store, "s/", Start::Beginning, 1000).await.unwrap();
    assert!(first.now.unwrap().duration_until(jiff::Timestamp::now()).as_secs().abs() < 60);
    place.stand_in.stop().await;
}

#[rstest]
#[case(Volume)]
#[case(Dbfs)]
#[tokio::test]
async fn a_folder_must_be_there_and_one_below_may_go(#[case] kind: Kind) {
    let place = Place::new(kind).await;
    let store = place.store().await;
    let missing = page(&store, "none/", Start::Beginning, 10).await.unwrap_err();
    assert!(matches!(missing.fault, Fault::Missing), "{missing}");
    assert!(missing.to_string().starts_with(&format!("folder `{}/none", place.url())), "{missing}");
    place.put(["s/a/1", "s/b/2", "file"]);
    let no_folder = page(&store, "file/", Start::Beginning, 10).await.unwrap_err();
    assert!(matches!(no_folder.fault, Fault::Missing), "{no_folder}");
    let first = page(&store, "s/", Start::Beginning, 10).await.unwrap();
    std::fs::remove_dir_all(place.folder().join("s/a")).unwrap();
    let mut next = first.next;
    let mut found = first.files;
    while let Some(token) = next {
        let page = page(&store, "s/", Start::Token(&token), 10).await.unwrap();
        next = page.next;
        found.extend(page.files);
    }
    let found: Vec<_> = found.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(found, ["s/b/2"]);
    place.stand_in.stop().await;
}

#[tokio::test]
async fn a_volume_that_is_not_there_is_named_and_the_root_of_one_is_a_folder() {
    let place = Place::new(Volume).await;
    let none = place.store_at("/Volumes/c/s/none/x", "good-token").await;
    let missing = create(&none, "f", "x").await.unwrap_err();
    assert!(matches!(missing.fault, Fault::Missing) && missing.what == "volume `c.s.none`", "{missing}");
    let root = place.store_at("/Volumes/c/s/v", "good-token").await;
    assert_eq!(create(&root, "f", "x").await.unwrap(), Created::Done);
    assert_eq!(paths(&root, "").await, ["f"]);
    place.put(["in_the_way"]);
    let blocked = create(&root, "triggers/in_the_way/f", "x").await.unwrap_err();
    assert!(blocked.to_string().contains("a file is where the folder must be"), "{blocked}");
    place.stand_in.stop().await;
}

#[tokio::test]
async fn the_root_of_dbfs_is_a_folder() {
    let place = Place::new(Dbfs).await;
    place.put(["1"]);
    let root = place.store_at("dbfs:/", "good-token").await;
    assert_eq!(create(&root, "f", "x").await.unwrap(), Created::Done);
    assert_eq!(read(&root, "f").await.unwrap(), "x");
    assert_eq!((root.url("f"), paths(&root, "").await.len()), ("dbfs:/f".to_owned(), 2));
    place.stand_in.stop().await;
}

#[rstest]
#[case(Volume)]
#[case(Dbfs)]
#[tokio::test]
async fn a_wrong_token_and_a_missing_right_are_told_apart(#[case] kind: Kind) {
    let place = Place::new(kind).await;
    let stranger = place.store_at(place.url(), "wrong-token").await;
    let refused = page(&stranger, "", Start::Beginning, 10).await.unwrap_err();
    assert!(matches!(refused.fault, Fault::Credentials(_)) && refused.doubts_credentials(), "{refused}");
    assert!(!format!("{refused} {stranger:?}").contains("wrong-token"));
    let store = place.store().await;
    place.inject(status(403), 3);
    let refused = [
        page(&store, "", Start::Beginning, 10).await.unwrap_err(),
        create(&store, "f", "x").await.unwrap_err(),
        store.delete("f", soon()).await.unwrap_err(),
    ];
    let needs = if kind == Volume {
        ["READ VOLUME on volume `c.s.v`", "WRITE VOLUME on volume `c.s.v`", "WRITE VOLUME"]
    } else {
        ["the right to use DBFS"; 3]
    };
    for (refused, need) in refused.iter().zip(needs) {
        assert!(matches!(refused.fault, Fault::Forbidden { .. }), "{refused}");
        let told = refused.to_string();
        assert!(told.contains(need) && told.contains("PERMISSION_DENIED"), "{told}");
    }
    // A token that is refused as if it had run out, and that nobody replaced.
    place.inject(status(401), 1);
    let refused = page(&store, "", Start::Beginning, 10).await.unwrap_err();
    assert!(matches!(refused.fault, Fault::Credentials(_)), "{refused}");
    place.stand_in.stop().await;
}

#[rstest]
#[case::busy(status(429), 2)]
#[case::unavailable(status(503), 1)]
#[case::answer_lost(FaultKind::DropAfter, 1)]
#[case::never_arrived(FaultKind::DropBefore, 1)]
#[tokio::test]
async fn a_fault_on_the_way_is_asked_again(
    #[values(Volume, Dbfs)] kind: Kind,
    #[case] fault: FaultKind,
    #[case] times: u32,
) {
    let place = Place::new(kind).await;
    place.put(["f"]);
    let store = place.store().await;
    place.inject(fault, times);
    assert_eq!(paths(&store, "").await, ["f"]);
    assert_eq!((store.traffic().requests, place.calls()), (u64::from(times) + 1, u64::from(times) + 1));
    place.stand_in.stop().await;
}

#[rstest]
#[case(Volume)]
#[case(Dbfs)]
#[tokio::test]
async fn a_lost_answer_to_a_create_leaves_doubt_only_where_something_is_there(#[case] kind: Kind) {
    let place = Place::new(kind).await;
    let store = place.store().await;
    place.inject(FaultKind::DropAfter, 1);
    let doubt = create(&store, "lost", "x").await.unwrap_err();
    assert!(matches!(doubt.fault, Fault::InDoubt), "{doubt}");
    assert_eq!(read(&store, "lost").await.unwrap(), "x");
    place.inject(FaultKind::DropBefore, 1);
    assert_eq!(create(&store, "fine", "x").await.unwrap(), Created::Done);
    // Refused before it did anything: whatever is there is not ours.
    place.inject(status(429), 1);
    assert_eq!(create(&store, "fine", "x").await.unwrap(), Created::Taken);
    place.stand_in.stop().await;
}

#[tokio::test]
async fn doubt_survives_the_making_of_a_folder() {
    let place = Place::new(Volume).await;
    let store = place.store().await;
    // The file, its folder, and the file once more, whose answer is lost.
    place.inject(FaultKind::Delay(Duration::ZERO), 2);
    place.inject(FaultKind::DropAfter, 1);
    let doubt = create(&store, "new/lost", "x").await.unwrap_err();
    assert!(matches!(doubt.fault, Fault::InDoubt), "{doubt}");
    place.stand_in.stop().await;
}

#[rstest]
#[case::login_page(FaultKind::Html)]
#[case::redirect(FaultKind::Redirect)]
#[tokio::test]
async fn what_is_not_the_api_is_never_taken_for_success(
    #[values(Volume, Dbfs)] kind: Kind,
    #[case] fault: FaultKind,
) {
    let place = Place::new(kind).await;
    let store = place.store().await;
    place.inject(fault, 3);
    let refused = create(&store, "f", "x").await.unwrap_err();
    assert!(refused.to_string().contains("check the domain"), "{refused}");
    assert!(store.delete("f", soon()).await.is_err());
    assert!(page(&store, "", Start::Beginning, 10).await.is_err());
    assert_eq!(paths(&store, "").await, [""; 0]);
    place.stand_in.stop().await;
}

#[tokio::test]
async fn of_many_that_create_one_file_one_does() {
    for kind in [Volume, Dbfs] {
        let place = Place::new(kind).await;
        let store = Arc::new(place.store().await);
        let tries = (0..16).map(|_| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { create(&store, "new/f", "x").await.unwrap() })
        });
        let mut done = 0;
        for attempt in tries.collect::<Vec<_>>() {
            done += usize::from(attempt.await.unwrap() == Created::Done);
        }
        assert_eq!(done, 1);
        place.stand_in.stop().await;
    }
}

#[tokio::test]
async fn a_workspace_without_files_is_told_from_a_folder_that_is_missing() {
    let workspace = StandIn::start(StandInConfig::default()).await.unwrap();
    let domain = Domain::parse(&workspace.url()).unwrap();
    let token = SecretRef::Literal(Secret::new("t"));
    let secrets = Arc::new(Secrets::of(&domain, Some(&token)));
    for location in ["/Volumes/c/s/v", "dbfs:/x"] {
        let location = Location::parse(location).unwrap();
        let store = Store::open(&location, &StorageOptions::default(), &secrets).await.unwrap();
        let refused = page(&store, "", Start::Beginning, 10).await.unwrap_err();
        assert!(matches!(refused.fault, Fault::Misconfigured(_)), "{refused}");
    }
    workspace.stop().await;
}

/// The environment belongs to a process, so the test starts itself once more with another.
#[tokio::test]
async fn without_an_acon_the_environment_or_a_profile_names_the_workspace() {
    const INNER: &str = "HEARTBEAT_TEST_WITHOUT_ACON";
    if let Some(name) = std::env::var_os(INNER) {
        let location = Location::parse("/Volumes/c/s/v/triggers").unwrap();
        let secrets = Arc::new(Secrets::default());
        let store = Store::open(&location, &StorageOptions::default(), &secrets).await.unwrap();
        assert_eq!(create(&store, name.to_str().unwrap(), "x").await.unwrap(), Created::Done);
        return;
    }
    let place = Place::new(Volume).await;
    let (host, profiles) = (place.stand_in.url(), place.served.path().join("profiles"));
    std::fs::write(&profiles, format!("[p]\nhost = {host}/?o=1\ntoken = good-token\n")).unwrap();
    let profiles = profiles.display().to_string();
    let environments = [
        ("host", [("DATABRICKS_HOST", host.as_str()), ("DATABRICKS_TOKEN", "good-token")]),
        ("profile", [("DATABRICKS_CONFIG_FILE", &profiles), ("DATABRICKS_CONFIG_PROFILE", "p")]),
    ];
    for (name, environment) in environments {
        let this = "stores::volumes::without_an_acon_the_environment_or_a_profile_names_the_workspace";
        let run = tokio::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", this])
            .env_clear()
            .envs(environment)
            .env(INNER, name)
            .output();
        let run = run.await.unwrap();
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stdout));
        assert!(place.folder().join(name).is_file());
    }
    place.stand_in.stop().await;
}
