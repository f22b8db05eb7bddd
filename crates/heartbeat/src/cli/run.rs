//! `heartbeat run`.

use anyhow::{Result, bail};

use super::{Outcome, Session, args};
use crate::config::{Config, Reading};
use crate::daemon;
use crate::error_chain::chain;

pub(super) async fn run(session: &Session, args: &args::Run) -> Result<Outcome> {
    let Some(config) = read(session, args) else {
        bail!("the configuration has mistakes; nothing was started")
    };
    daemon::run(config, || {
        let config = read(session, args);
        if config.is_none() {
            tracing::error!("the configuration has mistakes, the daemon goes on with the one before");
        }
        config
    })
    .await?;
    Ok(Outcome::Good)
}

/// The configuration; every mistake is printed.
fn read(session: &Session, args: &args::Run) -> Option<Config> {
    let reading = match &args.from.config {
        Some(path) => match Config::read(path, &session.warehouse) {
            Ok(reading) => reading,
            Err(error) => {
                session.printer.error(&format!("error: {}: {}", path.display(), chain(&error)));
                return None;
            }
        },
        None => Config::of_acons(&args.from.acon, &session.warehouse),
    };
    let Reading { warnings, result } = reading;
    for warning in warnings {
        session.printer.note(&format!("warning: {warning}"));
    }
    let mut config = match result {
        Ok(config) => config,
        Err(findings) => {
            for finding in findings {
                session.printer.error(&format!("error: {finding}"));
            }
            return None;
        }
    };
    if let Some(listen) = &args.listen {
        config.listen = listen.0;
    }
    Some(config)
}
