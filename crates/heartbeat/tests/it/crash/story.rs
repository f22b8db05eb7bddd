//! The history that is disturbed: two rounds of three jobs, with all that the protocol has a step for.

use super::world::World;

/// A kill at one command.
#[derive(Debug, Clone, Copy)]
pub(super) struct Disturbance {
    pub(super) point: &'static str,
    /// Label of the command that is killed.
    pub(super) command: &'static str,
    pub(super) then: Then,
    /// The answers of the first starts are lost as well.
    pub(super) answers_lost: bool,
}

/// What happens after the kill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    /// The same command is run again.
    Again,
    /// It is not; the history goes on with the next passes.
    GoesOn,
}

/// Job 13 tells its completion itself, before the answer of its start has come.
pub(super) const JOBS: &str = "\
jobs:
  11: {duration: 100h}
  12: {duration: 100h}
  13: {command: \"{complete} --job-id 13 --run-id $HEARTBEAT_RUN_ID\"}
";

const FEED: &str = "\
trigger_file,a,batch,upstream a,,,11,eleven,UNPAUSED,TRUE
trigger_file,b,batch,upstream b,,,11,eleven,UNPAUSED,FALSE
trigger_file,p,batch,upstream p,,,11,eleven,PAUSED,FALSE
trigger_file,c,batch,upstream c,,,12,twelve,UNPAUSED,TRUE
trigger_file,d,batch,upstream d,,,12,twelve,UNPAUSED,TRUE
trigger_file,e,batch,upstream e,,,13,thirteen,UNPAUSED,TRUE
";

/// `p` is gone, `b` has another description, `f` is new.
const SECOND_FEED: &str = "\
trigger_file,a,batch,upstream a,,,11,eleven,UNPAUSED,TRUE
trigger_file,b,batch,another b,,,11,eleven,UNPAUSED,FALSE
trigger_file,c,batch,upstream c,,,12,twelve,UNPAUSED,TRUE
trigger_file,d,batch,upstream d,,,12,twelve,UNPAUSED,TRUE
trigger_file,f,batch,upstream f,,,12,twelve,UNPAUSED,FALSE
trigger_file,e,batch,upstream e,,,13,thirteen,UNPAUSED,TRUE
";

pub(super) const CHECK: &str = "check --acon files.yaml";
pub(super) const TRIGGER: &str = "trigger --acon files.yaml";

struct Teller<'w> {
    world: &'w World,
    disturbance: Option<Disturbance>,
}

impl Teller<'_> {
    fn tell(&self, label: &str, line: &str) {
        match self.disturbance.filter(|disturbance| disturbance.command == label) {
            None => self.world.good(line),
            Some(disturbance) => {
                self.world.killed(disturbance.point, line);
                if disturbance.then == Then::Again {
                    self.world.good(line);
                }
            }
        }
    }

    fn passes(&self) {
        self.world.good(CHECK);
        self.world.good(TRIGGER);
    }
}

/// Tells the history, with one disturbance or none.
pub(super) fn play(world: &World, disturbance: Option<Disturbance>) {
    let teller = Teller { world, disturbance };
    first_round(&teller);
    completions(&teller);
    second_round(&teller);
    by_hand(&teller);
    teller.passes();
}

/// Jobs 11 and 12 start; 13 starts and completes; what arrives meanwhile waits.
fn first_round(teller: &Teller<'_>) {
    let world = teller.world;
    world.good("init {tables}");
    world.csv(FEED);
    teller.tell("first feed", "feed --csv rows.csv {control}");
    world.files(&["a/1", "c/1", "d/1", "e/1", "p/1"]);
    teller.tell("first check", CHECK);
    world.next_answer_is_late(13);
    if teller.disturbance.is_some_and(|disturbance| disturbance.answers_lost) {
        world.next_answer_is_lost(11);
        world.next_answer_is_lost(12);
    }
    teller.tell("first trigger", TRIGGER);
    teller.passes();
    world.runs_end(13);
    teller.passes();
    world.files(&["a/2", "b/1"]);
    teller.passes();
}

/// Job 12 is completed by somebody else, 11 by its last task, which tells it again and again.
fn completions(teller: &Teller<'_>) {
    let world = teller.world;
    world.end_run(12);
    world.mark_completed("12", None);
    teller.tell("trigger settles", TRIGGER);
    teller.passes();
    let run = world.end_run(11);
    let complete = format!("complete --job-id 11 --run-id {run} {{tables}}");
    teller.tell("first complete", &complete);
    teller.tell("second check", CHECK);
    world.good(&complete);
    teller.tell("second trigger", TRIGGER);
    teller.passes();
    world.good(&complete);
    teller.passes();
}

/// The feed changes rows while job 11 runs; job 12 has news in one of two hard rows, and loses its mark.
fn second_round(teller: &Teller<'_>) {
    let world = teller.world;
    world.csv(SECOND_FEED);
    teller.tell("second feed", "feed --csv rows.csv {control}");
    teller.passes();
    let run = world.end_run(11);
    teller.tell("second complete", &format!("complete --job-id 11 --run-id {run} {{tables}}"));
    world.files(&["c/2", "f/1"]);
    teller.passes();
    world.mark_completed("12", Some("c"));
    teller.tell("check repairs", CHECK);
    teller.passes();
}

/// Job 12 is run by hand, then both jobs have news once more.
fn by_hand(teller: &Teller<'_>) {
    let world = teller.world;
    teller.tell("complete by hand", "complete --job-id 12 {tables}");
    teller.passes();
    world.files(&["a/3", "c/3", "d/2"]);
    teller.passes();
}
