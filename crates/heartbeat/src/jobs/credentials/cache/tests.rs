use std::collections::VecDeque;

use tokio::sync::Semaphore;

use super::*;

/// A server of tokens: each fetch takes a permit and the next answer.
#[derive(Clone)]
struct Server {
    permits: Arc<Semaphore>,
    answers: Arc<Mutex<VecDeque<Result<Duration, ()>>>>,
    asked: Arc<Mutex<u32>>,
}

impl Server {
    fn new(answers: impl IntoIterator<Item = Result<Duration, ()>>) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(100)),
            answers: Arc::new(Mutex::new(answers.into_iter().collect())),
            asked: Arc::default(),
        }
    }

    fn asked(&self) -> u32 {
        *self.asked.lock().unwrap()
    }

    fn cache(&self) -> TokenCache {
        let server = self.clone();
        TokenCache::new(Box::new(move || {
            let server = server.clone();
            async move {
                let number = {
                    let mut asked = server.asked.lock().unwrap();
                    *asked += 1;
                    *asked
                };
                server.permits.acquire().await.unwrap().forget();
                match server.answers.lock().unwrap().pop_front().unwrap() {
                    Ok(lifetime) => Ok(Granted {
                        token: Token::parse(&format!("t{number}")).unwrap(),
                        lifetime: Some(lifetime),
                    }),
                    Err(()) => Err(GrantError::NoAccount),
                }
            }
            .boxed()
        }))
    }
}

const HOUR: Duration = Duration::from_hours(1);
const MINUTE: Duration = Duration::from_mins(1);

async fn token(cache: &TokenCache) -> String {
    cache.get().await.unwrap().token.expose().to_owned()
}

/// Lets what was spawned run, without time passing.
async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_is_taken_until_it_is_stale_and_renewed_beside_then() {
    let server = Server::new([Ok(HOUR), Ok(HOUR)]);
    let cache = server.cache();
    assert_eq!(token(&cache).await, "t1");
    tokio::time::advance(39 * MINUTE).await;
    assert_eq!((token(&cache).await.as_str(), server.asked()), ("t1", 1));
    tokio::time::advance(2 * MINUTE).await;
    assert_eq!(token(&cache).await, "t1");
    settle().await;
    assert_eq!((token(&cache).await.as_str(), server.asked()), ("t2", 2));
}

#[tokio::test(start_paused = true)]
async fn a_short_life_is_stale_at_its_half() {
    let server = Server::new([Ok(10 * MINUTE), Ok(10 * MINUTE)]);
    let cache = server.cache();
    token(&cache).await;
    tokio::time::advance((5 * MINUTE).saturating_sub(Duration::from_secs(1))).await;
    token(&cache).await;
    settle().await;
    assert_eq!(server.asked(), 1);
    tokio::time::advance(Duration::from_secs(2)).await;
    token(&cache).await;
    settle().await;
    assert_eq!(server.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_failed_renewal_is_not_repeated_for_a_minute_and_the_old_token_goes_on() {
    let server = Server::new([Ok(HOUR), Err(()), Ok(HOUR)]);
    let cache = server.cache();
    token(&cache).await;
    tokio::time::advance(41 * MINUTE).await;
    token(&cache).await;
    settle().await;
    tokio::time::advance(MINUTE.saturating_sub(Duration::from_secs(1))).await;
    assert_eq!(token(&cache).await, "t1");
    settle().await;
    assert_eq!(server.asked(), 2);
    tokio::time::advance(Duration::from_secs(2)).await;
    assert_eq!(token(&cache).await, "t1");
    settle().await;
    assert_eq!((token(&cache).await.as_str(), server.asked()), ("t3", 3));
}

#[tokio::test(start_paused = true)]
async fn calls_wait_only_for_an_expired_token_and_one_fetch_serves_all() {
    let server = Server::new([Ok(HOUR), Ok(HOUR)]);
    let cache = server.cache();
    token(&cache).await;
    server.permits.forget_permits(100);
    tokio::time::advance(HOUR.saturating_sub(Duration::from_secs(40))).await;
    let calls: Vec<_> = (0..50)
        .map(|_| {
            let cache = cache.clone();
            tokio::spawn(async move { token(&cache).await })
        })
        .collect();
    settle().await;
    assert!(calls.iter().all(|call| !call.is_finished()) && server.asked() == 2);
    // A caller that gives up takes nothing from the others.
    calls[0].abort();
    server.permits.add_permits(1);
    for call in calls.into_iter().skip(1) {
        assert_eq!(call.await.unwrap(), "t2");
    }
    assert_eq!(server.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn without_a_token_a_failure_is_told_to_all_and_kept_for_ten_seconds() {
    let server = Server::new([Err(()), Ok(HOUR)]);
    let cache = server.cache();
    let (first, second) = tokio::join!(cache.get(), cache.get());
    assert!(first.is_err() && second.is_err() && cache.get().await.is_err());
    assert_eq!(server.asked(), 1);
    tokio::time::advance(HOLD_OFF_WITHOUT).await;
    assert_eq!(token(&cache).await, "t2");
}

#[tokio::test(start_paused = true)]
async fn a_refused_token_is_renewed_once_for_all_who_had_it() {
    let server = Server::new([Ok(HOUR), Ok(HOUR)]);
    let cache = server.cache();
    let refused = cache.get().await.unwrap();
    let (first, second) = tokio::join!(cache.renew(&refused), cache.renew(&refused));
    assert_eq!((first.unwrap().token.expose(), second.unwrap().token.expose()), ("t2", "t2"));
    assert_eq!(cache.renew(&refused).await.unwrap().token.expose(), "t2");
    assert_eq!(server.asked(), 2);
}

#[test]
fn a_token_without_an_end_is_taken() {
    let now = Instant::now();
    let lease = Lease::new(Granted { token: Token::parse("t").unwrap(), lifetime: None }, now);
    assert_eq!(step(Some(&lease), None, now + 1000 * HOUR), Step::Take);
    assert!(!format!("{lease:?}").contains("\"t\""));
}

#[tokio::test]
async fn a_fetch_that_panics_fails_its_callers_and_the_next_call_fetches_anew() {
    let server = Server::new([]);
    let cache = server.cache();
    assert!(matches!(cache.get().await.as_deref(), Err(error) if matches!(**error, GrantError::BrokenOff)));
    server.answers.lock().unwrap_or_else(PoisonError::into_inner).push_back(Ok(HOUR));
    server.answers.clear_poison();
    assert_eq!(token(&cache).await, "t2");
}
