//! One pair of tables, with all the tasks that work on it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use heartbeat_core::acon::SourceKind;
use heartbeat_core::claim::Workplace;
use heartbeat_core::journal::{Event, began_detail};
use heartbeat_delta::{DeltaJournal, Error};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::context::{Context, DeltaWatcher};
use super::lanes::{LaneConfig, lanes};
use super::looking::Looking;
use super::starting::Starting;
use super::tracking::Tracking;
use super::upkeep::{Keeping, Writing};
use super::watcher::Watcher;
use crate::config::{Config, Watch};
use crate::engine::{Clock as _, Engine, SystemClock};
use crate::metrics::{SourceLabel, TableLabel, TableRole};
use crate::scribe::{About, Scribe};
use crate::secrets::Secrets;
use crate::stores::tables::Place;
use crate::workspaces::Workspaces;

/// Rows that fail are left alone for this long at first, and for their period where that is longer.
const FIRST_WAIT: Duration = Duration::from_secs(1);

/// Writing the rest of the journal may take this long.
const JOURNAL_LIMIT: Duration = Duration::from_secs(3);

/// The tasks of a pair of tables.
pub(super) struct Pair {
    name: String,
    tasks: JoinSet<()>,
    writing: Option<Arc<Writing>>,
    watcher: Arc<DeltaWatcher>,
    context: Context,
    labels: [TableLabel; 2],
}

/// Where a pair lies.
pub(super) struct Places {
    pub(super) control: Place,
    pub(super) sensor: Place,
    pub(super) journal: Place,
}

impl Pair {
    /// Starts the tasks.
    pub(super) fn start(
        watch: &Watch,
        places: &Places,
        config: &Config,
        workspaces: &Arc<Workspaces>,
        context: &Context,
    ) -> Result<Self, Error> {
        let scribe = Scribe::new("heartbeat run");
        let scribe = Arc::new(if config.journal.enabled { scribe } else { scribe.silent() });
        let name = watch.control.name.clone();
        let sources = began_detail(watch.sources.iter().map(|source| source.kind().as_str()));
        let message = format!("watches {name}");
        scribe.note(SystemClock.now(), Event::Daemon, About::default(), message, Some(sources));
        let engine = Engine::new(
            places.control.table()?,
            places.sensor.table()?,
            places.sensor.blobs()?,
            Arc::clone(&scribe),
        );
        let period = watch.sources.iter().map(|source| source.schedule.period()).min().unwrap_or(FIRST_WAIT);
        let watcher: Arc<DeltaWatcher> = Arc::new(Watcher::new(
            engine,
            Arc::clone(workspaces),
            SystemClock,
            workplaces(watch),
            period.max(FIRST_WAIT),
        ));
        let labels = [
            TableLabel::new(&name, TableRole::Control),
            TableLabel::new(&watch.sensor.name, TableRole::Sensor),
        ];
        context.metrics.tables_added(&labels);
        let journal = if config.journal.enabled { Some(Arc::new(places.journal.journal()?)) } else { None };
        let mut pair =
            Self { name, tasks: JoinSet::new(), writing: None, watcher, context: context.clone(), labels };
        pair.spawn(watch, config);
        pair.spawn_upkeep(journal.as_ref(), config);
        if let Some(journal) = journal {
            pair.write_journal(journal, config);
        }
        Ok(pair)
    }

    fn spawn(&mut self, watch: &Watch, config: &Config) {
        let stir = Arc::new(Notify::new());
        let watcher = &self.watcher;
        let lanes: Vec<(LaneConfig, Arc<Secrets>)> = watch
            .sources
            .iter()
            .flat_map(|source| {
                let secrets = Arc::new(Secrets::of(&source.domain, source.token.as_ref()));
                lanes(source).into_iter().map(move |lane| (lane, Arc::clone(&secrets)))
            })
            .collect();
        let sources: BTreeMap<SourceKind, SourceLabel> = watch
            .sources
            .iter()
            .map(|source| (source.kind(), SourceLabel::new(source.kind(), &source.name)))
            .collect();
        for (lane, secrets) in lanes {
            let looking = Looking {
                context: self.context.clone(),
                watcher: Arc::clone(watcher),
                config: lane,
                secrets,
                stir: Arc::clone(&stir),
                tables: self.labels.clone(),
                control: self.name.clone(),
            };
            self.tasks.spawn(looking.run());
        }
        let starting = Starting {
            context: self.context.clone(),
            watcher: Arc::clone(watcher),
            name: format!("starts of {}", self.name),
            stir: Arc::clone(&stir),
            tables: self.labels.clone(),
            sources,
        };
        self.tasks.spawn(starting.run());
        let tracking = Tracking {
            context: self.context.clone(),
            watcher: Arc::clone(watcher),
            name: format!("runs of {}", self.name),
            stir,
            tables: self.labels.clone(),
            runs: config.runs,
        };
        self.tasks.spawn(tracking.run());
    }

    fn spawn_upkeep(&mut self, journal: Option<&Arc<DeltaJournal>>, config: &Config) {
        let journal = journal.map(|journal| (Arc::clone(journal), self.journal_label(), config.journal.keep));
        let keeping = Keeping {
            context: self.context.clone(),
            watcher: Arc::clone(&self.watcher),
            name: format!("upkeep of {}", self.name),
            config: config.maintenance,
            tables: self.labels.clone(),
            journal,
        };
        self.tasks.spawn(keeping.run());
    }

    fn journal_label(&self) -> TableLabel {
        TableLabel::new(format!("{}_journal", self.name), TableRole::Journal)
    }

    fn write_journal(&mut self, journal: Arc<DeltaJournal>, config: &Config) {
        let writing = Arc::new(Writing {
            context: self.context.clone(),
            watcher: Arc::clone(&self.watcher),
            name: format!("journal of {}", self.name),
            journal,
            label: self.journal_label(),
            config: config.journal,
        });
        self.writing = Some(Arc::clone(&writing));
        self.tasks.spawn(async move { writing.run().await });
    }

    /// Returns when a task has ended although nobody asked it to: that is a fault of ours.
    pub(super) async fn broken(&mut self) -> String {
        match self.tasks.join_next().await {
            Some(Ok(())) => format!("a task of {} ended by itself", self.name),
            Some(Err(error)) => format!("a task of {} broke off: {error}", self.name),
            None => std::future::pending().await,
        }
    }

    /// Waits for the tasks, which were asked to stop, and writes the rest of the journal.
    pub(super) async fn finish(mut self) {
        while self.tasks.join_next().await.is_some() {}
        let scribe = self.watcher.engine().scribe();
        let message = format!("watches {} no longer", self.name);
        scribe.note(SystemClock.now(), Event::Daemon, About::default(), message, None);
        if let Some(writing) = &self.writing
            && !matches!(tokio::time::timeout(JOURNAL_LIMIT, writing.flush()).await, Ok(Ok(())))
        {
            tracing::warn!(what = self.name, "the rest of the journal was not written");
        }
        for label in &self.labels {
            self.context.metrics.table_removed(label);
        }
        self.context.board.table_removed(&self.name);
    }
}

fn workplaces(watch: &Watch) -> BTreeMap<SourceKind, Workplace> {
    let place = |source: &crate::config::WatchedSource| {
        let workplace = Workplace { domain: source.domain.clone(), pass_news: source.pass_news };
        (source.kind(), workplace)
    };
    watch.sources.iter().map(place).collect()
}
