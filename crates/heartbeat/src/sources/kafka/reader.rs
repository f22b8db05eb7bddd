//! Runs scans on a cluster: fetches from the leaders, finds them again when they move, continues behind gaps.

use std::collections::HashMap;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use futures::future::join_all;

use super::Isolation;
use super::cluster::{Cluster, pause, remaining};
use super::error::{ClientError, Code, PartitionError};
use super::fetch::{FETCH, build_fetch, fetch_version, judge_fetch};
use super::line::Line;
use super::offsets::{At, Question};
use super::scan::{Scan, State, pick};

const ROUNDS: u32 = 4;

/// Decides all scans, or as many as the deadline allows. None is [`State::Open`] afterwards.
pub(super) async fn decide(
    cluster: &mut Cluster,
    scans: &mut [Scan<'_>],
    isolation: Isolation,
    deadline: Instant,
) {
    for round in 1..=ROUNDS {
        run_leaders(cluster, scans, isolation, deadline).await;
        find_starts_again(cluster, scans, deadline).await;
        let strays: HashSet<&str> = scans
            .iter()
            .filter(|scan| matches!(scan.state, State::Stray(_)))
            .map(|scan| scan.topic)
            .collect();
        if !strays.is_empty() && round < ROUNDS && pause(round, deadline).await {
            let strays: Vec<&str> = strays.into_iter().collect();
            if cluster.refresh(&strays, deadline).await.is_ok() {
                for scan in scans.iter_mut().filter(|scan| matches!(scan.state, State::Stray(_))) {
                    scan.state = State::Open;
                }
            }
        }
        if !scans.iter().any(Scan::is_open) {
            break;
        }
    }
    for scan in scans {
        match &scan.state {
            State::Open | State::OutOfRange => scan.state = State::OutOfTime,
            State::Stray(error) => scan.state = State::Failed(error.clone()),
            _ => {}
        }
    }
}

async fn run_leaders(cluster: &mut Cluster, scans: &mut [Scan<'_>], isolation: Isolation, deadline: Instant) {
    let mut by_leader: HashMap<Arc<str>, Vec<(usize, i32)>> = HashMap::new();
    for (index, scan) in scans.iter_mut().enumerate().filter(|(_, scan)| scan.is_open()) {
        match cluster.leader(scan.topic, scan.partition) {
            Ok(leader) if leader.topic_id != scan.topic_id => {
                let problem = "the topic was made again just now".to_owned();
                scan.state = State::Failed(PartitionError::Doubtful(problem));
            }
            Ok(leader) => by_leader.entry(leader.address).or_default().push((index, leader.epoch)),
            Err(PartitionError::Code(code)) => scan.state = State::Failed(PartitionError::Code(code)),
            Err(error) => scan.state = State::Stray(error),
        }
    }
    let mut running = Vec::new();
    for (address, members) in by_leader {
        let (indices, epochs): (Vec<_>, Vec<_>) = members.into_iter().unzip();
        let own: Vec<_> = indices.iter().map(|index| scans[*index].clone()).collect();
        // A leader whose disk hangs must leave time for the others, and for those who wait for the cluster.
        let until = cluster.patience(&address, deadline);
        let line = cluster.lend(&address);
        running.push(async move {
            let (line, own) = run_leader(line, own, &epochs, isolation, until).await;
            (line, indices, own)
        });
    }
    for (line, indices, own) in join_all(running).await {
        cluster.give_back(line);
        for (index, scan) in indices.into_iter().zip(own) {
            scans[index] = scan;
        }
    }
}

async fn run_leader<'a>(
    mut line: Line,
    mut scans: Vec<Scan<'a>>,
    epochs: &[i32],
    isolation: Isolation,
    deadline: Instant,
) -> (Line, Vec<Scan<'a>>) {
    loop {
        let picked = pick(&scans);
        let Some(&first) = picked.first() else {
            return (line, scans);
        };
        let wait = scans[first].empty_answers();
        if remaining(deadline).is_zero() || (wait > 0 && !pause(wait, deadline).await) {
            end_open(&mut scans, &State::OutOfTime);
            return (line, scans);
        }
        match fetch(&mut line, &scans, &picked, epochs, deadline).await {
            Ok(answers) => {
                for (index, answer) in picked.into_iter().zip(answers) {
                    scans[index].take(answer, isolation);
                }
            }
            Err(ClientError::Timeout { .. }) => end_open(&mut scans, &State::OutOfTime),
            Err(error) => {
                tracing::debug!(address = line.address(), %error, "no records");
                let error = PartitionError::Client(Arc::new(error));
                let passing = error.is_passing();
                let state = if passing { State::Stray(error) } else { State::Failed(error) };
                end_open(&mut scans, &state);
            }
        }
    }
}

async fn fetch(
    line: &mut Line,
    scans: &[Scan<'_>],
    picked: &[usize],
    epochs: &[i32],
    deadline: Instant,
) -> Result<Vec<Result<super::fetch::Fetched, Code>>, ClientError> {
    let stretches: Vec<_> = picked.iter().map(|index| scans[*index].stretch(epochs[*index])).collect();
    let isolation = scans[picked[0]].fetch_isolation();
    let ours = super::connection::Supported { max: fetch_version(FETCH.max, &stretches), ..FETCH };
    let (answer, version) = line.call(ours, deadline, |_| build_fetch(&stretches, isolation)).await?;
    line.throttle(answer.throttle_time_ms);
    judge_fetch(&stretches, version, answer).map_err(|problem| line.bad(problem))
}

/// Retention or DeleteRecords has passed the cursor: what is left begins at the earliest offset.
async fn find_starts_again(cluster: &mut Cluster, scans: &mut [Scan<'_>], deadline: Instant) {
    let lost: Vec<usize> =
        (0..scans.len()).filter(|index| matches!(scans[*index].state, State::OutOfRange)).collect();
    if lost.is_empty() {
        return;
    }
    let questions: Vec<_> = lost
        .iter()
        .map(|index| {
            let scan = &scans[*index];
            Question { topic: scan.topic, partition: scan.partition, at: At::Earliest }
        })
        .collect();
    for (index, answer) in lost.into_iter().zip(cluster.list_offsets(&questions, deadline).await) {
        match answer {
            Ok(earliest) => scans[index].continue_from(earliest.map_or(0, |told| told.offset)),
            Err(error) => scans[index].state = State::Failed(error),
        }
    }
}

fn end_open(scans: &mut [Scan<'_>], state: &State) {
    for scan in scans.iter_mut().filter(|scan| scan.is_open()) {
        scan.state = state.clone();
    }
}
