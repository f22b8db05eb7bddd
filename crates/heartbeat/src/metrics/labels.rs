//! Labels: words of enums, and names from the configuration.

use heartbeat_core::acon::SourceKind;

/// A source: its kind, and its name in the configuration.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SourceLabel {
    kind: SourceKind,
    name: String,
}

impl SourceLabel {
    /// The label of a source.
    pub fn new(kind: SourceKind, name: impl Into<String>) -> Self {
        Self { kind, name: name.into() }
    }

    pub(super) fn kind(&self) -> &str {
        self.kind.as_str()
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn values(&self) -> [&str; 2] {
        [self.kind.as_str(), &self.name]
    }
}

/// A table: its name in the configuration, and what it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableLabel {
    name: String,
    role: TableRole,
}

impl TableLabel {
    /// The label of a table.
    pub fn new(name: impl Into<String>, role: TableRole) -> Self {
        Self { name: name.into(), role }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn role(&self) -> TableRole {
        self.role
    }

    pub(super) fn values(&self) -> [&str; 2] {
        [&self.name, self.role.as_str()]
    }
}

/// How a check went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckResult {
    /// Every row was looked at.
    Ok,
    /// Some rows could not be looked at.
    Partly,
    /// No row could be looked at, or the tables could not be read.
    Failed,
}

impl CheckResult {
    pub(super) const ALL: [Self; 3] = [Self::Ok, Self::Partly, Self::Failed];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Partly => "partly",
            Self::Failed => "failed",
        }
    }
}

/// The answer to a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartResult {
    /// A run.
    Accepted,
    /// The Jobs API refused, or was never reached.
    Refused,
    /// No answer; the claim stays open.
    Unknown,
}

impl StartResult {
    pub(super) const ALL: [Self; 3] = [Self::Accepted, Self::Refused, Self::Unknown];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Refused => "refused",
            Self::Unknown => "unknown",
        }
    }
}

/// Where a job's claim stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunPhase {
    /// No run is known yet.
    Claimed,
    /// Its run goes on.
    Active,
    /// Its run failed; a success is waited for.
    Failed,
}

impl RunPhase {
    pub(super) const ALL: [Self; 3] = [Self::Claimed, Self::Active, Self::Failed];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Claimed => "claimed",
            Self::Active => "active",
            Self::Failed => "failed",
        }
    }
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunEnd {
    /// All went well.
    Succeeded,
    /// It failed, or was stopped.
    Failed,
    /// It never ran.
    Skipped,
}

impl RunEnd {
    pub(super) const ALL: [Self; 3] = [Self::Succeeded, Self::Failed, Self::Skipped];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }
}

/// What a table is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableRole {
    /// The control table.
    Control,
    /// The sensor table.
    Sensor,
    /// The journal.
    Journal,
}

impl TableRole {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Control => "control",
            Self::Sensor => "sensor",
            Self::Journal => "journal",
        }
    }
}

/// What became of journal entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JournalResult {
    /// They are in the journal.
    Written,
    /// They are lost.
    Dropped,
}

impl JournalResult {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Written => "written",
            Self::Dropped => "dropped",
        }
    }
}

/// An endpoint of the Jobs API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApiCall {
    /// Starts a job.
    RunNow,
    /// Asks for one run.
    GetRun,
    /// Asks for the runs of a job.
    ListRuns,
}

impl ApiCall {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::RunNow => "run_now",
            Self::GetRun => "get_run",
            Self::ListRuns => "list_runs",
        }
    }
}

/// How one call went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApiResult {
    /// It was answered.
    Ok,
    /// It was answered with an error.
    Refused,
    /// It was told to come back later.
    Throttled,
    /// No answer, or one that is not known to be final.
    NoAnswer,
}

impl ApiResult {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Refused => "refused",
            Self::Throttled => "throttled",
            Self::NoAnswer => "no_answer",
        }
    }
}
