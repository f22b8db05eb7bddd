//! Looks at folders of this machine, and at a store in memory that fails, lists in any order and holds too much.

mod local;
mod model;
mod queue_model;
mod queued;
mod scale;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering as Atomic};

use futures::future::BoxFuture;
use heartbeat_core::claim::hex;
use heartbeat_core::position::{Manifest, Position};
use heartbeat_core::source::Finding;
use sha2::{Digest as _, Sha256};

use super::*;

/// Runs in memory, counted.
#[derive(Debug, Default)]
struct Kept {
    files: Mutex<HashMap<String, Vec<u8>>>,
    written: AtomicU64,
}

impl RunStore for Kept {
    fn put(&self, bytes: Vec<u8>) -> BoxFuture<'_, Result<String, Box<dyn std::error::Error + Send + Sync>>> {
        self.written.fetch_add(bytes.len() as u64, Atomic::Relaxed);
        let digest = hex(&Sha256::digest(&bytes));
        self.files.lock().unwrap().insert(digest.clone(), bytes);
        Box::pin(async move { Ok(digest) })
    }

    fn get(
        &self,
        digest: String,
    ) -> BoxFuture<'_, Result<Option<Vec<u8>>, Box<dyn std::error::Error + Send + Sync>>> {
        let found = self.files.lock().unwrap().get(&digest).cloned();
        Box::pin(async move { Ok(found) })
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
