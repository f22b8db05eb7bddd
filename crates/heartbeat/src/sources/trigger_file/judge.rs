//! What a listing means for one row.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use heartbeat_core::files::{Builder, Difference, EVERYTHING, NewRun, Stretch};
use heartbeat_core::position::{FilesPosition, Gathered, Manifest, NewFile, Position};
use heartbeat_core::source::{Answer, Ask, Finding, Since, SourceError};
use jiff::{SignedDuration, Timestamp};

use super::runs::{Runs, damaged};
use super::trust::{Judge as Trusts, Verdict};
use crate::stores::Listed;

/// Files of one folder, or of a part of it.
#[derive(Debug)]
pub(super) struct Sight {
    /// Those that count, sorted by path, each once.
    pub(super) files: Vec<Listed>,
    /// It begins behind this path.
    pub(super) after: Option<String>,
    /// It ends with this path.
    pub(super) upto: Option<String>,
    /// Whether all files in between were listed.
    pub(super) whole: bool,
    /// What time it is for the store.
    pub(super) now: Timestamp,
}

impl Sight {
    fn stretch(&self) -> Stretch<'_> {
        Stretch { after: self.after.as_deref(), upto: self.upto.as_deref(), whole: self.whole }
    }

    /// Whether it shows the whole folder.
    pub(super) fn is_everything(&self) -> bool {
        self.stretch() == EVERYTHING
    }
}

/// The rules of a source that news is judged by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    pub(super) max_age: Option<SignedDuration>,
    pub(super) include_existing: bool,
    pub(super) most_inline: usize,
}

/// Where a row stands in a folder.
pub(super) enum Standing<'a> {
    /// It has looked at this folder.
    At(&'a FilesPosition),
    /// It has not; what is there is news by this rule.
    New(First, Option<String>),
}

/// What counts at a first look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum First {
    /// Everything that is there.
    Everything,
    /// What came at or after this time.
    From(Timestamp),
    /// Nothing that is there.
    Nothing,
}

/// Where a row stands, with a remark when its folder is another than before.
pub(super) fn standing<'a>(ask: &'a Ask, folder: &str, rules: Rules) -> Result<Standing<'a>, SourceError> {
    Ok(match &ask.since {
        Since::Position(Position::Files(cursor)) if is_same(&cursor.folder, folder) => Standing::At(cursor),
        Since::Position(Position::Files(cursor)) => {
            let remark = format!("the folder moved from {}: every file in it is new", cursor.folder);
            Standing::New(First::Everything, Some(remark))
        }
        Since::Position(Position::Kafka(_) | Position::Topics(_)) => {
            let problem = "its stored position is one of a Kafka topic".to_owned();
            return Err(SourceError::Misconfigured { problem });
        }
        Since::Beginning if rules.include_existing => Standing::New(First::Everything, None),
        Since::Time(from) => Standing::New(First::From(*from), None),
        Since::Beginning | Since::Now => Standing::New(First::Nothing, None),
    })
}

/// Spellings of one folder: volumes were `file:` URLs where they are mounted.
pub(crate) fn is_same(one: &str, two: &str) -> bool {
    let plain = |url: &str| url.replacen("file:///Volumes/", "dbfs:/Volumes/", 1);
    one == two || plain(one) == plain(two)
}

/// What is new for a row that has looked before; `None`: the folder stands where the row stands.
pub(super) async fn compare(
    cursor: &FilesPosition,
    sight: &Sight,
    rules: Rules,
    runs: &Runs,
    trusts: &Trusts<'_>,
) -> Result<Option<Finding>, SourceError> {
    if is_as_seen(cursor, sight) {
        return Ok(None);
    }
    let difference = difference(cursor, sight, runs).await?;
    if difference.is_empty() {
        return Ok(None);
    }
    found(cursor, difference, &sight.files, sight.now, rules, runs, trusts).await.map(Some)
}

/// Whether a small folder holds just what was seen: most folders do at most looks, and nothing is copied to find out.
fn is_as_seen(cursor: &FilesPosition, sight: &Sight) -> bool {
    sight.is_everything()
        && cursor.runs.is_empty()
        && cursor.gone.is_empty()
        && cursor.seen.iter().eq(sight.files.iter().map(|file| &file.path))
}

/// How the files in sight differ from what the row has seen.
pub(super) async fn difference(
    cursor: &FilesPosition,
    sight: &Sight,
    runs: &Runs,
) -> Result<Difference, SourceError> {
    let listed: Vec<&str> = sight.files.iter().map(|file| file.path.as_str()).collect();
    let needed = cursor.needed(&listed, sight.stretch()).into_iter().map(|run| run.sha256.clone()).collect();
    let files = runs.load(needed).await?;
    cursor.compare(&listed, sight.stretch(), &files, sight.now).map_err(damaged)
}

/// The finding that a difference makes; `files` hold those that are new.
pub(super) async fn found(
    cursor: &FilesPosition,
    difference: Difference,
    files: &[Listed],
    now: Timestamp,
    rules: Rules,
    runs: &Runs,
    trusts: &Trusts<'_>,
) -> Result<Finding, SourceError> {
    let mut difference = difference;
    let named = difference.new.iter().filter_map(|path| {
        let at = files.binary_search_by(|file| file.path.as_str().cmp(path));
        at.ok().map(|at| files[at].clone())
    });
    let complete = trusts.complete(named.collect(), rules.max_age.is_some()).await?;
    let news = News::of(&complete, First::Everything, now, rules, trusts).await?;
    // A file that is gone again before it can be looked at is no news, and not seen either.
    let stays: BTreeSet<&str> = complete
        .iter()
        .map(|file| file.path.as_str())
        .filter(|path| !news.vanished.iter().any(|gone| gone == path))
        .collect();
    difference.new.retain(|path| stays.contains(path.as_str()));
    let position = changed(cursor, difference, now, rules, runs).await?;
    Ok(news.finding(position, false))
}

/// The cursor with a difference taken in. What it names beside the table is stored.
async fn changed(
    cursor: &FilesPosition,
    difference: Difference,
    now: Timestamp,
    rules: Rules,
    runs: &Runs,
) -> Result<FilesPosition, SourceError> {
    let change = cursor.change(difference, now, rules.most_inline);
    let files = runs.load(change.needed().map(str::to_owned).collect()).await?;
    let (position, written) = change.carry_out(&files).map_err(damaged)?;
    runs.store(written).await?;
    Ok(position)
}

/// A first look, which may take many pages.
#[derive(Debug)]
pub(super) struct FirstLook {
    first: First,
    builder: Builder,
    news: News,
    /// Runs that could not be stored yet.
    unstored: Vec<NewRun>,
    began: Instant,
}

/// Runs that nothing names yet are cleared away after an hour: those of a first look that takes longer are looked for
/// before they are named.
const RUNS_STAY: Duration = Duration::from_mins(30);

/// What a part of a folder means for a first look.
#[derive(Debug)]
pub(super) struct Part {
    paths: Vec<String>,
    news: News,
}

impl FirstLook {
    pub(super) fn new(folder: &str, first: First, remark: Option<String>, rules: Rules) -> Self {
        let news = News { remarks: remark.into_iter().collect(), ..News::default() };
        let builder = Builder::new(folder, rules.most_inline);
        Self { first, builder, news, unstored: Vec::new(), began: Instant::now() }
    }

    /// Judges the next part; nothing is taken in yet.
    pub(super) async fn judge(
        &self,
        sight: &Sight,
        rules: Rules,
        trusts: &Trusts<'_>,
    ) -> Result<Part, SourceError> {
        let files = match self.first {
            First::Nothing => sight.files.clone(),
            First::Everything => trusts.complete(sight.files.clone(), rules.max_age.is_some()).await?,
            First::From(_) => trusts.complete(sight.files.clone(), true).await?,
        };
        let news = News::of(&files, self.first, sight.now, rules, trusts).await?;
        let paths = files.into_iter().map(|file| file.path);
        let paths = paths.filter(|path| !news.vanished.contains(path)).collect();
        Ok(Part { paths, news })
    }

    /// Takes a part in.
    pub(super) fn add(&mut self, part: Part) {
        self.news.add(part.news);
        for path in part.paths {
            self.unstored.extend(self.builder.push(path));
        }
    }

    /// Stores what has come together.
    pub(super) async fn store(&mut self, runs: &Runs) -> Result<(), SourceError> {
        while let Some(run) = self.unstored.last() {
            runs.store(vec![run.clone()]).await?;
            self.unstored.pop();
        }
        Ok(())
    }

    /// All of it is seen.
    pub(super) async fn finish(mut self, runs: &Runs) -> Result<Finding, SourceError> {
        self.store(runs).await?;
        let (position, last) = self.builder.finish();
        runs.store(last.into_iter().collect()).await?;
        if self.began.elapsed() > RUNS_STAY {
            runs.renew(&position.runs).await?;
        }
        // What is passed over must not be looked at again as if it were the first time.
        let is_passed_over = self.news.gathered.is_empty() && position.names() > 0;
        let keep = self.first != First::Everything || is_passed_over;
        Ok(self.news.finding(position, keep))
    }
}

/// News as it is gathered.
#[derive(Debug, Default)]
struct News {
    gathered: Gathered,
    remarks: Vec<String>,
    unlisted_remarks: usize,
    /// Files that were gone when they were to be read.
    vanished: Vec<String>,
}

/// More remarks than this are counted.
const MOST_REMARKS: usize = 20;

impl News {
    async fn of(
        files: &[Listed],
        first: First,
        now: Timestamp,
        rules: Rules,
        trusts: &Trusts<'_>,
    ) -> Result<Self, SourceError> {
        let mut news = Self::default();
        let mut late_enough = Vec::with_capacity(files.len());
        for file in files {
            let is_late_enough = match first {
                First::Nothing => false,
                First::Everything => true,
                First::From(from) => file.modified.is_none_or(|modified| modified >= from),
            };
            let is_old = matches!((rules.max_age, file.modified), (Some(most), Some(modified)) if now.duration_since(modified) > most);
            match (is_late_enough, is_old) {
                (true, false) => late_enough.push(file.clone()),
                (true, true) => news.remark(format!(
                    "{} was older than max_file_age when it was first seen: it starts nothing",
                    file.path
                )),
                (false, _) => {}
            }
        }
        let verdicts = trusts.of(&late_enough).await?;
        for (file, verdict) in late_enough.into_iter().zip(verdicts) {
            let Listed { path, size, etag, modified, .. } = file;
            match verdict {
                Verdict::Trusted => news.gathered.push(NewFile { path, size, etag, modified }),
                Verdict::Not(why) => news.remark(format!("{path} starts nothing: {why}")),
                Verdict::Gone => news.vanished.push(path),
            }
        }
        Ok(news)
    }

    fn add(&mut self, other: Self) {
        self.gathered.add(other.gathered);
        self.unlisted_remarks += other.unlisted_remarks;
        for remark in other.remarks {
            self.remark(remark);
        }
    }

    fn remark(&mut self, text: String) {
        if self.remarks.len() < MOST_REMARKS {
            self.remarks.push(text);
        } else {
            self.unlisted_remarks += 1;
        }
    }

    fn finding(mut self, position: FilesPosition, keep: bool) -> Finding {
        if self.unlisted_remarks > 0 {
            self.remarks.push(format!("and {} files more that start nothing", self.unlisted_remarks));
        }
        let news: Option<Manifest> = self.gathered.manifest();
        Finding { news, keep, remarks: self.remarks, ..Finding::at(Position::Files(position)) }
    }
}

/// An idle row has nothing to tell.
pub(super) fn answer(finding: Option<Finding>) -> Answer {
    finding.map_or(Answer::Same, Answer::from)
}
