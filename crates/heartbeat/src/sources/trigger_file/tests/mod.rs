//! Looks at folders of this machine, and at a store in memory that fails, lists in any order and holds too much.

mod local;
mod model;
mod queue_model;
mod queued;
mod random;
mod scale;

use heartbeat_core::files::is_trigger;
use heartbeat_core::position::{Manifest, Position};
use heartbeat_core::secret::SecretRef;
use heartbeat_core::source::{Finding, Since};

use super::*;
use crate::stores::Order;
use crate::stores::memory::Memory as MemoryStore;
use crate::stores::queue::memory::Memory as MemoryQueue;

fn memory(store: &Store) -> &MemoryStore {
    match store {
        Store::Memory(memory) => memory,
        _ => unreachable!("made so"),
    }
}

fn messages(queue: &Queue) -> &MemoryQueue {
    match queue {
        Queue::Memory(messages) => messages,
        Queue::Sqs(_) => unreachable!("made so"),
    }
}

fn ask(name: &str, since: Since) -> Ask {
    Ask { asset: Asset::Folder { name: name.to_owned() }, since }
}

fn names(finding: &Finding) -> Vec<&str> {
    match &finding.news {
        Some(Manifest::Files(files)) => files.iter().map(|file| file.path.as_str()).collect(),
        None => Vec::new(),
        other => panic!("files expected, not {other:?}"),
    }
}

fn then(finding: Finding) -> Since {
    Since::Position(finding.position)
}

fn soon() -> Instant {
    Instant::now() + Duration::from_mins(1)
}
