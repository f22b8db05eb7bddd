//! What messages mean for rows.

use heartbeat_core::acon::TriggerTrust;
use heartbeat_core::files::{Difference, REMEMBERED};
use heartbeat_core::position::{FilesPosition, Position};
use heartbeat_core::source::{Answer, Ask, Finding, SourceError};
use jiff::{SignedDuration, Timestamp};

use super::super::judge::{self, FirstLook, Sight, Standing};
use super::super::pass::{Answers, Group, Pass};
use super::is_forbidden;
use crate::stores::{Fault, Listed, Listing, Start, StoreError};

/// Names of files that have gone are forgotten at last. A message that is about as old may tell of such a file.
const OLD: SignedDuration = SignedDuration::from_hours(REMEMBERED.as_hours() - 24);

/// Files that are judged at one look where each takes a request.
const MOST_ASKED_FOR: usize = 200;

/// Answers to the questions about a folder, as far as messages give them.
pub(super) async fn judged(
    pass: &Pass<'_>,
    group: &Group<'_>,
    is_listed: bool,
    broken: Option<&StoreError>,
    listed: &[Option<Result<Answer, SourceError>>],
) -> Answers {
    let (files, now) = {
        let told = pass.source.told();
        (told.hand.files(group.name), told.now.unwrap_or_else(Timestamp::now))
    };
    let sight = sight(files, now);
    // What is known of an earlier look does not count where this one tried again.
    let is_forbidden = is_forbidden(pass, group.name) && (!is_listed || pass.unlisted().contains(group.name));
    let mut answers = Vec::new();
    for index in &group.asks {
        // What a listing has found comes first; the rest is asked from there.
        if let Some(Ok(Answer::Found(_))) = &listed[*index] {
            continue;
        }
        let answer = match told_of(pass, group.name, &pass.asks[*index], &sight, is_forbidden, broken).await {
            Ok(Some(found)) => Some(Ok(found.into())),
            Ok(None) if listed[*index].is_some() || (is_listed && !is_forbidden) => None,
            Ok(None) => Some(broken.map_or(Ok(Answer::Same), |error| Err(error.to_source()))),
            Err(error) => Some(Err(error)),
        };
        answers.extend(answer.map(|answer| (*index, answer)));
    }
    answers
}

/// What messages tell a row.
async fn told_of(
    pass: &Pass<'_>,
    name: &str,
    ask: &Ask,
    sight: &Sight,
    is_forbidden: bool,
    broken: Option<&StoreError>,
) -> Result<Option<Finding>, SourceError> {
    let (rules, runs) = (pass.source.rules(), &pass.source.runs);
    let folder = pass.source.folder_url(&pass.store, name);
    match judge::standing(ask, &folder, rules)? {
        Standing::At(_) if sight.files.is_empty() => Ok(None),
        Standing::At(cursor) => {
            let difference = difference(pass, cursor, sight).await?;
            news(pass, name, cursor, difference, sight).await
        }
        // A listing shows what is there.
        Standing::New(..) if !is_forbidden => Ok(None),
        Standing::New(..) if broken.is_some() => Ok(None),
        Standing::New(first, remark) => {
            let files = sight.files.iter().take(most_judged(pass)).cloned().collect();
            let files = confirmed(pass, name, files, sight.now).await?;
            let mut look = FirstLook::new(&folder, first, remark, rules);
            let sight = Sight { files, after: None, upto: None, ..*sight };
            let part = look.judge(&sight, rules, &pass.trusts(name)).await?;
            look.add(part);
            let mut found = look.finish(runs).await?;
            // What was there before must not be asked about again as if it could be seen.
            found.keep = true;
            found.remarks.push(unlisted(&folder));
            Ok(Some(found))
        }
    }
}

/// What a row finds that has looked before, in what messages tell.
async fn news(
    pass: &Pass<'_>,
    name: &str,
    cursor: &FilesPosition,
    mut difference: Difference,
    sight: &Sight,
) -> Result<Option<Finding>, SourceError> {
    difference.new.truncate(most_judged(pass));
    let is_named = |file: &&Listed| difference.new.binary_search(&file.path).is_ok();
    let named = sight.files.iter().filter(is_named).cloned().collect();
    let files = confirmed(pass, name, named, sight.now).await?;
    difference.new.retain(|path| files.binary_search_by(|file| file.path.cmp(path)).is_ok());
    if difference.is_empty() {
        return Ok(None);
    }
    let (rules, runs, trusts) = (pass.source.rules(), &pass.source.runs, pass.trusts(name));
    let found = judge::found(cursor, difference, &files, sight.now, rules, runs, &trusts).await?;
    if let (TriggerTrust::Signed(_), Position::Files(position)) = (&pass.source.config.trust, &found.position)
    {
        // Files that were gone when they were to be read are not seen, and nothing more comes of them.
        let gone = self::difference(pass, position, &self::sight(files, sight.now)).await?.new;
        pass.source
            .told()
            .hand
            .settle(name, |path| gone.binary_search_by(|gone| gone.as_str().cmp(path)).is_ok());
        if found.position == Position::Files(cursor.clone())
            && found.news.is_none()
            && found.remarks.is_empty()
        {
            return Ok(None);
        }
    }
    Ok(Some(found))
}

/// What people should know of a folder that cannot be listed.
pub(in super::super) fn unlisted(folder: &str) -> String {
    format!(
        "folder `{folder}` may not be listed (s3:ListBucket on the bucket): it lives by the messages of the queue; what was \
         there before is no news, and a message that gets lost is not found"
    )
}

fn most_judged(pass: &Pass<'_>) -> usize {
    if pass.source.config.trust == TriggerTrust::Anyone { usize::MAX } else { MOST_ASKED_FOR }
}

/// Asks the store about files of which a message does not tell enough: whose they are, where that matters, and whether they
/// are still there, where the message is so old that their names may have been forgotten. Those that are not are done with.
async fn confirmed(
    pass: &Pass<'_>,
    name: &str,
    files: Vec<Listed>,
    now: Timestamp,
) -> Result<Vec<Listed>, SourceError> {
    let by_owner = matches!(pass.source.config.trust, TriggerTrust::Owners(_));
    let mut confirmed = Vec::with_capacity(files.len());
    for file in files {
        let is_old = file.modified.is_none_or(|modified| now.duration_since(modified) > OLD);
        if !(by_owner || is_old) {
            confirmed.push(file);
            continue;
        }
        let prefix = format!("{name}/{}", file.path);
        let listing = Listing { prefix: &prefix, start: Start::Beginning, limit: 1 };
        match pass.store.list(&listing, pass.deadline).await {
            Ok(page) => match page.files.into_iter().find(|found| found.path == prefix) {
                Some(found) => confirmed.push(Listed { path: file.path, ..found }),
                None => pass.source.told().hand.settle(name, |path| path == file.path),
            },
            // Where nothing is listed no name is ever forgotten.
            Err(StoreError { fault: Fault::Forbidden { .. }, .. }) if !by_owner => confirmed.push(file),
            Err(error) => return Err(error.to_source()),
        }
    }
    Ok(confirmed)
}

/// Files that messages tell of, as a part of a folder.
pub(super) fn sight(files: Vec<Listed>, now: Timestamp) -> Sight {
    // What lies before the first file needs no reading: its name without the last sign sorts before it.
    let after = files.first().map(|file| {
        let mut before = file.path.clone();
        before.pop();
        before
    });
    let upto = files.last().map(|file| file.path.clone());
    Sight { files, after: after.filter(|after| !after.is_empty()), upto, whole: false, now }
}

/// What is new. A message says nothing about files that were seen and have gone: it may be older than that.
pub(super) async fn difference(
    pass: &Pass<'_>,
    cursor: &FilesPosition,
    sight: &Sight,
) -> Result<Difference, SourceError> {
    let Difference { new, .. } = judge::difference(cursor, sight, &pass.source.runs).await?;
    Ok(Difference { new, ..Difference::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sight_of_messages_begins_right_before_its_first_file() {
        let file =
            |path: &str| Listed { path: path.to_owned(), size: 0, etag: None, modified: None, owner: None };
        let of = |paths: &[&str]| sight(paths.iter().map(|path| file(path)).collect(), Timestamp::UNIX_EPOCH);
        let some = of(&["bc", "d"]);
        assert_eq!((some.after.as_deref(), some.upto.as_deref()), (Some("b"), Some("d")));
        assert_eq!(of(&["é"]).after, None);
        assert_eq!((of(&[]).after, of(&[]).upto), (None, None));
    }
}
