//! What lies in `_delta_log`, told by its names.

use object_store::ObjectMeta;
use object_store::path::Path;

/// A file of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogFile {
    /// The entry that makes a version.
    Entry(u64),
    /// A checkpoint of a version, whole: classic, or v2 with an id in its name.
    Checkpoint(u64),
    /// One of the parts that are a version's checkpoint together.
    CheckpointPart(u64),
    /// A checksum, or entries up to this version in one file.
    Helper(u64),
}

impl LogFile {
    /// `None` for files elsewhere, and for names that say nothing of a version.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let name = path.as_ref().strip_prefix("_delta_log/")?;
        if name.contains('/') {
            return None;
        }
        let parts: Vec<&str> = name.split('.').collect();
        let version = version(parts[0])?;
        match parts[1..] {
            ["json"] => Some(Self::Entry(version)),
            ["checkpoint", "parquet"] | ["checkpoint", _, "parquet" | "json"] => {
                Some(Self::Checkpoint(version))
            }
            ["checkpoint", _, _, "parquet"] => Some(Self::CheckpointPart(version)),
            ["crc"] => Some(Self::Helper(version)),
            [to, "compacted", "json"] => Some(Self::Helper(self::version(to)?)),
            _ => None,
        }
    }

    /// The version that the file belongs to.
    pub(crate) fn version(self) -> u64 {
        let (Self::Entry(version)
        | Self::Checkpoint(version)
        | Self::CheckpointPart(version)
        | Self::Helper(version)) = self;
        version
    }
}

/// The files of the log among those of a listing.
pub(crate) fn log_files(listing: &[ObjectMeta]) -> impl Iterator<Item = (LogFile, &ObjectMeta)> {
    listing.iter().filter_map(|meta| Some((LogFile::of(&meta.location)?, meta)))
}

fn version(digits: &str) -> Option<u64> {
    if digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        digits.parse().ok()
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("_delta_log/00000000000000000012.json", Some(LogFile::Entry(12)))]
    #[case("_delta_log/00000000000000000012.checkpoint.parquet", Some(LogFile::Checkpoint(12)))]
    #[case(
        "_delta_log/00000000000000000012.checkpoint.80a083e8-7026-4e79-81be-64bd76c43a11.json",
        Some(LogFile::Checkpoint(12))
    )]
    #[case(
        "_delta_log/00000000000000000012.checkpoint.0000000001.0000000002.parquet",
        Some(LogFile::CheckpointPart(12))
    )]
    #[case("_delta_log/00000000000000000012.crc", Some(LogFile::Helper(12)))]
    #[case("_delta_log/00000000000000000012.00000000000000000020.compacted.json", Some(LogFile::Helper(20)))]
    #[case("_delta_log/_last_checkpoint", None)]
    #[case("_delta_log/_sidecars/00000000000000000012.json", None)]
    #[case("_delta_log/12.json", None)]
    #[case("_delta_log/00000000000000000012.json.tmp", None)]
    #[case("00000000000000000012.json", None)]
    fn names_tell_what_a_file_is(#[case] path: &str, #[case] expected: Option<LogFile>) {
        assert_eq!(LogFile::of(&Path::from(path)), expected);
    }
}
