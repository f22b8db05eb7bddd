//! A store in memory whose clock the test sets, and in which something can happen between two calls of ours.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use futures::future::BoxFuture;
use futures::stream::{BoxStream, StreamExt as _};
use heartbeat_core::row::SensorRow;
use heartbeat_delta::{DeltaBlobs, DeltaJournal, DeltaTable, Init};
use jiff::{SignedDuration, Timestamp};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt as _, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result as StoreResult,
};
use serde_json::Value;
use url::Url;

/// What happens once, before or after the file is written.
type Meanwhile = (When, Path, BoxFuture<'static, ()>);

#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    Before,
    After,
}

pub(crate) struct ClockStore {
    inner: InMemory,
    /// Milliseconds since 1970.
    now: AtomicI64,
    written: Mutex<HashMap<Path, i64>>,
    meanwhile: Mutex<Option<Meanwhile>>,
    pub(crate) reads: AtomicUsize,
    pub(crate) listings: AtomicUsize,
}

impl ClockStore {
    /// An empty store, in 2200: the kernel forgets removals that lie a week back by the machine's clock.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            inner: InMemory::new(),
            now: AtomicI64::new(7_258_118_400_000),
            written: Mutex::default(),
            meanwhile: Mutex::default(),
            reads: AtomicUsize::new(0),
            listings: AtomicUsize::new(0),
        })
    }

    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::from_millisecond(self.now.load(Ordering::SeqCst)).unwrap()
    }

    pub(crate) fn pass(&self, time: SignedDuration) {
        self.now.fetch_add(i64::try_from(time.as_millis()).unwrap(), Ordering::SeqCst);
    }

    /// Lets something happen when this file is about to be written.
    pub(crate) fn before_writing(&self, path: &str, what: impl Future<Output = ()> + Send + 'static) {
        *self.meanwhile.lock().unwrap() = Some((When::Before, Path::from(path), Box::pin(what)));
    }

    /// Lets something happen when this file was written, before its writer learns of it.
    pub(crate) fn after_writing(&self, path: &str, what: impl Future<Output = ()> + Send + 'static) {
        *self.meanwhile.lock().unwrap() = Some((When::After, Path::from(path), Box::pin(what)));
    }

    /// The sensor table of the store, as a process of its own knows it.
    pub(crate) fn sensors(self: &Arc<Self>) -> DeltaTable<SensorRow> {
        let store = Arc::clone(self);
        let table = DeltaTable::with_store(&url(), Arc::<Self>::clone(self)).unwrap();
        table.with_clock(move || store.now())
    }

    /// The journal of the store, as a process of its own knows it.
    pub(crate) fn journal(self: &Arc<Self>) -> DeltaJournal {
        let store = Arc::clone(self);
        let journal = DeltaJournal::with_store(&url(), Arc::<Self>::clone(self)).unwrap();
        journal.with_clock(move || store.now())
    }

    /// The files beside the table.
    pub(crate) fn blobs(self: &Arc<Self>) -> DeltaBlobs {
        DeltaBlobs::with_store(&url(), Arc::<Self>::clone(self)).unwrap()
    }

    /// Makes the sensor table, with properties.
    pub(crate) async fn create_sensors(self: &Arc<Self>, properties: &[(&str, &str)]) {
        assert_eq!(self.sensors().init().await.unwrap(), Init::Created);
        let entry = "_delta_log/00000000000000000000.json";
        let lines: Vec<String> = String::from_utf8(self.read(entry).await)
            .unwrap()
            .lines()
            .map(|line| {
                let mut action: Value = serde_json::from_str(line).unwrap();
                for (key, value) in properties {
                    if action.get("metaData").is_some() {
                        action["metaData"]["configuration"][*key] = (*value).into();
                    }
                    if *key == "delta.enableChangeDataFeed" && action.get("protocol").is_some() {
                        action["protocol"]["minWriterVersion"] = 4.into();
                    }
                }
                action.to_string()
            })
            .collect();
        self.write(entry, lines.join("\n").into_bytes()).await;
    }

    /// A file of the table.
    pub(crate) async fn read(&self, name: &str) -> Vec<u8> {
        let path = Path::from(format!("table/{name}"));
        self.inner.get(&path).await.unwrap().bytes().await.unwrap().into()
    }

    /// Writes a file of the table.
    pub(crate) async fn write(&self, name: &str, bytes: Vec<u8>) {
        let path = Path::from(format!("table/{name}"));
        self.put_opts(&path, bytes.into(), PutOptions::default()).await.unwrap();
    }

    /// Names of all files, below the table.
    pub(crate) async fn names(&self) -> Vec<String> {
        let listed: Vec<_> = self.inner.list(Some(&Path::from("table"))).collect().await;
        let mut names: Vec<String> = listed
            .into_iter()
            .map(|meta| meta.unwrap().location.as_ref().trim_start_matches("table/").to_owned())
            .collect();
        names.sort();
        names
    }

    /// Removes a file of the table.
    pub(crate) async fn remove(&self, name: &str) {
        self.inner.delete(&Path::from(format!("table/{name}"))).await.unwrap();
    }

    fn stamp(&self, mut meta: ObjectMeta) -> ObjectMeta {
        if let Some(written) = self.written.lock().unwrap().get(&meta.location) {
            let since_epoch = Duration::from_millis(u64::try_from(*written).unwrap());
            meta.last_modified = (SystemTime::UNIX_EPOCH + since_epoch).into();
        }
        meta
    }

    fn take(&self, when: When, path: &Path) -> Option<BoxFuture<'static, ()>> {
        let mut meanwhile = self.meanwhile.lock().unwrap();
        meanwhile.take_if(|(at, wanted, _)| *at == when && wanted == path).map(|(_, _, what)| what)
    }
}

/// Where the table is.
fn url() -> Url {
    Url::parse("memory:///table").unwrap()
}

impl std::fmt::Debug for ClockStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ClockStore")
    }
}

impl std::fmt::Display for ClockStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ClockStore")
    }
}

#[async_trait::async_trait]
impl ObjectStore for ClockStore {
    async fn put_opts(&self, path: &Path, bytes: PutPayload, options: PutOptions) -> StoreResult<PutResult> {
        if let Some(what) = self.take(When::Before, path) {
            what.await;
        }
        let done = self.inner.put_opts(path, bytes, options).await?;
        self.written.lock().unwrap().insert(path.clone(), self.now.load(Ordering::SeqCst));
        if let Some(what) = self.take(When::After, path) {
            what.await;
        }
        Ok(done)
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> StoreResult<Box<dyn MultipartUpload>> {
        self.written.lock().unwrap().insert(path.clone(), self.now.load(Ordering::SeqCst));
        self.inner.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> StoreResult<GetResult> {
        if !options.head {
            self.reads.fetch_add(1, Ordering::SeqCst);
        }
        let mut got = self.inner.get_opts(path, options).await?;
        got.meta = self.stamp(got.meta);
        Ok(got)
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, StoreResult<Path>>,
    ) -> BoxStream<'static, StoreResult<Path>> {
        self.inner.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, StoreResult<ObjectMeta>> {
        self.listings.fetch_add(1, Ordering::SeqCst);
        let listed: Vec<_> = futures::executor::block_on(
            self.inner.list(prefix).map(|meta| meta.map(|m| self.stamp(m))).collect(),
        );
        futures::stream::iter(listed).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> StoreResult<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> StoreResult<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
