//! What tables of 50,000 rows cost: `cargo run --release -p heartbeat-delta --example bench`. With `endure [NEWS [ROWS]]`:
//! what they cost after a time of one news a second, and what a day of it writes and keeps.

mod endure;

use std::path::Path;
use std::time::Instant;

use heartbeat_core::row::SensorRow;
use heartbeat_core::table::{Changes, Commit, Table};
use heartbeat_delta::DeltaTable;

const ROWS: u64 = 50_000;

#[tokio::main]
#[expect(clippy::print_stdout, reason = "the figures are what this program is for")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some("endure") {
        let news = arguments.next().map_or(Ok(14_300), |news| news.parse())?;
        let rows = arguments.next().map_or(Ok(ROWS), |rows| rows.parse())?;
        return endure::run(news, rows).await;
    }
    let directory = tempfile::tempdir()?;
    let url = url::Url::from_directory_path(directory.path()).map_err(|()| "no URL for the directory")?;
    DeltaTable::<SensorRow>::create(&url).await?;
    let table = DeltaTable::<SensorRow>::new(&url)?;
    let base = table.load().await?;
    let start = Instant::now();
    let insert = (0..ROWS).map(|id| row(id, 0)).collect();
    let Commit::Done(mut snapshot) =
        table.commit(base, Changes { insert, ..Changes::default() }, "fill").await?
    else {
        return Err("nobody else writes this table".into());
    };
    println!("insert {ROWS} rows: {:?}", start.elapsed());
    println!(
        "files: {}, bytes: {}",
        std::fs::read_dir(directory.path())?.count() - 1,
        bytes(directory.path())?
    );

    for _ in 0..3 {
        let fresh = DeltaTable::<SensorRow>::new(&url)?;
        let start = Instant::now();
        fresh.load().await?;
        let cold = start.elapsed();
        let start = Instant::now();
        fresh.load().await?;
        println!("load: {cold:?}; again, unchanged: {:?}", start.elapsed());
    }
    for round in 1..=5 {
        let before = bytes(directory.path())?;
        let start = Instant::now();
        let changes = Changes { update: vec![(100, row(100_000, round))], ..Changes::default() };
        let Commit::Done(next) = table.commit(snapshot, changes, "update").await? else {
            return Err("nobody else writes this table".into());
        };
        snapshot = next;
        println!("one-row commit: {:?}, {} bytes", start.elapsed(), bytes(directory.path())? - before);
    }
    let reader = DeltaTable::<SensorRow>::new(&url)?;
    reader.load().await?;
    let changes = Changes { update: vec![(100, row(100_001, 9))], ..Changes::default() };
    let Commit::Done(_) = table.commit(snapshot, changes, "update").await? else {
        return Err("nobody else writes this table".into());
    };
    let start = Instant::now();
    reader.load().await?;
    println!("load after somebody else's one-row commit: {:?}", start.elapsed());
    Ok(())
}

/// A row as large as a sensor with a claim.
pub(crate) fn row(id: u64, round: u64) -> SensorRow {
    let digest: Vec<String> = (1..5)
        .map(|part| format!("{:016x}", (id * part + round).wrapping_mul(0x9e37_79b9_7f4a_7c15)))
        .collect();
    let digest = digest.concat();
    let value = format!(
        "{{\"version\":1,\"source\":{{\"cluster\":\"lkc-1a2b3c\",\"topic\":\"{id}\"}},\"accounted\":{{\"0\":{id},\"1\":{round}}},\
         \"acquired\":{{\"0\":{id},\"1\":{round}}},\"news\":{round},\"news_done\":{round},\
         \"claim\":{{\"token\":\"{digest}\",\"attempt\":1,\"state\":\"done\"}}}}"
    );
    SensorRow {
        sensor_id: Some(format!("product__topic_{id}_{}", id / 5)),
        assets: Some(vec![format!("asset_{id}")]),
        status: Some("PROCESSED_NEW_DATA".into()),
        status_change_timestamp: jiff::Timestamp::from_second(1_700_000_000 + id as i64).ok(),
        upstream_key: Some("heartbeat/1".into()),
        upstream_value: Some(value),
        ..SensorRow::default()
    }
}

pub(crate) fn bytes(directory: &Path) -> std::io::Result<u64> {
    let mut total = 0;
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        total += if metadata.is_dir() { bytes(&entry.path())? } else { metadata.len() };
    }
    Ok(total)
}
