//! A daemon's commits, one news after the other as fast as they go, with maintenance, in time that runs faster:
//! every age is divided by what the machine is faster than one news a second.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use deltalake_core::logstore::{StorageConfig, logstore_for};
use futures::stream::BoxStream;
use heartbeat_core::journal::{Entry, Journal as _};
use heartbeat_core::row::{ControlRow, SensorRow};
use heartbeat_core::table::{Changes, Commit, Record, Snapshot, Table as _};
use heartbeat_delta::{Backing, DeltaJournal, DeltaRecord, DeltaTable, JournalRetention, Retention};
use jiff::Timestamp;
use object_store::path::Path as StorePath;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result as StoreResult,
};
use url::Url;

type Failure = Box<dyn std::error::Error>;

const DAY: f64 = 86_400.0;

/// Makes `news` pieces of news: 4 sensor commits, 3 control commits, every fifth time an append to the journal.
#[expect(clippy::print_stdout, reason = "the figures are what this program is for")]
pub(crate) async fn run(news: u64, rows: u64) -> Result<(), Failure> {
    let directory = tempfile::tempdir()?;
    let sensors = Place::new(&directory.path().join("sensors"))?;
    let controls = Place::new(&directory.path().join("controls"))?;
    let journals = Place::new(&directory.path().join("journal"))?;
    let mut sensor = Busy::new(&sensors, (0..rows).map(|id| crate::row(id, 0)).collect()).await?;
    let mut control = Busy::new(&controls, (0..rows).map(|id| control_row(id, 0)).collect()).await?;
    let journal = DeltaJournal::with_store(&journals.url, journals.store())?;
    sensor.measure(&sensors, "sensors, new", |id| crate::row(id, 1)).await?;
    control.measure(&controls, "controls, new", |id| control_row(id, 1)).await?;

    // How fast it goes, to scale the ages by.
    let start = Instant::now();
    for id in 0..50 {
        one_news(&mut sensor, &mut control, id, 2).await?;
    }
    let faster = 50.0 / start.elapsed().as_secs_f64();
    let scaled = |age: Duration| age.div_f64(faster);
    let keep = |keep: Retention| Retention {
        max_age: scaled(keep.max_age),
        min_age: scaled(keep.min_age),
        min_log_age: scaled(keep.min_log_age),
        every: scaled(keep.every),
        ..keep
    };
    let journal_keep = JournalRetention {
        max_age: scaled(JournalRetention::default().max_age),
        versions: keep(JournalRetention::default().versions),
        ..JournalRetention::default()
    };
    let keep = keep(Retention::default());
    println!("one news takes {:.1} ms; ages are divided by {faster:.1}: {keep:?}", 1000.0 / faster);

    for place in [&sensors, &controls, &journals] {
        place.counter.reset();
    }
    let (mut commits, start, mut maintaining) = (0_u64, Instant::now(), Duration::ZERO);
    let mut longest = Duration::ZERO;
    for number in 0..news {
        let id = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % rows;
        one_news(&mut sensor, &mut control, id, 3 + number).await?;
        commits += 7;
        if number % 5 == 0 {
            let entries: Vec<Entry> = (0..25).map(|event| entry(id, number * 25 + event)).collect();
            journal.append(&entries).await?;
            commits += 1;
        }
        let begun = Instant::now();
        let now = Timestamp::now();
        sensor.table.maintain(&keep, now).await?;
        control.table.maintain(&keep, now).await?;
        journal.maintain(&journal_keep, now).await?;
        maintaining += begun.elapsed();
        longest = longest.max(begun.elapsed());
        if number % 1_000 == 999 {
            let kept = crate::bytes(directory.path())? / 1_000_000;
            println!("{commits} commits, {:.0?}: {kept} MB on disk", start.elapsed());
        }
    }
    println!(
        "{commits} commits in {:.0?}; maintenance {:.1} % of it, longest run {longest:.1?}",
        start.elapsed(),
        100.0 * maintaining.as_secs_f64() / start.elapsed().as_secs_f64()
    );
    let mut day = 0.0;
    for (name, place) in [("sensors", &sensors), ("controls", &controls), ("journal", &journals)] {
        let counter = &place.counter;
        let gigabytes =
            |counted: &AtomicU64| counted.load(Ordering::Relaxed) as f64 / news as f64 * DAY / 1e9;
        let parts = [&counter.data, &counter.entries, &counter.checkpoints].map(gigabytes);
        let (path, total) = (place.url.to_file_path().map_err(|()| "no path")?, parts.iter().sum::<f64>());
        println!(
            "{name}: a day writes {total:.2} GB (data {:.2}, entries {:.2}, checkpoints {:.2}); {} MB in {} files on disk",
            parts[0],
            parts[1],
            parts[2],
            crate::bytes(&path)? / 1_000_000,
            files(&path)?,
        );
        day += total;
    }
    println!("a day writes {day:.2} GB; on disk {} MB", crate::bytes(directory.path())? / 1_000_000);
    sensor.measure(&sensors, "sensors, after", |id| crate::row(id, news + 9)).await?;
    control.measure(&controls, "controls, after", |id| control_row(id, news + 9)).await?;
    Ok(())
}

async fn one_news(
    sensor: &mut Busy<SensorRow>,
    control: &mut Busy<ControlRow>,
    id: u64,
    round: u64,
) -> Result<(), Failure> {
    for step in 0..4 {
        sensor.commit(id, crate::row(id, round * 4 + step)).await?;
        if step > 0 {
            control.commit(id, control_row(id, round * 3 + step)).await?;
        }
    }
    Ok(())
}

/// A table that is committed to all the time, with the place of each row.
struct Busy<R: Record> {
    table: DeltaTable<R>,
    snapshot: Option<Snapshot<R, Backing>>,
}

impl<R: DeltaRecord> Busy<R> {
    async fn new(place: &Place, rows: Vec<R>) -> Result<Self, Failure> {
        let table = DeltaTable::with_store(&place.url, place.store())?;
        table.init().await?;
        let base = table.load().await?;
        let Commit::Done(snapshot) =
            table.commit(base, Changes { insert: rows, ..Changes::default() }, "fill").await?
        else {
            return Err("nobody else writes this table".into());
        };
        Ok(Self { table, snapshot: Some(snapshot) })
    }

    async fn commit(&mut self, id: u64, row: R) -> Result<Duration, Failure> {
        let snapshot = self.snapshot.take().ok_or("a commit failed")?;
        let key = key(&row);
        // Rows of files that are written anew move to the end, so the place is not the id.
        let guess = usize::try_from(id)?;
        let place = if snapshot.rows.get(guess).is_some_and(|row| self::key(row) == key) {
            guess
        } else {
            snapshot.rows.iter().position(|row| self::key(row) == key).ok_or("a row is gone")?
        };
        let start = Instant::now();
        let changes = Changes { update: vec![(place, row)], ..Changes::default() };
        match self.table.commit(snapshot, changes, "heartbeat S").await? {
            Commit::Done(next) => self.snapshot = Some(next),
            Commit::Conflict => return Err("nobody else writes this table".into()),
        }
        Ok(start.elapsed())
    }

    #[expect(clippy::print_stdout, reason = "the figures are what this program is for")]
    async fn measure(&mut self, place: &Place, name: &str, row: impl Fn(u64) -> R) -> Result<(), Failure> {
        let (mut opening, mut commits) = (Vec::new(), Vec::new());
        let rows = self.snapshot.as_ref().map_or(1, |snapshot| snapshot.rows.len() as u64);
        for _ in 0..9 {
            let fresh = DeltaTable::<R>::with_store(&place.url, place.store())?;
            let start = Instant::now();
            fresh.load().await?;
            opening.push(start.elapsed());
        }
        place.counter.reset();
        for id in 0..101 {
            commits.push(self.commit(id * 491 % rows, row(id * 491 % rows)).await?);
        }
        let (data, entries) =
            (place.counter.data.load(Ordering::Relaxed), place.counter.entries.load(Ordering::Relaxed));
        opening.sort();
        commits.sort();
        println!(
            "{name}: opening {:.0?}, one-row commit {:.1?} (medians); {} bytes of data and {} of log each",
            opening[4],
            commits[50],
            data / 101,
            entries / 101
        );
        Ok(())
    }
}

fn key<R: DeltaRecord>(row: &R) -> Option<&str> {
    let column = R::COLUMNS.iter().position(|column| column.name == "sensor_id")?;
    match row.cell(column) {
        heartbeat_delta::Cell::Text(text) => text.as_deref(),
        _ => None,
    }
}

fn control_row(id: u64, round: u64) -> ControlRow {
    let at = Timestamp::from_second(1_700_000_000 + (id + round) as i64).ok();
    ControlRow {
        sensor_source: Some("kafka".into()),
        sensor_id: Some(format!("product: topic_{id}")),
        sensor_read_type: Some("streaming".into()),
        asset_description: Some(format!("asset number {id}")),
        latest_event_fetched_timestamp: at,
        trigger_job_id: Some(format!("{}", 100_000_000_000_000 + id / 5)),
        trigger_job_name: Some(format!("job number {}", id / 5)),
        status: Some(["NEW_EVENT_AVAILABLE", "IN_PROGRESS", "COMPLETED"][(round % 3) as usize].into()),
        status_change_timestamp: at,
        job_start_timestamp: at,
        job_end_timestamp: at,
        job_state: Some("UNPAUSED".into()),
        dependency_flag: Some("TRUE".into()),
        ..ControlRow::default()
    }
}

fn entry(id: u64, number: u64) -> Entry {
    Entry {
        at: Timestamp::now(),
        event: ["detected", "claimed", "started", "run_state", "completed"][(number % 5) as usize].into(),
        sensor_source: Some("kafka".into()),
        sensor_id: Some(format!("product: topic_{id}")),
        trigger_job_id: Some(format!("{}", 100_000_000_000_000 + id / 5)),
        run_id: Some((number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 2) as i64),
        writer: "heartbeat run host-1 4711".into(),
        message: format!("run {number} of job {} was seen in another state", id / 5),
        detail: Some(format!("{{\"partitions\":{{\"0\":[{number},{}]}}}}", number + 7)),
    }
}

/// A directory whose writes are counted.
struct Place {
    url: Url,
    inner: Arc<dyn ObjectStore>,
    counter: Arc<Counter>,
}

impl Place {
    fn new(path: &Path) -> Result<Self, Failure> {
        std::fs::create_dir_all(path)?;
        let url = Url::from_directory_path(path).map_err(|()| "no URL for the directory")?;
        let inner = logstore_for(&url, StorageConfig::default())?.root_object_store(None);
        Ok(Self { url, inner, counter: Arc::default() })
    }

    fn store(&self) -> Arc<dyn ObjectStore> {
        Arc::new(Counting { inner: Arc::clone(&self.inner), counter: Arc::clone(&self.counter) })
    }
}

#[derive(Debug, Default)]
struct Counter {
    data: AtomicU64,
    entries: AtomicU64,
    checkpoints: AtomicU64,
}

impl Counter {
    fn reset(&self) {
        for counted in [&self.data, &self.entries, &self.checkpoints] {
            counted.store(0, Ordering::Relaxed);
        }
    }
}

#[derive(Debug)]
struct Counting {
    inner: Arc<dyn ObjectStore>,
    counter: Arc<Counter>,
}

impl std::fmt::Display for Counting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("counting")
    }
}

#[async_trait::async_trait]
impl ObjectStore for Counting {
    async fn put_opts(
        &self,
        path: &StorePath,
        bytes: PutPayload,
        options: PutOptions,
    ) -> StoreResult<PutResult> {
        let counted = match path.as_ref() {
            path if path.contains("checkpoint") => &self.counter.checkpoints,
            path if path.contains("_delta_log/") => &self.counter.entries,
            _ => &self.counter.data,
        };
        counted.fetch_add(bytes.content_length() as u64, Ordering::Relaxed);
        self.inner.put_opts(path, bytes, options).await
    }

    async fn put_multipart_opts(
        &self,
        path: &StorePath,
        options: PutMultipartOptions,
    ) -> StoreResult<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &StorePath, options: GetOptions) -> StoreResult<GetResult> {
        self.inner.get_opts(path, options).await
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, StoreResult<StorePath>>,
    ) -> BoxStream<'static, StoreResult<StorePath>> {
        self.inner.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&StorePath>) -> BoxStream<'static, StoreResult<ObjectMeta>> {
        self.inner.list(prefix)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&StorePath>,
        offset: &StorePath,
    ) -> BoxStream<'static, StoreResult<ObjectMeta>> {
        self.inner.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&StorePath>) -> StoreResult<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &StorePath, to: &StorePath, options: CopyOptions) -> StoreResult<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

fn files(directory: &Path) -> std::io::Result<usize> {
    let mut total = 0;
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        total += if entry.metadata()?.is_dir() { files(&entry.path())? } else { 1 };
    }
    Ok(total)
}
