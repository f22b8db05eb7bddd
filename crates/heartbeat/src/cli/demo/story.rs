//! The story that the demo tells.

use anyhow::Result;

use crate::jobs_api::{Phase, RunResult};

use super::world::{CONTROL, SENSOR, World};

pub(super) async fn tell(world: &World) -> Result<()> {
    set_up(world).await?;
    hard_rows(world).await?;
    news_during_a_run(world).await?;
    exact_and_once(world).await?;
    finish(world)
}

async fn set_up(world: &World) -> Result<()> {
    world.say("1. Two jobs and their upstreams.")?;
    world.say("   Job 101 needs new orders on a Kafka topic and the customers' trigger file (both hard).")?;
    world.say("   Job 102 needs the trigger file of the day's end; returns on a topic are soft.")?;
    world.heartbeat(&format!("init --control-table {CONTROL} --sensor-table {SENSOR}")).await?;
    world.heartbeat(&format!("feed --csv sensors.csv --control-table {CONTROL}")).await?;
    check(world).await
}

async fn hard_rows(world: &World) -> Result<()> {
    world.say("\n2. Three orders arrive. Job 101 must still wait for its other hard row.")?;
    world.produce("orders", 3)?;
    check(world).await?;
    trigger(world).await?;
    world.say("\n3. The upstream pipeline drops its trigger file: now both are there, the job starts.")?;
    world.heartbeat("trigger-file create --base triggers --sensor-id customers_loaded").await?;
    check(world).await?;
    trigger(world).await
}

async fn news_during_a_run(world: &World) -> Result<()> {
    world.say("\n4. While the job runs, two more orders arrive. They are not lost: the position stands still")?;
    world.say("   until the run has completed, and they fire afterwards.")?;
    world.produce("orders", 2)?;
    check(world).await?;
    world.runs_end().await?;
    status(world).await?;
    check(world).await
}

async fn exact_and_once(world: &World) -> Result<()> {
    world.say("\n5. What is news is exact: a producer writes four returns and aborts its transaction.")?;
    world.say("   The offsets moved, but there is nothing to read, so this is no news.")?;
    world.produce_aborted("returns", 4)?;
    check(world).await?;
    world.say("\n6. The day is closed. The network loses the workspace's answer to the start of job 102;")?;
    world.say("   the call is made again with the same token, and the workspace returns the same run.")?;
    world.heartbeat("trigger-file create --base triggers --sensor-id day_closed").await?;
    check(world).await?;
    world.lose_next_answer();
    trigger(world).await?;
    let calls = world.workspace.run_now_calls().len();
    let runs = world.workspace.runs().len();
    world.say(&format!("  (so far {calls} calls of run-now, {runs} runs)"))?;
    world.runs_end().await?;
    status(world).await
}

fn finish(world: &World) -> Result<()> {
    let dir = world.dir.display();
    world.say("\nThe runs that were started, as the workspace tells it:")?;
    for run in world.workspace.runs() {
        let ended = if run.phase == Phase::Done(RunResult::Success) { "succeeded" } else { "did not succeed" };
        world.say(&format!("  job {} run {} {ended}", run.job_id, run.run_id))?;
    }
    world.say(&format!("\nThe tables are Delta tables; Spark reads them as they are:\n  {dir}/warehouse/demo.db"))?;
    world.say(&format!("The ACONs, the feed and the jobs are in\n  {dir}"))?;
    let listen = world.workspace.addr();
    let exe = world.exe.display();
    world.say(&format!(
        "\nTry next, in that directory, with `heartbeat` on your PATH (it is {exe}):\n  \
         export HEARTBEAT_WAREHOUSE=warehouse\n  \
         heartbeat jobs-api --listen {listen} --jobs jobs.yaml &\n  \
         heartbeat trigger-file create --base triggers --sensor-id day_closed\n  \
         heartbeat check --acon trigger_file.yaml\n  \
         heartbeat trigger --acon trigger_file.yaml --dry-run\n  \
         heartbeat trigger --acon trigger_file.yaml\n  \
         heartbeat status --control-table {CONTROL} --sensor-table {SENSOR}"
    ))
}

async fn check(world: &World) -> Result<()> {
    world.heartbeat("check --acon kafka.yaml trigger_file.yaml").await
}

async fn trigger(world: &World) -> Result<()> {
    world.heartbeat("trigger --acon kafka.yaml trigger_file.yaml").await
}

async fn status(world: &World) -> Result<()> {
    world.heartbeat(&format!("status --control-table {CONTROL} --sensor-table {SENSOR}")).await
}
