//! Where the runs of large folders are kept: beside the sensor table.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_lc_rs::digest;
use futures::future::BoxFuture;
use heartbeat_core::claim::hex;
use heartbeat_core::files::RunFiles;
use heartbeat_core::source::SourceError;
use heartbeat_core::table::Blobs;

/// Content-addressed files, for sources: an object-safe view of [`Blobs`].
pub trait RunStore: Send + Sync {
    /// Stores a file; its name is the digest of its bytes.
    fn put(&self, bytes: Vec<u8>) -> BoxFuture<'_, Result<String, Problem>>;
    /// A file by its digest.
    fn get(&self, digest: String) -> BoxFuture<'_, Result<Option<Vec<u8>>, Problem>>;
}

type Problem = Box<dyn std::error::Error + Send + Sync>;

/// Those beside a table.
#[derive(Debug)]
pub struct Beside<B>(pub B);

impl<B: Blobs> RunStore for Beside<B>
where
    B::Error: std::error::Error + Send + Sync + 'static,
{
    fn put(&self, bytes: Vec<u8>) -> BoxFuture<'_, Result<String, Problem>> {
        Box::pin(async move { self.0.put(bytes).await.map_err(Into::into) })
    }

    fn get(&self, digest: String) -> BoxFuture<'_, Result<Option<Vec<u8>>, Problem>> {
        Box::pin(async move { self.0.get(&digest).await.map_err(Into::into) })
    }
}

/// None are kept: for looks that remember nothing.
#[derive(Debug)]
pub struct NoRuns;

impl RunStore for NoRuns {
    fn put(&self, _: Vec<u8>) -> BoxFuture<'_, Result<String, Problem>> {
        Box::pin(async { Err("nothing is kept here".into()) })
    }

    fn get(&self, _: String) -> BoxFuture<'_, Result<Option<Vec<u8>>, Problem>> {
        Box::pin(async { Ok(None) })
    }
}

/// Kept as long as this is: for tests, and for measurements without tables.
#[derive(Debug, Default)]
pub struct MemoryRuns {
    files: Mutex<HashMap<String, Vec<u8>>>,
    written: AtomicU64,
}

impl MemoryRuns {
    /// Bytes that were written so far.
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    fn files(&self) -> MutexGuard<'_, HashMap<String, Vec<u8>>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RunStore for MemoryRuns {
    fn put(&self, bytes: Vec<u8>) -> BoxFuture<'_, Result<String, Problem>> {
        self.written.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        let digest = hex(digest::digest(&digest::SHA256, &bytes).as_ref());
        self.files().insert(digest.clone(), bytes);
        Box::pin(async move { Ok(digest) })
    }

    fn get(&self, digest: String) -> BoxFuture<'_, Result<Option<Vec<u8>>, Problem>> {
        let found = self.files().get(&digest).cloned();
        Box::pin(async move { Ok(found) })
    }
}

/// Runs that were read or written lately, so that a full listing reads each once.
pub(crate) struct Runs {
    store: Arc<dyn RunStore>,
    kept: Mutex<Vec<(String, Arc<[u8]>)>>,
}

/// Most bytes of runs that are kept in memory.
const MOST_KEPT: usize = 16 << 20;

impl fmt::Debug for Runs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runs").finish_non_exhaustive()
    }
}

impl Runs {
    pub(crate) fn new(store: Arc<dyn RunStore>) -> Self {
        Self { store, kept: Mutex::default() }
    }

    /// The files of these digests.
    pub(crate) async fn load(&self, digests: Vec<String>) -> Result<RunFiles, SourceError> {
        let mut files = HashMap::with_capacity(digests.len());
        for digest in digests {
            if files.contains_key(&digest) {
                continue;
            }
            let kept = self.kept().iter().find(|(name, _)| *name == digest).map(|(_, file)| Arc::clone(file));
            let file = if let Some(file) = kept {
                file
            } else {
                let read = self.store.get(digest.clone()).await;
                let bytes = read.map_err(|cause| unusable(&digest, "cannot be read", cause))?;
                let file: Arc<[u8]> = bytes.ok_or_else(|| lost(&digest))?.into();
                self.keep(digest.clone(), Arc::clone(&file));
                file
            };
            files.insert(digest, file);
        }
        Ok(files)
    }

    /// Stores files that a position is to name.
    pub(super) async fn store(
        &self,
        files: Vec<(heartbeat_core::files::Run, Vec<u8>)>,
    ) -> Result<(), SourceError> {
        for (run, bytes) in files {
            let file: Arc<[u8]> = bytes.as_slice().into();
            let stored = self.store.put(bytes).await;
            stored.map_err(|cause| unusable(&run.sha256, "cannot be stored", cause))?;
            self.keep(run.sha256, file);
        }
        Ok(())
    }

    /// Makes sure that runs which were stored long ago are still there, and young.
    pub(super) async fn renew(&self, runs: &[heartbeat_core::files::Run]) -> Result<(), SourceError> {
        for run in runs {
            let read = self.store.get(run.sha256.clone()).await;
            let bytes = read.map_err(|cause| unusable(&run.sha256, "cannot be read", cause))?;
            // Listed again from the beginning.
            let bytes = bytes.ok_or_else(|| SourceError::Doubtful {
                what: "the list of seen files".to_owned(),
                problem: format!("its part {} was cleared away meanwhile", run.sha256),
            })?;
            let stored = self.store.put(bytes).await;
            stored.map_err(|cause| unusable(&run.sha256, "cannot be stored", cause))?;
        }
        Ok(())
    }

    fn keep(&self, digest: String, file: Arc<[u8]>) {
        let mut kept = self.kept();
        kept.push((digest, file));
        let mut bytes: usize = kept.iter().map(|(_, file)| file.len()).sum();
        while bytes > MOST_KEPT && kept.len() > 1 {
            bytes -= kept.remove(0).1.len();
        }
    }

    fn kept(&self) -> MutexGuard<'_, Vec<(String, Arc<[u8]>)>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const MEND: &str = "`check --baseline` starts anew from what is there";

fn unusable(digest: &str, what: &str, cause: Problem) -> SourceError {
    let what = format!("the list {digest} of seen files {what} ({MEND}); it");
    SourceError::Unreachable { what, cause }
}

fn lost(digest: &str) -> SourceError {
    let problem = format!("the list {digest} of seen files is missing beside the sensor table; {MEND}");
    SourceError::Misconfigured { problem }
}

/// A list that is there and cannot be read.
pub(crate) fn damaged(error: heartbeat_core::files::BadRun) -> SourceError {
    SourceError::Misconfigured { problem: format!("a list of seen files {error}; {MEND}") }
}
