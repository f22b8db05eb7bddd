//! What a look costs does not depend on how much was seen before.

use super::*;
use crate::stores::memory::Series;

fn path(number: u64) -> String {
    let (day, second) = (number / 86_400, number % 86_400);
    let (month, day) = (1 + day / 28, 1 + day % 28);
    format!("t/t_2025{month:02}{day:02}_{:02}{:02}{:02}.txt", second / 3600, second / 60 % 60, second % 60)
}

struct Folder {
    store: Arc<Store>,
    source: TriggerFileSource,
    kept: Arc<MemoryRuns>,
    since: Since,
}

impl Folder {
    fn holding(count: u64) -> Self {
        let store = MemoryStore::new(Order::ByPath, 1000).with_series(Series { count, path });
        store.set_now("2026-01-01T00:00:00Z".parse().unwrap());
        let (store, kept) = (Arc::new(Store::Memory(store)), Arc::new(MemoryRuns::default()));
        let config = TriggerFiles::at(Location::parse("s3://bucket/base").unwrap());
        let runs: Arc<dyn RunStore> = Arc::<MemoryRuns>::clone(&kept);
        let source = TriggerFileSource::new(&config, &Arc::new(Secrets::default()), runs);
        let source = source.patient().on(Arc::clone(&store));
        Self { store, source, kept, since: Since::Beginning }
    }

    fn put(&self, path: &str) {
        memory(&self.store).put(path, "Success");
    }

    /// A look, with what it cost.
    async fn look(&mut self) -> (Option<Manifest>, TrafficCount, u64) {
        let (before, written) = (self.store.traffic(), self.kept.written());
        let asks: Arc<[Ask]> = [ask("t", self.since.clone())].into();
        let answer = self.source.look(&asks, soon()).await.remove(0).unwrap();
        let news = match answer {
            Answer::Same => None,
            Answer::Found(found) => {
                self.since = Since::Position(found.position);
                found.news
            }
        };
        let after = self.store.traffic();
        let cost = TrafficCount {
            requests: after.requests - before.requests,
            received: after.received - before.received,
        };
        (news, cost, self.kept.written() - written)
    }
}

#[tokio::test]
async fn jobs_that_have_seen_the_same_of_a_large_folder_ask_once() {
    let mut folder = Folder::holding(1_000);
    folder.look().await;
    folder.look().await;
    let one = folder.look().await.1;
    let asks: Arc<[Ask]> = (0..50).map(|_| ask("t", folder.since.clone())).collect();
    folder.source.look(&asks, soon()).await;
    folder.put("t/t_20251231_000000.txt");
    let before = folder.store.traffic();
    let answers = folder.source.look(&asks, soon()).await;
    let found =
        answers.iter().filter(|answer| matches!(answer, Ok(Answer::Found(found)) if found.news.is_some()));
    assert_eq!(found.count(), 50);
    assert_eq!(folder.store.traffic().requests - before.requests, one.requests);
}

#[tokio::test]
async fn a_new_file_among_a_million_costs_what_it_costs_among_a_thousand() {
    let mut costs = Vec::new();
    for count in [1_000, 1_000_000] {
        let mut folder = Folder::holding(count);
        let (news, first, _) = folder.look().await;
        let found = match news {
            Some(Manifest::Files(files)) => files.len() as u64,
            Some(Manifest::ManyFiles(many)) => many.count,
            other => panic!("files expected, not {other:?}"),
        };
        assert_eq!(found, count);
        // A sweep's few pages come before it is known to be large.
        assert!(first.requests <= count / 1000 + 8, "{first:?}");
        // The first full listing, and the first names that are moved out of the row.
        folder.put("t/t_20251230_000000.txt");
        folder.look().await;
        folder.look().await;
        let idle = folder.look().await;
        folder.put("t/t_20251231_000000.txt");
        let (news, cost, written) = folder.look().await;
        assert!(matches!(news, Some(Manifest::Files(files)) if files.len() == 1));
        costs.push((idle.1.requests, cost, written));
        let Since::Position(Position::Files(position)) = &folder.since else { panic!("files expected") };
        assert!(position.seen.len() <= MOST_INLINE && position.runs.len() < 5, "{}", position.runs.len());
    }
    assert_eq!(costs[0], costs[1]);
    assert_eq!((costs[0].0, costs[0].1.requests, costs[0].2), (1, 1, 0));
}

#[tokio::test]
async fn ten_thousand_files_at_once_are_one_piece_of_news() {
    let mut folder = Folder::holding(1);
    folder.look().await;
    for number in 1..=10_000 {
        folder.put(&path(number));
    }
    let (news, cost, _) = folder.look().await;
    assert!(matches!(news, Some(Manifest::Files(files)) if files.len() == 10_000));
    assert!(cost.requests <= 30, "{cost:?}");
    assert_eq!(folder.look().await.0, None);
}

/// Ten thousand folders are listed like one, and a folder that is large is not read through.
#[tokio::test]
async fn many_folders_cost_what_one_listing_costs() {
    let store = MemoryStore::new(Order::ByPath, 1000);
    for number in 0..2_000 {
        for file in 0..5 {
            store.put(&format!("s{number:04}/s{number:04}_2025010{file}_000000.txt"), "Success");
        }
    }
    for number in 0..5_000 {
        store.put(&format!("s1000/{number:04}"), "x");
        store.put(&format!("s1000-other/{number:04}"), "x");
    }
    let store = Arc::new(Store::Memory(store));
    let config = TriggerFiles::at(Location::parse("s3://bucket/base").unwrap());
    let source =
        TriggerFileSource::new(&config, &Arc::new(Secrets::default()), Arc::new(MemoryRuns::default()));
    let source = source.on(Arc::clone(&store));
    let mut since = vec![Since::Beginning; 2_000];
    let mut requests = 0;
    for _ in 0..3 {
        let asks: Arc<[Ask]> = since
            .iter()
            .enumerate()
            .map(|(number, since)| ask(&format!("s{number:04}"), since.clone()))
            .collect();
        let before = store.traffic().requests;
        let answers = source.look(&asks, soon()).await;
        requests = store.traffic().requests - before;
        for (since, answer) in since.iter_mut().zip(answers) {
            if let Answer::Found(found) = answer.unwrap() {
                *since = Since::Position(found.position);
            }
        }
    }
    assert!(since.iter().all(|since| matches!(since, Since::Position(_))));
    assert!(requests <= 16, "{requests} requests for 10,000 files in small folders, and two large ones");
}
