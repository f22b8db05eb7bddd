//! `heartbeat demo`: the whole thing on one machine, with real commands over real tables.
//!
//! The demo holds the upstreams (an embedded broker, trigger folders) and the workspace (the Jobs API stand-in);
//! everything else is this binary, called with the command lines that it prints.

mod story;
mod world;

use anyhow::Result;

use self::world::World;
use super::{Outcome, Session, args};

pub(super) async fn run(session: &Session, args: &args::Demo) -> Result<Outcome> {
    let world = World::build(&args.dir, session.printer).await?;
    let told = story::tell(&world).await;
    world.stop().await;
    told?;
    Ok(Outcome::Good)
}
