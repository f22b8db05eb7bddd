//! A watcher of some folders, as the daemon looks at them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use heartbeat::secrets::Secrets;
use heartbeat::sources::trigger_file::{MemoryRuns, RunStore, TriggerFileSource};
use heartbeat_core::acon::TriggerFiles;
use heartbeat_core::location::Location;
use heartbeat_core::position::Manifest;
use heartbeat_core::source::{Answer, Ask, Asset, Since, Source, SourceError};

use crate::support::stores::options;

/// One row per folder, and what its row remembers.
pub(super) struct Watch {
    pub(super) source: TriggerFileSource,
    config: TriggerFiles,
    runs: Arc<MemoryRuns>,
    rows: BTreeMap<String, Since>,
}

impl Watch {
    pub(super) fn over(location: &str, pairs: &[(&str, &str)], folders: &[&str]) -> Self {
        let mut config = TriggerFiles::at(Location::parse(location).unwrap());
        config.storage = options(pairs);
        let runs = Arc::new(MemoryRuns::default());
        let rows = folders.iter().map(|folder| ((*folder).to_owned(), Since::Beginning)).collect();
        let source = source(&config, &runs);
        Self { source, config, runs, rows }
    }

    /// Kills the watcher and starts another: only what was committed is known.
    pub(super) fn restart(&mut self) {
        self.source = source(&self.config, &self.runs);
    }

    /// A look, after which everything is committed: new paths, sorted, with their folder.
    pub(super) async fn news(&mut self) -> Vec<String> {
        let (news, errors) = self.look(Duration::from_mins(2)).await;
        assert!(errors.is_empty(), "{errors:?}");
        news
    }

    /// The same, with the errors of rows.
    pub(super) async fn look(&mut self, patience: Duration) -> (Vec<String>, Vec<SourceError>) {
        let asks: Arc<[Ask]> = self
            .rows
            .iter()
            .map(|(name, since)| Ask { asset: Asset::Folder { name: name.clone() }, since: since.clone() })
            .collect();
        let answers = self.source.look(&asks, Instant::now() + patience).await;
        let (mut news, mut errors) = (Vec::new(), Vec::new());
        for ((name, since), answer) in self.rows.iter_mut().zip(answers) {
            match answer {
                Ok(Answer::Same) => {}
                Ok(Answer::Found(found)) => {
                    *since = Since::Position(found.position);
                    match found.news {
                        Some(Manifest::Files(files)) => {
                            news.extend(files.iter().map(|file| format!("{name}/{}", file.path)));
                        }
                        None => {}
                        other => panic!("files expected, not {other:?}"),
                    }
                }
                Err(error) => errors.push(error),
            }
        }
        news.sort();
        (news, errors)
    }
}

fn source(config: &TriggerFiles, runs: &Arc<MemoryRuns>) -> TriggerFileSource {
    let runs: Arc<dyn RunStore> = Arc::<MemoryRuns>::clone(runs);
    TriggerFileSource::new(config, &Arc::new(Secrets::default()), runs)
}
