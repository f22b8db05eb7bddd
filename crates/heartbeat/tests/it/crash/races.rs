//! Processes side by side on the same tables.

use std::process::Child;

use bytes::Bytes;
use heartbeat::broker::{Broker, BrokerHandle};

use super::story::{CHECK, TRIGGER};
use super::world::{RUNTIME, World, went_well_at_last};

const JOBS: &str = "jobs: {21: {duration: 100h}, 22: {duration: 100h}, 23: {duration: 100h}}";

/// Job 21 needs both sources, 22 a topic, 23 a folder.
const FEED: &str = "\
kafka,sales: orders,batch,orders,,,21,both,UNPAUSED,TRUE
trigger_file,a,batch,upstream a,,,21,both,UNPAUSED,TRUE
kafka,sales: returns,batch,returns,,,22,topic,UNPAUSED,TRUE
trigger_file,b,batch,upstream b,,,23,folder,UNPAUSED,TRUE
";

const COMMANDS: [&str; 4] = [CHECK, TRIGGER, "check --acon kafka.yaml", "trigger --acon kafka.yaml"];

struct TwoSources {
    world: World,
    broker: BrokerHandle,
}

fn two_sources() -> TwoSources {
    let broker = RUNTIME.block_on(Broker::start("127.0.0.1:0")).unwrap();
    for topic in ["orders", "returns"] {
        broker.create_topic(topic, 2).unwrap();
    }
    let world = World::new(JOBS);
    let rest = format!(
        "kafka_configs:\n  sales:\n    kafka_bootstrap_servers_list: {}\n    kafka_ssl_truststore_location: \"\"\n    \
         kafka_ssl_keystore_location: \"\"\n",
        broker.bootstrap()
    );
    world.acon("kafka", "kafka", "kafka", &rest);
    world.csv(FEED);
    world.good("init {tables}");
    world.good("feed --csv rows.csv {control}");
    TwoSources { world, broker }
}

impl TwoSources {
    fn news(&self, round: usize) {
        for topic in ["orders", "returns"] {
            self.broker.append(topic, 0, &[Bytes::from_static(b"{}")]).unwrap();
        }
        self.world.files(&[&format!("a/{round}"), &format!("b/{round}")]);
    }

    /// Runs all lines at once.
    fn at_once(&self, lines: &[&str]) {
        let started: Vec<(&str, Child)> = lines.iter().map(|line| (*line, self.world.start(line))).collect();
        for (line, child) in started {
            went_well_at_last(line, child);
        }
    }

    /// Ends every run and tells each completion twice, both at once, beside a pass.
    fn complete_all(&self) {
        let complete: Vec<String> = [21, 22, 23]
            .map(|job| format!("complete --job-id {job} --run-id {} {{tables}}", self.world.end_run(job)))
            .into();
        let mut lines: Vec<&str> = complete.iter().chain(&complete).map(String::as_str).collect();
        lines.extend(COMMANDS);
        self.at_once(&lines);
    }
}

#[test]
fn two_triggers_at_once_start_each_job_once() {
    let scene = two_sources();
    for round in 1..=3 {
        scene.news(round);
        scene.at_once(&["check --acon kafka.yaml files.yaml"]);
        let both = "trigger --acon kafka.yaml files.yaml";
        scene.at_once(&[both, both]);
        assert_eq!(scene.world.runs(), [(21, round), (22, round), (23, round)].into());
        scene.complete_all();
    }
}

#[test]
fn check_and_trigger_of_two_sources_side_by_side_start_each_job_once() {
    let scene = two_sources();
    for round in 1..=3 {
        scene.news(round);
        scene.at_once(&[CHECK, "check --acon kafka.yaml"]);
        scene.at_once(&[TRIGGER, "trigger --acon kafka.yaml"]);
        scene.at_once(&[TRIGGER, "trigger --acon kafka.yaml"]);
        assert_eq!(scene.world.runs(), [(21, round), (22, round), (23, round)].into());
        scene.complete_all();
    }
}

#[test]
fn many_processes_leave_one_run_per_set_of_news() {
    let scene = two_sources();
    for round in 1..=3 {
        scene.news(round);
        std::thread::scope(|scope| {
            for worker in 0..4 {
                let world = &scene.world;
                scope.spawn(move || {
                    for step in 0..10 {
                        world.good(COMMANDS[(worker + step) % COMMANDS.len()]);
                    }
                });
            }
        });
        for line in COMMANDS.iter().chain(&COMMANDS) {
            scene.world.good(line);
        }
        assert_eq!(scene.world.runs(), [(21, round), (22, round), (23, round)].into());
        scene.complete_all();
    }
}
