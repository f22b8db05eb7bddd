//! A real cluster of several brokers, as `scripts/kafka/cluster` runs it, and Kafka's own tools.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// A cluster that runs already.
pub(crate) struct Cluster {
    dir: PathBuf,
    pub(crate) bootstrap: String,
    nodes: BTreeMap<i32, String>,
}

impl Cluster {
    /// The one of `HEARTBEAT_TEST_KAFKA_CLUSTER`; `None` when there is none.
    #[expect(clippy::disallowed_methods, reason = "the gate of the real cluster")]
    pub(crate) fn real() -> Option<Self> {
        let dir = match std::env::var("HEARTBEAT_TEST_KAFKA_CLUSTER") {
            Ok(dir) if !dir.is_empty() => PathBuf::from(dir),
            _ if std::env::var("CI").as_deref() == Ok("true") => {
                panic!("HEARTBEAT_TEST_KAFKA_CLUSTER is unset in CI")
            }
            _ => {
                eprintln!("SKIPPED: no real cluster, HEARTBEAT_TEST_KAFKA_CLUSTER is unset");
                return None;
            }
        };
        let env = std::fs::read_to_string(dir.join("cluster.env")).unwrap();
        let values: BTreeMap<&str, &str> = env.lines().filter_map(|line| line.split_once('=')).collect();
        let nodes = values
            .iter()
            .filter_map(|(key, value)| Some((key.strip_prefix("NODE_")?.parse().ok()?, (*value).to_owned())));
        Some(Self { bootstrap: values["BOOTSTRAP"].to_owned(), nodes: nodes.collect(), dir })
    }

    /// Does something to a broker: `stop`, `kill`, `pause`, `resume`, `start`.
    pub(crate) async fn node(&self, node: i32, action: &str) {
        let mut command = script("node");
        let output = command.arg(&self.dir).arg(node.to_string()).arg(action).output().await.unwrap();
        assert!(output.status.success(), "node {node} {action}: {output:?}");
    }

    /// Creates a topic whose partitions have these replicas; the first of each is preferred as leader.
    pub(crate) async fn create_topic(&self, topic: &str, replicas: &[&[i32]], configs: &[&str]) {
        let of = |nodes: &&[i32]| nodes.iter().map(ToString::to_string).collect::<Vec<_>>().join(":");
        let assignment = replicas.iter().map(of).collect::<Vec<_>>().join(",");
        let mut arguments = vec!["--create", "--topic", topic, "--replica-assignment", &assignment];
        for config in configs {
            arguments.extend(["--config", *config]);
        }
        self.tool("topics", &arguments, "").await;
    }

    /// Who leads each partition of a topic, as the controller says; `None`: nobody.
    pub(crate) async fn leaders(&self, topic: &str) -> Vec<Option<i32>> {
        let text = self.tool("topics", &["--describe", "--topic", topic], "").await;
        let leader = |line: &str| -> Option<Option<i32>> {
            let (_, rest) = line.split_once("Leader: ")?;
            Some(rest.split_whitespace().next()?.parse().ok())
        };
        text.lines().filter_map(leader).collect()
    }

    /// Writes records by Kafka's console producer; whatever broker is down is passed over.
    pub(crate) async fn produce(&self, topic: &str, lines: &[&str]) {
        let text = lines.join("\n") + "\n";
        self.tool("produce", &["--topic", topic, "--producer-property", "acks=all"], &text).await;
    }

    /// Runs one of Kafka's tools, which must go well; its stdout. Brokers of all nodes are named to it.
    pub(crate) async fn tool(&self, tool: &str, arguments: &[&str], stdin: &str) -> String {
        let mut command = script("tool");
        command.arg(&self.dir).arg(tool).args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(stdin.as_bytes()).await.unwrap();
        let output = child.wait_with_output().await.unwrap();
        assert!(output.status.success(), "{tool} {arguments:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Makes all brokers run again, however a test left them.
    pub(crate) async fn restore(&self) {
        for node in self.nodes.keys() {
            for action in ["resume", "start"] {
                let _ = script("node").arg(&self.dir).arg(node.to_string()).arg(action).output().await;
            }
        }
    }
}

fn script(name: &str) -> Command {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut command = Command::new(root.join("scripts/kafka").join(name));
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}
