//! Control and sensor tables in Delta: one snapshot in, one compare-and-swap commit out. And the journal.
//!
//! The log is read by the Delta kernel; data files are read, rewritten and committed here, because a commit
//! must rewrite no more than the files that hold changed rows, must carry columns that are not ours through
//! unchanged, and must fail, as a value, whenever anybody committed since the snapshot was read.
//! `docs/spike-delta.md` says what was tried and measured.

mod blobs;
mod cell;
mod checkpoint;
mod commit;
mod entry;
mod error;
mod file;
mod journal;
mod layout;
mod location;
mod log;
mod log_dir;
mod maintain;
mod plan;
mod protocol;
mod record;
mod retention;
mod stale;
mod table;
mod tombstones;

pub use blobs::{DeltaBlobs, Pruned};
pub use error::{Access, ColumnProblem, Error, Problems};
pub use journal::{DeltaJournal, JournalMaintained, JournalRetention};
pub use maintain::Maintained;
pub use record::{Cell, CellMut, Column, DeltaRecord, Kind};
pub use retention::Retention;
pub use table::{Backing, DeltaTable, Init};
