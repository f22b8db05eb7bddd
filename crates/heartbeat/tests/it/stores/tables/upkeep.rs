//! Checkpoints and cleaning on a store.

use std::time::Duration;

use heartbeat_core::row::SensorRow;
use heartbeat_core::table::{Changes, Commit, Table as _};
use heartbeat_delta::Retention;
use jiff::{SignedDuration, Timestamp};
use rstest::rstest;

use super::{Server, sensor};

#[rstest]
#[case::s3_in_memory(Server::moto())]
#[case::second_s3(Server::second())]
#[case::azure(Server::azurite())]
#[tokio::test(flavor = "multi_thread")]
async fn what_is_old_goes_and_the_table_stays(#[case] server: Option<Server>) {
    let Some(server) = server else { return };
    let location = format!("{}/t", server.warehouse());
    let table = server.stores().place(&location).await.unwrap().table::<SensorRow>().unwrap();
    table.init().await.unwrap();
    let mut base = table.load().await.unwrap();
    for round in 0..55 {
        let row = sensor("a", &round.to_string());
        let changes = if round == 0 {
            Changes { insert: vec![row], ..Changes::default() }
        } else {
            Changes { update: vec![(0, row)], ..Changes::default() }
        };
        let Commit::Done(next) = table.commit(base, changes, "test").await.unwrap() else {
            panic!("a conflict")
        };
        base = next;
    }
    let keep = Retention { max_bytes: 0, max_entries: 0, every: Duration::ZERO, ..Retention::default() };
    let mut done = table.maintain(&keep, Timestamp::now()).await.unwrap();
    assert_eq!((done.log_files, done.data_files), (0, 0), "all is young");
    let later = |minutes| Timestamp::now() + SignedDuration::from_mins(minutes);
    done = table.maintain(&keep, later(11)).await.unwrap();
    assert!(done.log_files >= 50, "{done:?}");
    done = table.maintain(&keep, later(61)).await.unwrap();
    assert_eq!(done.data_files, 54, "{done:?}");
    let fresh = server.stores().place(&location).await.unwrap().table::<SensorRow>().unwrap();
    let read = fresh.load().await.unwrap();
    assert_eq!((read.version, read.rows), (55, vec![sensor("a", "54")]));
}
