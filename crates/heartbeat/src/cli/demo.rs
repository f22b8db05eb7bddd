//! `heartbeat demo`.
use anyhow::Result;

use super::{Outcome, Session, args};

pub(super) async fn run(_session: &Session, _args: &args::Demo) -> Result<Outcome> {
    Ok(Outcome::Good)
}
