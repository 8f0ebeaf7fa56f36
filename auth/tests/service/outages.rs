//! Redis and the database go away in the middle of work and come back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::json;
use tokio::task::JoinSet;

use crate::bench::{Bench, PASSWORD, migrated, on, until, with};
use weir_test::postgres::Server;
use weir_test::redis::Redis;

/// New people who are read by both replicas, change something by one of them and are read again;
/// what goes wrong is kept.
struct Load {
    rounds: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    workers: JoinSet<Vec<String>>,
}

impl Load {
    fn start(writer: &Arc<Bench>, reader: &Arc<Bench>) -> Self {
        let mut load =
            Self { rounds: Arc::default(), stop: Arc::default(), workers: JoinSet::new() };
        for _ in 0..4 {
            let (rounds, stop) = (Arc::clone(&load.rounds), Arc::clone(&load.stop));
            let (writer, reader) = (Arc::clone(writer), Arc::clone(reader));
            load.workers.spawn(async move {
                let mut wrong = Vec::new();
                while !stop.load(Ordering::SeqCst) {
                    wrong.extend(round(&writer, &reader).await);
                    rounds.fetch_add(1, Ordering::SeqCst);
                }
                wrong
            });
        }
        load
    }

    /// Waits until everybody did a good deal more.
    async fn more(&self) {
        let enough = self.rounds.load(Ordering::SeqCst) + 60;
        until("the load goes on", async || self.rounds.load(Ordering::SeqCst) >= enough).await;
    }

    async fn end(self) -> Vec<String> {
        self.stop.store(true, Ordering::SeqCst);
        self.workers.join_all().await.concat()
    }
}

/// Reads that fill the cache, a write, then reads by both; which reads failed or were old. A write
/// may be told to come back, which a machine with nothing to spare does; then its rows may be
/// either.
async fn round(writer: &Bench, reader: &Bench) -> Vec<String> {
    let person = writer.person().await;
    let (one, two) = tokio::join!(writer.me(&person.access), reader.me(&person.access));
    let write = writer
        .call("PATCH /api/v1/me")
        .bearer(&person.access)
        .json(&json!({"country": "SE"}))
        .send()
        .await;
    assert!([200, 503].contains(&write.status), "{}", write.text);
    let (three, four) = tokio::join!(writer.me(&person.access), reader.me(&person.access));
    let after = if write.status == 200 { "SE" } else { "" };
    let responses = [
        ("before", one, "NO"),
        ("before", two, "NO"),
        ("writer", three, after),
        ("reader", four, after),
    ];
    let wrong = responses.iter().filter(|(_, response, country)| {
        response.status != 200 || !response.text.contains(&format!("\"country\":\"{country}"))
    });
    wrong
        .map(|(what, response, _)| format!("{what}: {} {}", response.status, response.text))
        .collect()
}

/// Two replicas with the same keys on one Redis.
async fn replicas(redis: &Redis) -> [Arc<Bench>; 2] {
    let one = with(|settings| settings.redis = Some(redis.url().into())).await;
    let two = one.replica().await;
    up(&[&one, &two]).await;
    [Arc::new(one), Arc::new(two)]
}

async fn up(benches: &[&Bench]) {
    for bench in benches {
        until("redis is in use", async || bench.auth.cache.is_up() == Some(true)).await;
    }
}

async fn hits(bench: &Bench) -> f64 {
    bench.metric("auth_cache_reads_total{kind=\"user\",outcome=\"hit\"}").await
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_killed_under_load_fails_no_read_and_makes_none_old() {
    let redis = Redis::start();
    let [one, two] = replicas(&redis).await;
    let load = Load::start(&one, &two);
    load.more().await;
    redis.kill();
    load.more().await;
    redis.up();
    up(&[&one, &two]).await;
    load.more().await;
    assert_eq!(load.end().await, Vec::<String>::new());
    let (eve, before) = (one.person().await, hits(&two).await);
    assert_eq!((two.me(&eve.access).await.status, two.me(&eve.access).await.status), (200, 200));
    assert!(hits(&two).await > before, "it is in use again, without a restart");
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_hanging_under_load_fails_no_read_and_makes_none_old() {
    let redis = Redis::start();
    let [one, two] = replicas(&redis).await;
    let load = Load::start(&one, &two);
    load.more().await;
    redis.signal("STOP");
    load.more().await;
    redis.signal("CONT");
    up(&[&one, &two]).await;
    load.more().await;
    assert_eq!(load.end().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_that_comes_later_is_used() {
    let redis = Redis::stopped();
    let bench = with(|settings| settings.redis = Some(redis.url().into())).await;
    let ada = bench.person().await;
    assert_eq!(bench.me(&ada.access).await.status, 200);
    assert_eq!(
        bench.call("GET /health/ready").send().await.json(),
        json!({"database": "up", "redis": "down"})
    );
    redis.up();
    up(&[&bench]).await;
    assert_eq!(bench.me(&ada.access).await.status, 200);
    assert_eq!(bench.me(&ada.access).await.status, 200);
    assert_eq!(hits(&bench).await, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_that_is_down_leaves_failures_counted() {
    let redis = Redis::start();
    let bench = with(|settings| settings.redis = Some(redis.url().into())).await;
    let ada = bench.person().await;
    for failure in 0..5 {
        if failure == 3 {
            redis.kill();
        }
        assert_eq!(bench.login_call(&ada.name, "wrong horse battery").send().await.status, 401);
    }
    assert_eq!(bench.login_call(&ada.name, "wrong horse battery").send().await.problem().0, 429);
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_that_stand_in_for_redis_leave_half_the_pool_to_others() {
    let database = migrated(Server::shared());
    let bench = Arc::new(on(&database, |settings| settings.pool = 6).await);
    let (stop, mut readers) = (Arc::new(AtomicBool::new(false)), JoinSet::new());
    let mut people = Vec::new();
    for _ in 0..8 {
        people.push(bench.person().await);
    }
    let mut lock = database.session("BEGIN; LOCK TABLE auth.users IN ACCESS EXCLUSIVE MODE");
    for person in people.clone() {
        let (bench, stop) = (Arc::clone(&bench), Arc::clone(&stop));
        readers.spawn(async move {
            while !stop.load(Ordering::SeqCst) {
                let status = bench.me(&person.access).await.status;
                assert!([200, 503].contains(&status), "{status}");
            }
        });
    }
    let waiting = "(SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND \
                   datname = current_database())";
    database.until(&format!("{waiting} = 3"));
    for _ in 0..10 {
        assert_eq!(
            bench.call("GET /health/ready").send().await.status,
            200,
            "who needs another connection gets it"
        );
        assert_eq!(database.run(&format!("SELECT {waiting} <= 3")), "t");
    }
    lock.say("COMMIT");
    stop.store(true, Ordering::SeqCst);
    readers.join_all().await;
    assert_eq!(bench.me(&people[0].access).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn database_that_is_down_is_503_with_a_time_and_recovers_by_itself() {
    let server: &'static Server = Box::leak(Box::new(Server::start()));
    let bench = on(&migrated(server), |_| {}).await;
    let ada = bench.person().await;
    server.down();
    for call in [
        bench.call("GET /api/v1/me").bearer(&ada.access),
        bench.login_call(&ada.name, "x"),
        bench.call("GET /health/ready"),
    ] {
        let refused = call.send().await;
        assert_eq!(refused.problem().0, 503);
        assert!(refused.header("retry-after").is_some());
    }
    assert_eq!(bench.call("GET /health/live").send().await.status, 200);
    server.up();
    until("the database is found again", async || {
        bench.call("GET /health/ready").send().await.status == 200
    })
    .await;
    assert_eq!(bench.me(&ada.access).await.status, 200);
    bench.login(&ada.name).await;
    server.down();
}

#[tokio::test(flavor = "multi_thread")]
async fn database_that_loses_its_sessions_is_used_again() {
    let server: &'static Server = Box::leak(Box::new(Server::start()));
    let database = migrated(server);
    let bench = on(&database, |_| {}).await;
    let ada = bench.person().await;
    database
        .run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'auth_app'");
    until("responses come again", async || bench.me(&ada.access).await.status == 200).await;
    server.down();
}

#[tokio::test(flavor = "multi_thread")]
async fn database_that_refuses_is_away_and_is_found_again() {
    let server: &'static Server = Box::leak(Box::new(Server::start()));
    let database = migrated(server);
    let bench = on(&database, |_| {}).await;
    let ada = bench.person().await;
    let ready = async || bench.call("GET /health/ready").send().await.status;
    for (refuse, take_back) in [
        ("ALTER ROLE auth_app NOLOGIN", "ALTER ROLE auth_app LOGIN"),
        (
            "ALTER ROLE auth_app SET default_transaction_read_only = on",
            "ALTER ROLE auth_app RESET default_transaction_read_only",
        ),
        ("ALTER TABLE auth.sessions RENAME TO away", "ALTER TABLE auth.away RENAME TO sessions"),
    ] {
        let anew =
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'auth_app'";
        database.run(&format!("{refuse}; {anew}"));
        until("the refusal shows", async || ready().await == 503).await;
        let refused = bench.call("GET /health/ready").send().await;
        assert!(refused.problem().0 == 503 && refused.header("retry-after").is_some(), "{refuse}");
        if refuse.contains("NOLOGIN") {
            let refused = bench.me(&ada.access).await;
            assert_eq!(
                (refused.problem().0, refused.header("retry-after").is_some()),
                (503, true),
                "{refuse}"
            );
        }
        database.run(&format!("{take_back}; {anew}"));
        until("it is ready again", async || ready().await == 200).await;
    }
    server.down();
}

/// Redis counts on a clock of its own, which may have been put back.
#[tokio::test(flavor = "multi_thread")]
async fn clock_of_redis_put_back_locks_nobody_out_for_longer_than_a_minute() {
    let redis = Redis::start();
    let bench = with(|settings| settings.redis = Some(redis.url().into())).await;
    up(&[&bench]).await;
    let ada = bench.person().await;
    assert_eq!(bench.login_call(&ada.name, "wrong horse battery").send().await.status, 401);
    // What was charged an hour from now, as it looks to a clock that was put back by an hour.
    let later = "for _, key in ipairs(redis.call('KEYS', 'auth:failed:*')) do \
                 redis.call('SET', key, string.format('%.0f', redis.call('GET', key) + 3600000)) \
                 end";
    redis.ask(&["EVAL", later, "0"]);
    let other = with(|settings| settings.redis = Some(redis.url().into())).await;
    up(&[&other]).await;
    let refused = other.login_call(&ada.name, PASSWORD).send().await;
    assert!(
        refused.status == 200
            || refused.header("retry-after").is_some_and(|wait| wait.parse::<u64>().unwrap() <= 60)
    );
}
