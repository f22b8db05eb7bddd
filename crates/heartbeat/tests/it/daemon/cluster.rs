//! A real cluster of three brokers that are killed, hung and re-elected while the daemon runs. Kafka's own tools write.

use heartbeat_core::journal::Event;

use crate::support::cluster::Cluster;
use crate::support::daemon::Daemon;
use crate::support::wait::until;
use crate::support::yard::{CONTROL, Settings, Yard};

const JOB: i64 = 71;
const REWOUND: i64 = 72;
const BESIDE: i64 = 73;
const EXPIRED: i64 = 74;

struct Scene {
    cluster: Cluster,
    yard: Yard,
    topic: String,
    rewound: String,
    expired: String,
    beside: usize,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn brokers_are_killed_hung_and_elected_while_the_daemon_runs() {
    let Some(cluster) = Cluster::real() else { return };
    cluster.restore().await;
    let unique = uuid::Uuid::new_v4().simple().to_string();
    let [topic, rewound, expired] = ["all", "unclean", "short"].map(|name| format!("hb-{name}-{unique}"));
    cluster.create_topic(&topic, &[&[1, 2, 3], &[2, 3, 1], &[3, 1, 2]], &["min.insync.replicas=1"]).await;
    let unclean = ["min.insync.replicas=1", "unclean.leader.election.enable=true"];
    cluster.create_topic(&rewound, &[&[1, 2]], &unclean).await;
    cluster.create_topic(&expired, &[&[3]], &["retention.ms=4000", "segment.ms=1000"]).await;
    let yard = Yard::new("jobs: {71: {}, 72: {}, 73: {}, 74: {}}").await;
    yard.configure(&Settings { other_cluster: Some(cluster.bootstrap.clone()), ..Settings::default() });
    yard.create_topics(&["t".into()], 1).await;
    yard.feed(&format!(
        "other {topic} {JOB} TRUE\nother {rewound} {REWOUND} TRUE\nother {expired} {EXPIRED} TRUE\ntopic t {BESIDE} TRUE"
    ))
    .await;
    let daemon = yard.daemon().await;
    daemon.ready().await;
    let mut scene = Scene { cluster, yard, topic, rewound, expired, beside: 0 };

    scene.cluster.produce(&scene.topic, &["1"]).await;
    scene.started(JOB, 1, &daemon).await;
    scene.hang_a_leader(&daemon).await;
    scene.kill_a_leader(&daemon).await;
    scene.rewind(&daemon).await;
    scene.expire(&daemon).await;

    until("no row that fails", async || {
        let failing = daemon.metric("heartbeat_sensors_failing", &[]).await;
        if failing < 0.5 { Ok(()) } else { Err((failing, daemon.log().text())) }
    })
    .await;
    daemon.stop().await;
    assert_eq!(scene.yard.runs(JOB).len(), 3, "each set of news once");
}

impl Scene {
    async fn started(&self, job: i64, count: usize, daemon: &Daemon) {
        self.yard.runs_end(job, count, daemon).await;
        self.yard.status(job, "COMPLETED", daemon).await;
    }

    /// Rows of the other cluster are looked at while this one has trouble.
    async fn beside(&mut self, daemon: &Daemon) {
        for _ in 0..3 {
            self.yard.record("t").await;
            self.beside += 1;
            self.started(BESIDE, self.beside, daemon).await;
        }
    }

    async fn leads(&self, topic: &str, partition: usize, is: impl Fn(Option<i32>) -> bool) {
        until("an election", async || {
            let leaders = self.cluster.leaders(topic).await;
            if leaders.get(partition).is_some_and(|leader| is(*leader)) { Ok(()) } else { Err(leaders) }
        })
        .await;
    }

    /// A broker that takes connections and answers nothing, until others lead.
    async fn hang_a_leader(&mut self, daemon: &Daemon) {
        self.cluster.node(1, "pause").await;
        self.beside(daemon).await;
        self.leads(&self.topic, 0, |leader| leader.is_some_and(|leader| leader != 1)).await;
        self.cluster.produce(&self.topic, &["2"]).await;
        self.started(JOB, 2, daemon).await;
        self.cluster.node(1, "resume").await;
    }

    /// Connections that break.
    async fn kill_a_leader(&mut self, daemon: &Daemon) {
        self.leads(&self.topic, 1, |leader| leader.is_some()).await;
        self.cluster.node(2, "kill").await;
        self.beside(daemon).await;
        self.leads(&self.topic, 1, |leader| leader.is_some_and(|leader| leader != 2)).await;
        self.cluster.produce(&self.topic, &["3"]).await;
        self.started(JOB, 3, daemon).await;
    }

    /// Retention passes the row while it is paused.
    async fn expire(&mut self, daemon: &Daemon) {
        self.cluster.produce(&self.expired, &["1"]).await;
        self.started(EXPIRED, 1, daemon).await;
        let job = EXPIRED.to_string();
        self.yard.run(&["pause", "--job-id", &job, "--control-table", CONTROL]).await;
        self.cluster.produce(&self.expired, &["2", "3"]).await;
        until("retention", async || {
            let earliest = ["--topic", &self.expired, "--time", "-2"];
            let told = self.cluster.tool("offsets", &earliest, "").await;
            if told.trim().ends_with(":3") { Ok(()) } else { Err(told) }
        })
        .await;
        self.cluster.produce(&self.expired, &["4"]).await;
        self.yard.run(&["resume", "--job-id", &job, "--control-table", CONTROL]).await;
        let lost = self.loss(EXPIRED).await;
        assert!(lost.contains("offsets 1..3 expired") || lost.contains("offsets 1..4 expired"), "{lost}");
    }

    /// What the journal tells of lost data of a job.
    async fn loss(&self, job: i64) -> String {
        until("the loss in the journal", async || {
            let entries = self.yard.journal(Some(job)).await;
            let lost = entries.into_iter().find(|entry| entry.event == Event::DataLost.as_str());
            lost.map(|entry| entry.message).ok_or(())
        })
        .await
    }

    /// Broker 2, which is down, misses a record; then it is elected all the same, and another one is written in its place:
    /// the offsets alone tell nothing.
    async fn rewind(&mut self, daemon: &Daemon) {
        self.leads(&self.rewound, 0, |leader| leader == Some(1)).await;
        self.cluster.produce(&self.rewound, &["a"]).await;
        self.started(REWOUND, 1, daemon).await;
        self.cluster.node(1, "kill").await;
        self.cluster.node(2, "start").await;
        self.leads(&self.rewound, 0, |leader| leader == Some(2)).await;
        self.cluster.produce(&self.rewound, &["x"]).await;
        self.started(REWOUND, 2, daemon).await;
        self.cluster.node(1, "start").await;
        let lost = self.loss(REWOUND).await;
        assert!(lost.contains("offsets 0..1 were cut off"), "{lost}");
        self.cluster.produce(&self.rewound, &["again"]).await;
        self.started(REWOUND, 3, daemon).await;
    }
}
