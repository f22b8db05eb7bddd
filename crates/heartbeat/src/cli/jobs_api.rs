//! `heartbeat jobs-api`.

use anyhow::{Context, Result};
use serde_json::json;

use super::{Outcome, Session, args};
use crate::jobs_api::{FilesConfig, StandIn, StandInConfig};

pub(super) async fn run(session: &Session, args: args::JobsApi) -> Result<Outcome> {
    let mut config = match &args.jobs {
        Some(path) => StandInConfig::from_file(path)?,
        None => StandInConfig::default(),
    };
    config.listen = args.listen;
    config.files = args.volumes.map(FilesConfig::of);
    let stand_in = StandIn::start(config).await?;
    let url = stand_in.url();
    session.printer.data(&json!({"url": url}), || format!("Jobs API stand-in at {url}; Ctrl-C ends it\n"))?;
    wait_for_the_end().await.context("signals cannot be listened to")?;
    stand_in.stop().await;
    Ok(Outcome::Good)
}

async fn wait_for_the_end() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        result = tokio::signal::ctrl_c() => result,
        _ = terminate.recv() => Ok(()),
    }
}
