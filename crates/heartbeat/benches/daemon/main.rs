//! The bars of `heartbeat run`, measured on this machine with the release binary: latency, idle cost, soak.
//!
//! `scripts/bench --daemon` runs it; docs/bars.md has the figures. Arguments choose the parts: `latency`, `idle`, `topics`, `soak`, `files` or
//! its parts `folders`, `here`, `store-latency`;
//! none is all. Kafka is the embedded broker, or a real one with `HEARTBEAT_TEST_KAFKA=host:port`. A bench prints; it never
//! fails because a machine is slow.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a bench stops at the first surprise and prints"
)]

mod bare;
mod files;
mod idle;
mod latency;
mod load;
mod soak;
#[path = "../../tests/it/support/mod.rs"]
#[allow(dead_code, reason = "shared with the tests, which use more of it")]
mod support;
mod topics;

use std::time::Duration;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    if topics::be_a_broker().await {
        return;
    }
    let wanted: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let wants = |part: &str| wanted.is_empty() || wanted.iter().any(|one| one == part);
    let broker = if std::env::var_os("HEARTBEAT_TEST_KAFKA").is_some() { "real" } else { "embedded" };
    let build = if cfg!(debug_assertions) { "debug" } else { "release" };
    println!("{build} build, {broker} broker");
    if wants("idle") {
        idle::hundred_sensors(seconds("HEARTBEAT_BENCH_IDLE", 60)).await;
        idle::start_over_ten_thousand_rows().await;
        idle::passes_that_write_nothing().await;
    }
    if wants("topics") {
        topics::on_real_brokers("HEARTBEAT_BENCH_CLUSTER", 10_000).await;
        topics::on_real_brokers("HEARTBEAT_BENCH_BROKER_ALONE", 5_000).await;
        for (topics, partitions) in [(100, 10), (1_000, 10), (10_000, 10), (33_334, 3)] {
            topics::on_the_stand_in(topics, partitions).await;
        }
    }
    if wants("files") {
        files::one_new_file_among_many().await;
    }
    if wants("files") || wants("folders") {
        files::ten_thousand_folders().await;
    }
    if wants("files") || wants("here") {
        files::here().await;
    }
    if wants("files") || wants("store-latency") {
        files::latency(seconds("HEARTBEAT_BENCH_LATENCY", 60)).await;
    }
    if wants("latency") {
        latency::thousand_sensors(seconds("HEARTBEAT_BENCH_LATENCY", 90)).await;
    }
    if wants("soak") {
        soak::thousand_sensors(seconds("HEARTBEAT_BENCH_SOAK", 360)).await;
    }
}

fn seconds(name: &str, usual: u64) -> Duration {
    let text = std::env::var(name).ok();
    Duration::from_secs(text.map_or(usual, |text| text.parse().unwrap()))
}
