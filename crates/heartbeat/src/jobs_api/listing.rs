//! runs/list: which runs, in which order, in which pages.

use std::cmp::Reverse;

use super::record::{Phase, RunRecord};

/// What a list asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Query {
    pub(super) job_id: Option<i64>,
    active_only: bool,
    completed_only: bool,
    start_time_from: Option<i64>,
    start_time_to: Option<i64>,
    run_type: Option<String>,
    pub(super) expand_tasks: bool,
    limit: usize,
    offset: usize,
    cursor: Cursor,
}

/// Where a page begins.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Cursor {
    /// At the newest run.
    #[default]
    Start,
    /// Behind this place.
    After(Place),
    /// So that it ends before this place.
    Before(Place),
}

/// One page, with the tokens of its neighbours.
#[derive(Debug)]
pub(super) struct Page<'a> {
    pub(super) runs: Vec<&'a RunRecord>,
    pub(super) next: Option<String>,
    pub(super) previous: Option<String>,
}

/// A run's place in the order: newest first, by end time, unfinished ones by start time.
type Place = (Reverse<i64>, Reverse<i64>);

/// Documented as "less than 25", served as 25.
const MOST: usize = 25;

impl Query {
    /// Reads the parameters of the URL; the error is the message for the caller.
    pub(super) fn parse(parameters: &str) -> Result<Self, String> {
        let mut query = Self { limit: 20, ..Self::default() };
        for (key, value) in url::form_urlencoded::parse(parameters.as_bytes()) {
            let number =
                || value.parse::<i64>().map_err(|_| format!("{key} must be an integer, was '{value}'"));
            let flag =
                || value.parse::<bool>().map_err(|_| format!("{key} must be true or false, was '{value}'"));
            match &*key {
                "job_id" => query.job_id = Some(number()?),
                "active_only" => query.active_only = flag()?,
                "completed_only" => query.completed_only = flag()?,
                "start_time_from" => query.start_time_from = Some(number()?),
                "start_time_to" => query.start_time_to = Some(number()?),
                "expand_tasks" => query.expand_tasks = flag()?,
                "offset" => {
                    query.offset = usize::try_from(number()?).map_err(|_| "offset must not be negative")?;
                }
                "run_type" => query.run_type = Some(value.into_owned()),
                "limit" => {
                    query.limit = match usize::try_from(number()?) {
                        Ok(0) => MOST,
                        Ok(limit) if limit <= MOST => limit,
                        _ => return Err(format!("limit must be between 0 and {MOST}")),
                    }
                }
                "page_token" if value.is_empty() => {}
                "page_token" if query.cursor != Cursor::Start => {
                    return Err("page_token is given twice".to_owned());
                }
                "page_token" => {
                    query.cursor = cursor_of(&value).ok_or("page_token is not one of ours")?;
                }
                _ => {}
            }
        }
        if query.active_only && query.completed_only {
            return Err("active_only and completed_only exclude each other".to_owned());
        }
        Ok(query)
    }

    /// One page. `runs` may be the unfinished ones only if that is what is asked for.
    pub(super) fn page<'a>(&self, runs: impl Iterator<Item = &'a RunRecord>) -> Page<'a> {
        let mut found: Vec<_> = runs.filter(|run| self.wants(run)).collect();
        found.sort_unstable_by_key(|run| place(run));
        let (start, end) = match self.cursor {
            Cursor::Start => (self.offset, found.len()),
            Cursor::After(after) => (found.partition_point(|run| place(run) <= after), found.len()),
            Cursor::Before(before) => {
                let end = found.partition_point(|run| place(run) < before);
                (end.saturating_sub(self.limit), end)
            }
        };
        let start = start.min(found.len());
        let end = end.min(start + self.limit);
        let token = |kind: char, run: &RunRecord| {
            let (Reverse(time), Reverse(run_id)) = place(run);
            format!("{kind}-{time}-{run_id}")
        };
        let next = (end < found.len() && end > start).then(|| token('a', found[end - 1]));
        let previous = (start > 0 && end > start).then(|| token('b', found[start]));
        Page { runs: found[start..end].to_vec(), next, previous }
    }

    /// Whether only unfinished runs can be wanted.
    pub(super) fn is_of_unfinished(&self) -> bool {
        self.active_only
    }

    fn wants(&self, run: &RunRecord) -> bool {
        let done = matches!(run.phase, Phase::Done(_));
        let created = run.created.as_millisecond();
        !run.deleted
            && self.job_id.is_none_or(|job_id| run.job_id == job_id)
            && (done || !self.completed_only)
            && (!done || !self.active_only)
            && self.start_time_from.is_none_or(|from| created >= from)
            && self.start_time_to.is_none_or(|to| created <= to)
            && self.run_type.as_deref().is_none_or(|kind| kind == "JOB_RUN")
    }
}

fn place(run: &RunRecord) -> Place {
    (Reverse(run.ended.unwrap_or(run.created).as_millisecond()), Reverse(run.run_id))
}

fn cursor_of(token: &str) -> Option<Cursor> {
    let (kind, rest) = token.split_once('-')?;
    let (time, run_id) = rest.split_once('-')?;
    let place = (Reverse(time.parse().ok()?), Reverse(run_id.parse().ok()?));
    match kind {
        "a" => Some(Cursor::After(place)),
        "b" => Some(Cursor::Before(place)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobs_api::RunResult;
    use jiff::Timestamp;
    use rstest::rstest;
    use std::collections::BTreeMap;

    fn run(run_id: i64, job_id: i64, created: i64, ended: Option<i64>) -> RunRecord {
        let at = |millis| Timestamp::from_millisecond(millis).unwrap();
        RunRecord {
            run_id,
            job_id,
            phase: if ended.is_some() { Phase::Done(RunResult::Success) } else { Phase::Running },
            idempotency_token: None,
            parameters: BTreeMap::new(),
            overriding: serde_json::Map::new(),
            created: at(created),
            started: Some(at(created)),
            ended: ended.map(at),
            deleted: false,
            repairs: 0,
        }
    }

    fn ids(query: &str, runs: &[RunRecord]) -> Vec<i64> {
        Query::parse(query).unwrap().page(runs.iter()).runs.iter().map(|run| run.run_id).collect()
    }

    #[rstest]
    #[case("", &[3, 1, 4, 2])]
    #[case("job_id=7", &[1, 4])]
    #[case("active_only=true", &[4, 2])]
    #[case("completed_only=true", &[3, 1])]
    #[case("start_time_from=20&start_time_to=30", &[3, 2])]
    #[case("run_type=SUBMIT_RUN", &[])]
    #[case("limit=2&expand_tasks=true", &[3, 1])]
    fn lists_newest_first_and_filtered(#[case] query: &str, #[case] expected: &[i64]) {
        let runs =
            [run(1, 7, 10, Some(50)), run(2, 8, 20, None), run(3, 8, 30, Some(60)), run(4, 7, 40, None)];
        assert_eq!(ids(query, &runs), expected);
    }

    #[test]
    fn pages_follow_each_other_without_gap_or_repeat() {
        let runs: Vec<_> = (1..=60).map(|id| run(id, 1, id / 3, None)).collect();
        let (mut seen, mut token) = (Vec::new(), String::new());
        loop {
            let query = Query::parse(&format!("limit=0&page_token={token}")).unwrap();
            let page = query.page(runs.iter());
            assert!(page.runs.len() <= 25);
            seen.extend(page.runs.iter().map(|run| run.run_id));
            let Some(next) = page.next else { break };
            token = next;
        }
        assert_eq!(seen, (1..=60).rev().collect::<Vec<_>>());
        let page = |query: &str| {
            let page = Query::parse(query).unwrap().page(runs.iter());
            (page.runs.iter().map(|run| run.run_id).collect::<Vec<_>>(), page.previous, page.next)
        };
        let (last, previous, next) = page(&format!("limit=25&page_token={token}"));
        assert_eq!((last, next), ((1..=10).rev().collect(), None));
        let (middle, ..) = page(&format!("limit=25&page_token={}", previous.unwrap()));
        assert_eq!(middle, (11..=35).rev().collect::<Vec<_>>());
        assert_eq!(page("limit=2&offset=3").0, [57, 56]);
        assert_eq!(page("offset=99"), (Vec::new(), None, None));
    }

    #[rstest]
    #[case("active_only=true&completed_only=true", "exclude")]
    #[case("limit=26", "limit")]
    #[case("limit=-1", "limit")]
    #[case("job_id=x", "job_id")]
    #[case("active_only=1", "active_only")]
    #[case("page_token=zz", "page_token")]
    fn mistakes_are_named(#[case] query: &str, #[case] named: &str) {
        assert!(Query::parse(query).unwrap_err().contains(named));
    }
}
