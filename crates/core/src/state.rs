//! State of a sensor: what its row in the sensor table remembers.
//!
//! The sensor row is the truth; the control table's status is its projection. The state is JSON in
//! `upstream_value`, and `upstream_key` names its format. Old formats must load for ever
//! (`tests/golden/`); a newer format than ours is an error, never overwritten.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::domain::Domain;
use crate::position::{
    FilesPosition, KafkaPosition, Manifest, ManyFiles, NewFile, OffsetRange, Position, TopicsPosition,
};
use crate::row::SensorRow;

/// Value of `upstream_key` in rows of ours.
pub const FORMAT: &str = "heartbeat/1";

/// A position or manifest larger than this many bytes of JSON is stored beside the table.
pub const LARGEST_INLINE: usize = 4096;

/// What a sensor row remembers.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SensorState {
    /// Detections so far. Never reset, never lowered.
    pub news: u64,
    /// Detections that a run has accounted for; `news > news_done` means there is unprocessed news.
    pub news_done: u64,
    /// Where the source stood when it was last looked at with a result. `None` for rows that were fired by
    /// others and never looked at by us.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acquired: Option<StoredPosition>,
    /// Up to where runs have accounted for; absent while it equals `acquired`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accounted: Option<Accounted>,
    /// What exactly is new since `accounted`; absent while nothing is, and for news that others have marked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<StoredManifest>,
    /// True after a completion that no claim of ours stands behind: the job was run by hand. Cleared by the
    /// next news.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub by_hand: bool,
    /// The run that accounted for news last. What it tells again, however late, accounts for nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_run: Option<i64>,
    /// When the row was made; part of tokens, so that a row made again, which counts from 0, shares none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub born: Option<Timestamp>,
    /// The newest decision to start the job for this row's news.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim: Option<Claim>,
}

/// Where accounting stands when it lies behind `acquired`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Accounted {
    /// No run has accounted for anything yet.
    Nothing,
    /// Up to this position.
    UpTo(StoredPosition),
}

/// A position, or the name of the content-addressed file that holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StoredPosition {
    /// A Kafka topic.
    Kafka(KafkaPosition),
    /// Several Kafka topics.
    Topics(TopicsPosition),
    /// A folder of trigger files.
    Files(FilesPosition),
    /// Hex SHA-256 of the position's JSON, which is stored beside the table under that name.
    Sha256(String),
    /// The same of a folder's position that names further files.
    Folder(FolderBeside),
}

/// A folder's position beside the table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FolderBeside {
    /// As [`StoredPosition::Sha256`].
    pub sha256: String,
    /// Digests of its runs: what the row needs is known without reading the position.
    pub runs: Vec<String>,
}

/// A manifest, or the name of the content-addressed file that holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StoredManifest {
    /// Offset ranges of a Kafka topic.
    Offsets(Vec<OffsetRange>),
    /// Offset ranges of several, by name.
    Topics(BTreeMap<String, Vec<OffsetRange>>),
    /// Trigger files.
    Files(Vec<NewFile>),
    /// Very many of them.
    ManyFiles(ManyFiles),
    /// Hex SHA-256 of the manifest's JSON, which is stored beside the table under that name.
    Sha256(String),
}

/// A decision to start a job, written down before the start. The same in each row it covers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// Idempotency token of run-now; computed once, afterwards only read.
    pub token: String,
    /// 1 for the first start for this set of news; higher after a run that never ran, or `retrigger`.
    pub attempt: u32,
    /// Workspace of the ACON that made the claim.
    pub domain: Domain,
    /// Sensor rows with their news count at the time.
    pub rows: BTreeMap<String, u64>,
    /// When the claim was made; for people, and to know when a token's life becomes uncertain.
    pub at: Timestamp,
    /// Whether the run is told what is new, as job parameters.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pass_news: bool,
    /// True once somebody else than its maker has set out to post its token: from then on one refusal tells nothing
    /// about the other call.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub adopted: bool,
    /// How far the start has got.
    pub state: ClaimState,
}

/// How far a start has got.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClaimState {
    /// Written down; the run may or may not exist.
    Claimed {
        /// Why the last call gave no run id, if one was made.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        trouble: Option<String>,
    },
    /// The Jobs API refused: no run exists, and the set of news is free to be claimed again.
    Refused {
        /// Answer of the API.
        reason: String,
    },
    /// The Jobs API returned a run.
    Accepted {
        /// Its id.
        run_id: i64,
    },
    /// The run ended badly. The job rests until one run of it succeeds, this one repaired or another.
    Failed {
        /// Its id.
        run_id: i64,
        /// How it ended.
        reason: String,
    },
    /// The news is free again, to be claimed with the next attempt.
    Released {
        /// The run that this claim had, where one is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        run_id: Option<i64>,
        /// Why.
        why: Release,
    },
    /// The run has accounted for the news.
    Done {
        /// Its id, where we know it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        run_id: Option<i64>,
    },
}

/// Why the news of a claim is free again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Release {
    /// The run never ran.
    Skipped {
        /// Why.
        reason: String,
        /// When that was found out: the next attempt waits a while.
        at: Timestamp,
    },
    /// Somebody wants the job to be started again.
    Retriggered,
}

impl Claim {
    /// True while the run may exist and has not ended well: nobody may claim the job again.
    pub fn is_open(&self) -> bool {
        match self.state {
            ClaimState::Claimed { .. } | ClaimState::Accepted { .. } | ClaimState::Failed { .. } => true,
            ClaimState::Refused { .. } | ClaimState::Released { .. } | ClaimState::Done { .. } => false,
        }
    }

    /// Run id, where the Jobs API returned one.
    pub fn run_id(&self) -> Option<i64> {
        match self.state {
            ClaimState::Accepted { run_id } | ClaimState::Failed { run_id, .. } => Some(run_id),
            ClaimState::Done { run_id } | ClaimState::Released { run_id, .. } => run_id,
            ClaimState::Claimed { .. } | ClaimState::Refused { .. } => None,
        }
    }
}

/// A sensor row whose state cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadState {
    /// Written by a newer version.
    #[error(
        "the sensor row's state has the format `{0}`, which this version does not know; upgrade heartbeat"
    )]
    Newer(String),
    /// Not what the format says.
    #[error("the sensor row's state is damaged ({0}); `upstream_value` was changed by somebody else")]
    Damaged(String),
}

impl SensorState {
    /// State of a row; `None` for rows that others wrote and that hold no state of ours.
    pub fn of_row(row: &SensorRow) -> Result<Option<Self>, BadState> {
        let key = row.upstream_key.as_deref().unwrap_or_default();
        if key != FORMAT {
            return match key.strip_prefix("heartbeat/") {
                Some(_) => Err(BadState::Newer(key.to_owned())),
                None => Ok(None),
            };
        }
        let json = row.upstream_value.as_deref().unwrap_or_default();
        let state: Self = serde_json::from_str(json).map_err(|cause| BadState::Damaged(cause.to_string()))?;
        if state.news_done > state.news {
            return Err(BadState::Damaged("news_done is larger than news".to_owned()));
        }
        Ok(Some(state))
    }

    /// Writes the state into a row.
    pub fn store(&self, row: &mut SensorRow) {
        row.upstream_key = Some(FORMAT.to_owned());
        row.upstream_value = serde_json::to_string(self).ok();
    }

    /// Names of the files beside the table that the state refers to.
    pub fn digests(&self) -> impl Iterator<Item = &str> {
        let accounted = match &self.accounted {
            Some(Accounted::UpTo(position)) => Some(position),
            Some(Accounted::Nothing) | None => None,
        };
        let positions = self.acquired.iter().chain(accounted).flat_map(StoredPosition::digests);
        let manifest = self.manifest.iter().filter_map(|stored| match stored {
            StoredManifest::Sha256(digest) => Some(digest.as_str()),
            StoredManifest::Offsets(_)
            | StoredManifest::Topics(_)
            | StoredManifest::Files(_)
            | StoredManifest::ManyFiles(_) => None,
        });
        positions.chain(manifest)
    }

    /// True when there is news that no run has accounted for.
    pub fn has_news(&self) -> bool {
        self.news > self.news_done
    }

    /// Up to where runs have accounted for; `None`: for nothing, as far as is known.
    pub fn accounted_up_to(&self) -> Option<&StoredPosition> {
        match &self.accounted {
            Some(Accounted::UpTo(position)) => Some(position),
            Some(Accounted::Nothing) => None,
            // Where accounting stands then is not written down.
            None if self.has_news() => None,
            None => self.acquired.as_ref(),
        }
    }

    /// The open claim, if any.
    pub fn open_claim(&self) -> Option<&Claim> {
        self.claim.as_ref().filter(|claim| claim.is_open())
    }

    /// True when a run has accounted for the row since its last news, ours or one by hand.
    pub fn was_completed(&self) -> bool {
        let done = matches!(&self.claim, Some(claim) if matches!(claim.state, ClaimState::Done { .. }));
        done || self.by_hand
    }

    /// True when an open claim covers all news of the row `row_id`.
    pub fn open_claim_covers_news(&self, row_id: &str) -> bool {
        self.open_claim().is_some_and(|claim| claim.rows.get(row_id).is_some_and(|count| *count >= self.news))
    }

    /// Moves `acquired` on; with news, one detection is counted and accounting stays behind.
    pub fn acquire(&mut self, position: StoredPosition, news: Option<StoredManifest>) {
        if news.is_some() {
            if self.accounted.is_none() {
                self.accounted = Some(match self.acquired.take() {
                    Some(old) => Accounted::UpTo(old),
                    None => Accounted::Nothing,
                });
            }
            self.news += 1;
            self.by_hand = false;
            self.manifest = news;
        }
        self.acquired = Some(position);
    }

    /// Accounts for all detections up to the count `up_to`; the position follows when that is all of them.
    pub fn account(&mut self, up_to: u64) {
        self.news_done = self.news_done.max(up_to.min(self.news));
        if self.news_done == self.news {
            self.accounted = None;
            self.manifest = None;
        }
    }
}

impl From<Position> for StoredPosition {
    fn from(position: Position) -> Self {
        match position {
            Position::Kafka(topic) => Self::Kafka(topic),
            Position::Topics(topics) => Self::Topics(topics),
            Position::Files(folder) => Self::Files(folder),
        }
    }
}

impl From<Manifest> for StoredManifest {
    fn from(manifest: Manifest) -> Self {
        match manifest {
            Manifest::Offsets(ranges) => Self::Offsets(ranges),
            Manifest::Topics(topics) => Self::Topics(topics),
            Manifest::Files(files) => Self::Files(files),
            Manifest::ManyFiles(many) => Self::ManyFiles(many),
        }
    }
}

impl StoredManifest {
    /// The manifest, or the digest of the file that holds it.
    pub fn inline(&self) -> Result<Manifest, &str> {
        match self {
            Self::Offsets(ranges) => Ok(Manifest::Offsets(ranges.clone())),
            Self::Topics(topics) => Ok(Manifest::Topics(topics.clone())),
            Self::Files(files) => Ok(Manifest::Files(files.clone())),
            Self::ManyFiles(many) => Ok(Manifest::ManyFiles(many.clone())),
            Self::Sha256(digest) => Err(digest),
        }
    }
}

impl StoredPosition {
    /// The position, or the digest of the file that holds it.
    pub fn inline(&self) -> Result<Position, &str> {
        match self {
            Self::Kafka(topic) => Ok(Position::Kafka(topic.clone())),
            Self::Topics(topics) => Ok(Position::Topics(topics.clone())),
            Self::Files(folder) => Ok(Position::Files(folder.clone())),
            Self::Sha256(sha256) | Self::Folder(FolderBeside { sha256, .. }) => Err(sha256),
        }
    }

    /// Names of the files beside the table that it refers to.
    fn digests(&self) -> Vec<&str> {
        match self {
            Self::Kafka(_) | Self::Topics(_) => Vec::new(),
            Self::Files(folder) => folder.runs.iter().map(|run| run.sha256.as_str()).collect(),
            Self::Sha256(digest) => vec![digest],
            Self::Folder(FolderBeside { sha256, runs }) => {
                std::iter::once(sha256).chain(runs).map(String::as_str).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::Run;

    fn position(offset: i64) -> StoredPosition {
        StoredPosition::Kafka(KafkaPosition {
            cluster: "abc".into(),
            topic: "my.topic".into(),
            topic_id: Some("0c8e2f58-31f9-4b5e-9c70-3a3d2a5b7d11".into()),
            offsets: [(0, offset), (1, 17)].into(),
            epochs: BTreeMap::new(),
        })
    }

    fn claimed_state() -> SensorState {
        let mut state =
            SensorState { news: 2, news_done: 2, acquired: Some(position(40)), ..Default::default() };
        let range = OffsetRange { partition: 0, from: 40, to: 42 };
        state.acquire(position(42), Some(StoredManifest::Offsets(vec![range])));
        state.claim = Some(Claim {
            token: "00ff".into(),
            attempt: 1,
            domain: Domain::parse("dbc-1.cloud.databricks.com").unwrap(),
            rows: [("my_product__my_topic_7".to_owned(), 3)].into(),
            at: "2026-01-02T03:04:05Z".parse().unwrap(),
            pass_news: true,
            adopted: false,
            state: ClaimState::Accepted { run_id: 123_456_789_012_345 },
        });
        state
    }

    fn load(golden: &str) -> SensorState {
        let row = SensorRow {
            upstream_key: Some(FORMAT.into()),
            upstream_value: Some(golden.trim_end().into()),
            ..Default::default()
        };
        SensorState::of_row(&row).unwrap().unwrap()
    }

    #[test]
    fn golden_file_loads_and_is_what_is_written() {
        let golden = include_str!("../tests/golden/heartbeat-1.json");
        assert_eq!(load(golden), claimed_state());
        let mut written = SensorRow::default();
        claimed_state().store(&mut written);
        assert_eq!(written.upstream_value.unwrap(), golden.trim_end());
    }

    #[test]
    fn golden_file_without_optional_fields_loads() {
        let mut expected = claimed_state();
        expected.manifest = None;
        expected.claim.as_mut().unwrap().pass_news = false;
        assert_eq!(load(include_str!("../tests/golden/heartbeat-1-least.json")), expected);
    }

    #[test]
    fn golden_file_of_folders_loads() {
        let gone: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        let run = Run { first: "a".into(), last: "m".into(), names: 700, sha256: "ab12".into() };
        let before = FilesPosition {
            seen: ["n".to_owned(), "o".to_owned()].into(),
            gone: [("p".to_owned(), gone)].into(),
            runs: vec![run],
            ..FilesPosition::of("s3://bucket/base/a")
        };
        let mut expected =
            SensorState { acquired: Some(StoredPosition::Files(before)), ..SensorState::default() };
        let beside = FolderBeside { sha256: "cd34".into(), runs: vec!["ab12".into(), "ef56".into()] };
        let file = NewFile { path: "q".into(), size: 7, etag: None, modified: Some(gone) };
        let many = ManyFiles { count: 20_000, bytes: 140_000, first: vec![file] };
        expected.acquire(StoredPosition::Folder(beside), Some(StoredManifest::ManyFiles(many)));
        let golden = include_str!("../tests/golden/heartbeat-1-folders.json");
        assert_eq!(load(golden), expected);
        let mut written = SensorRow::default();
        expected.store(&mut written);
        assert_eq!(written.upstream_value.unwrap(), golden.trim_end());
        assert_eq!(expected.digests().collect::<Vec<_>>(), ["cd34", "ab12", "ef56", "ab12"]);
    }

    #[test]
    fn golden_file_of_several_topics_with_epochs_loads() {
        let StoredPosition::Kafka(mut topic) = position(7) else { panic!("a topic expected") };
        topic.epochs = [(0, 3), (1, 12)].into();
        let mut expected = SensorState::default();
        let topics = TopicsPosition { topics: [("my.topic".to_owned(), topic)].into() };
        let range = OffsetRange { partition: 0, from: 5, to: 7 };
        let news = StoredManifest::Topics([("my.topic".to_owned(), vec![range])].into());
        expected.acquire(StoredPosition::Topics(topics), Some(news));
        let golden = include_str!("../tests/golden/heartbeat-1-topics.json");
        assert_eq!(load(golden), expected);
        let mut written = SensorRow::default();
        expected.store(&mut written);
        assert_eq!(written.upstream_value.unwrap(), golden.trim_end());
    }

    #[test]
    fn golden_file_of_every_claim_state_loads() {
        let golden = include_str!("../tests/golden/heartbeat-1-claim-states.json");
        let states: Vec<ClaimState> = serde_json::from_str(golden).unwrap();
        let run_id = 7;
        let expected = [
            ClaimState::Claimed { trouble: None },
            ClaimState::Claimed { trouble: Some("x".into()) },
            ClaimState::Refused { reason: "x".into() },
            ClaimState::Accepted { run_id },
            ClaimState::Failed { run_id, reason: "x".into() },
            ClaimState::Released {
                run_id: Some(run_id),
                why: Release::Skipped { reason: "x".into(), at: Timestamp::UNIX_EPOCH },
            },
            ClaimState::Released { run_id: None, why: Release::Retriggered },
            ClaimState::Done { run_id: Some(run_id) },
        ];
        assert_eq!(states, expected);
        assert_eq!(serde_json::to_string(&expected).unwrap(), golden.trim_end());
    }

    #[test]
    fn files_beside_the_table_are_named_by_every_field_that_may_hold_one() {
        let sha = |name: &str| StoredPosition::Sha256(name.into());
        let state = SensorState {
            acquired: Some(sha("a")),
            accounted: Some(Accounted::UpTo(sha("b"))),
            manifest: Some(StoredManifest::Sha256("c".into())),
            ..SensorState::default()
        };
        assert_eq!(state.digests().collect::<Vec<_>>(), ["a", "b", "c"]);
        assert_eq!(claimed_state().digests().count(), 0);
    }

    #[test]
    fn rows_of_the_original_hold_no_state() {
        let row = SensorRow {
            upstream_key: Some("None".into()),
            upstream_value: Some("None".into()),
            ..Default::default()
        };
        assert_eq!(SensorState::of_row(&row), Ok(None));
        assert_eq!(SensorState::of_row(&SensorRow::default()), Ok(None));
    }

    #[test]
    fn newer_and_damaged_states_are_errors() {
        let newer = SensorRow { upstream_key: Some("heartbeat/2".into()), ..Default::default() };
        assert!(matches!(SensorState::of_row(&newer), Err(BadState::Newer(_))));
        let damaged = SensorRow {
            upstream_key: Some(FORMAT.into()),
            upstream_value: Some("{".into()),
            ..Default::default()
        };
        assert!(matches!(SensorState::of_row(&damaged), Err(BadState::Damaged(_))));
    }

    #[test]
    fn accounting_follows_the_news_and_never_passes_it() {
        let mut state = claimed_state();
        assert!(state.has_news());
        assert_eq!(state.accounted_up_to(), Some(&position(40)));
        state.account(99);
        assert!(!state.has_news());
        assert_eq!(state.accounted_up_to(), Some(&position(42)));
        assert_eq!((state.news_done, state.accounted, state.manifest), (3, None, None));
    }

    #[test]
    fn nothing_is_accounted_for_that_no_run_has_accounted_for() {
        let mut state = SensorState::default();
        assert_eq!(state.accounted_up_to(), None);
        state.acquire(position(1), Some(StoredManifest::Offsets(Vec::new())));
        assert_eq!(state.accounted_up_to(), None);
        state.accounted = None;
        assert_eq!(state.accounted_up_to(), None, "there is news, and nobody knows since when");
    }
}
