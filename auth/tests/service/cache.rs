//! Redis before Postgres: what is counted, what is kept, what may not be put back.

use std::time::Instant;

use auth::cache::{Key, Lookup};
use serde_json::json;
use uuid::Uuid;

use crate::bench::{Bench, bench, shared_database, until, with};
use weir_test::redis::Redis;

async fn on(redis: &Redis) -> Bench {
    let bench = with(|settings| settings.redis = Some(redis.url().into())).await;
    until("redis is in use", async || bench.auth.cache.is_up() == Some(true)).await;
    bench
}

#[tokio::test(flavor = "multi_thread")]
async fn hits_and_misses_are_counted() {
    let bench = on(&Redis::shared()).await;
    let ada = bench.person().await;
    let count = async |outcome: &str| {
        bench
            .metric(&format!("auth_cache_reads_total{{kind=\"user\",outcome=\"{outcome}\"}}"))
            .await
    };
    assert_eq!(bench.me(&ada.access).await.status, 200);
    assert_eq!((count("miss").await, count("hit").await), (1.0, 0.0));
    for _ in 0..3 {
        assert_eq!(bench.me(&ada.access).await.status, 200);
    }
    assert_eq!((count("miss").await, count("hit").await), (1.0, 3.0));
    bench.call("PATCH /api/v1/me").bearer(&ada.access).json(&json!({"country": "SE"})).send().await;
    assert_eq!(count("written").await, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn cache_takes_no_old_row_from_a_slow_reader() {
    let bench = on(&Redis::shared()).await;
    let (cache, key) = (&bench.auth.cache, Key::User(Uuid::now_v7()));
    assert_eq!(cache.lookup(&key).await, Lookup::Miss);
    let began = Instant::now();
    cache.invalidate(std::slice::from_ref(&key)).await;
    cache.fill(&key, "\"old\"", began).await;
    assert_eq!(cache.lookup(&key).await, Lookup::Bypass);
}

#[tokio::test(flavor = "multi_thread")]
async fn cache_is_filled_by_the_first_and_by_no_stale_reading() {
    let bench = on(&Redis::shared()).await;
    let (cache, key) = (&bench.auth.cache, Key::User(Uuid::now_v7()));
    let long_ago =
        Instant::now().checked_sub(std::time::Duration::from_secs(4)).expect("it runs for longer");
    cache.fill(&key, "\"stale\"", long_ago).await;
    assert_eq!(cache.lookup(&key).await, Lookup::Miss);
    cache.fill(&key, "\"first\"", Instant::now()).await;
    cache.fill(&key, "\"second\"", Instant::now()).await;
    assert_eq!(cache.lookup(&key).await, Lookup::Hit("\"first\"".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn cache_keys_all_expire_and_none_holds_a_secret() {
    let redis = Redis::start();
    let bench = on(&redis).await;
    let ada = bench.person().await;
    bench.me(&ada.access).await;
    bench.call(&format!("GET /api/v1/users/{}", ada.name)).bearer(&ada.access).send().await;
    bench.login_call(&ada.name, "wrong horse battery").send().await;
    bench.call("PATCH /api/v1/me").bearer(&ada.access).json(&json!({"country": "SE"})).send().await;
    bench.me(&bench.login(&ada.name).await.access).await;
    bench.call("POST /api/v1/logout").bearer(&ada.access).send().await;
    let keys = redis.ask(&["keys", "*"]);
    let kinds = ["auth:user:", "auth:session:", "auth:name:", "auth:failed:account:"];
    assert!(kinds.iter().all(|kind| keys.contains(kind)), "{keys}");
    for key in keys.lines() {
        let left: i64 = redis.ask(&["pttl", key]).parse().expect("a number");
        assert!((1..=660_000).contains(&left), "{key} has {left} ms left");
        let value = redis.ask(&["get", key]);
        assert!(!value.contains("argon2") && !value.contains(&ada.refresh), "{key} holds a secret");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cache_shows_a_replica_what_another_one_wrote() {
    let redis = Redis::start();
    let one = on(&redis).await;
    let other = one.replica().await;
    until("redis is in use", async || other.auth.cache.is_up() == Some(true)).await;
    let ada = one.person().await;
    for round in 0..60 {
        let country = ["NO", "SE", "DK"][round % 3];
        let write =
            one.call("PATCH /api/v1/me").bearer(&ada.access).json(&json!({"country": country}));
        // Readers around the write try to put the old row back.
        let (written, _, _) =
            tokio::join!(write.send(), other.me(&ada.access), one.me(&ada.access));
        assert_eq!(written.status, 200);
        assert_eq!(other.me(&ada.access).await.json()["country"], country, "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cache_shows_a_change_by_others_when_the_row_expires() {
    let bench = bench().await;
    let ada = bench.person().await;
    until("redis is in use", async || bench.auth.cache.is_up() == Some(true)).await;
    bench.me(&ada.access).await;
    shared_database()
        .run(&format!("UPDATE auth.users SET country = 'FI' WHERE username = '{}'", ada.name));
    let id: Uuid = bench.me(&ada.access).await.member("id").parse().expect("an id");
    Redis::shared().ask(&["del", &Key::User(id).text()]);
    assert_eq!(bench.me(&ada.access).await.json()["country"], "FI");
}
