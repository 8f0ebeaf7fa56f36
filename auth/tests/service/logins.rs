//! Logins that fail: the same response for each reason, limited, and never too many at once.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::task::JoinSet;

use crate::bench::{PASSWORD, bench, migrated, name, on, until, with};
use weir_test::postgres::Server;

#[tokio::test(flavor = "multi_thread")]
async fn login_wrong_password_and_unknown_user_look_the_same_in_the_same_time() {
    // What a login costs in life; a few more failures than usual are free.
    let bench = with(|settings| {
        settings.hashing.memory_kib = 19_456;
        settings.hashing.passes = 2;
        settings.pair.burst = 100;
    })
    .await;
    let ada = bench.person().await;
    let (mut known, mut unknown) = (Vec::new(), Vec::new());
    let mut texts = std::collections::HashSet::new();
    for _ in 0..15 {
        for (login, times) in [(ada.name.clone(), &mut known), (name("ghost"), &mut unknown)] {
            let began = Instant::now();
            let refused = bench.login_call(&login, "wrong horse battery").send().await;
            times.push(began.elapsed());
            assert_eq!(refused.problem(), (401, "wrong-credentials".into(), String::new()));
            texts.insert(refused.text);
        }
    }
    assert_eq!(texts.len(), 1);
    let median = |times: &mut Vec<Duration>| {
        times.sort_unstable();
        times[times.len() / 2].as_secs_f64()
    };
    let ratio = median(&mut known) / median(&mut unknown);
    assert!((0.5..2.0).contains(&ratio), "known/unknown = {ratio}");
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_five_make_an_address_wait_and_no_other() {
    let (bench, replica) = (bench().await, bench().await);
    let ada = bench.person().await;
    for _ in 0..5 {
        let refused =
            bench.login_call(&ada.name, "wrong horse battery").from("198.51.100.7").send().await;
        assert_eq!(refused.status, 401);
    }
    for (service, login) in [(&bench, ada.name.clone()), (&replica, ada.name.to_uppercase())] {
        let refused = service.login_call(&login, PASSWORD).from("198.51.100.7").send().await;
        assert_eq!(
            refused.problem().0,
            429,
            "also with the right password, also by another replica"
        );
        let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=60).contains(&wait), "{wait}");
    }
    assert_eq!(bench.login_call(&ada.name, PASSWORD).from("198.51.100.8").send().await.status, 200);
}

/// What is the client's fault, the hour's and the database's are three things.
#[tokio::test(flavor = "multi_thread")]
async fn login_outcomes_are_counted_apart() {
    let server: &'static Server = Box::leak(Box::new(Server::start()));
    let bench = on(&migrated(server), |settings| settings.pair.burst = 2).await;
    let count = async |outcome: &str| {
        bench.metric(&format!("auth_logins_total{{outcome=\"{outcome}\"}}")).await
    };
    let ada = bench.person().await;
    for status in [401, 401, 429] {
        assert_eq!(bench.login_call(&ada.name, "wrong horse battery").send().await.status, status);
    }
    server.down();
    assert_eq!(bench.login_call(&ada.name, PASSWORD).send().await.status, 503);
    let counted = [
        count("granted").await,
        count("refused").await,
        count("limited").await,
        count("failed").await,
    ];
    assert_eq!((counted, count("busy").await), ([1.0, 2.0, 1.0, 1.0], 0.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_of_an_address_are_forgotten_with_a_success() {
    let bench = bench().await;
    let ada = bench.person().await;
    for _ in 0..2 {
        for _ in 0..4 {
            assert_eq!(bench.login_call(&ada.name, "wrong horse battery").send().await.status, 401);
        }
        bench.login(&ada.name).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_of_many_guesses_at_the_same_time_stop_at_a_few() {
    let bench = bench().await;
    let ada = bench.person().await;
    let mut guesses = JoinSet::new();
    for guess in 0..60 {
        let call = bench.login_call(&ada.name, &format!("wrong horse {guess}"));
        guesses.spawn(async move { call.send().await.status });
    }
    let statuses = guesses.join_all().await;
    let tried = statuses.iter().filter(|status| **status == 401).count();
    assert!(statuses.iter().all(|status| [401, 429].contains(status)), "{statuses:?}");
    // Five are free; those that hold the two permits when the fifth fails get through.
    assert!((5..=6).contains(&tried), "{tried} guesses were tried");
}

#[tokio::test(flavor = "multi_thread")]
async fn logins_a_thousand_at_the_same_time_exhaust_nothing() {
    let bench = with(|settings| settings.hashing.memory_kib = 4096).await;
    let ada = bench.person().await;
    let mut logins = JoinSet::new();
    for number in 0..1000 {
        let call = match number % 2 {
            0 => bench.login_call(&ada.name, PASSWORD),
            _ => bench.login_call(&name("ghost"), PASSWORD),
        };
        logins.spawn(async move { call.send().await });
    }
    let mut counts = HashMap::<u16, u32>::new();
    while let Some(response) = logins.join_next().await {
        let response = response.expect("answered");
        assert!([200, 401, 503].contains(&response.status), "{}", response.text);
        assert_eq!(response.status == 503, response.header("retry-after").is_some());
        *counts.entry(response.status).or_default() += 1;
    }
    assert_eq!(counts.values().sum::<u32>(), 1000);
    assert!(counts.get(&200).is_some_and(|granted| *granted >= 1), "{counts:?}");
    assert!(bench.auth.store.size().0 <= 10, "the pool is bounded");
    assert_eq!(bench.metric("auth_hashing").await, 0.0);
    bench.login(&ada.name).await;
}

/// Ports, brackets and empty elements are read as weir reads them: they were one client, the proxy.
#[tokio::test(flavor = "multi_thread")]
async fn client_address_is_read_as_weir_reads_it() {
    let bench = bench().await;
    let ada = bench.person().await;
    for hop in [
        "198.51.100.9:4711",
        "198.51.100.9, ",
        "1.2.3.4, 198.51.100.9",
        "[::ffff:198.51.100.9]:1",
        "198.51.100.9",
    ] {
        assert_eq!(
            bench.login_call(&ada.name, "wrong horse battery").from(hop).send().await.status,
            401,
            "{hop}"
        );
    }
    assert_eq!(
        bench.login_call(&ada.name, PASSWORD).from("198.51.100.9:1").send().await.problem().0,
        429
    );
    let sessions = {
        let tokens = bench.login_call(&ada.name, PASSWORD).from("[2001:db8::1]:443").send().await;
        bench
            .call("GET /api/v1/me/sessions")
            .bearer(&tokens.member("access_token"))
            .send()
            .await
            .json()
    };
    assert_eq!(sessions["sessions"][0]["client"], "2001:db8::1");
}

#[tokio::test(flavor = "multi_thread")]
async fn client_address_said_by_strangers_does_not_count() {
    let bench = with(|settings| settings.trusted_proxies.proxies.clear()).await;
    let ada = bench.person().await;
    for number in 0..5 {
        bench
            .login_call(&ada.name, "wrong horse battery")
            .from(&format!("198.51.100.{number}"))
            .send()
            .await;
    }
    let refused = bench.login_call(&ada.name, PASSWORD).from("198.51.100.99").send().await;
    assert_eq!(refused.problem().0, 429);
    let body = json!({
        "username": name("ida"), "email": format!("{}@example.org", name("ida")),
        "password": PASSWORD
    });
    assert_eq!(bench.call("POST /api/v1/signup").json(&body).send().await.status, 201);
}

/// The statement of somebody else waits for what this transaction holds.
async fn is_waited_for(transaction: &mut sqlx::PgConnection) -> bool {
    let sql = "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY \
               (pg_blocking_pids(pid)))";
    sqlx::query_scalar(sql).fetch_one(transaction).await.expect("a database")
}

/// A login is verified against what was read before; a change of the password, or a disabling, is
/// under way in a transaction that ends when the login is about to open its session.
#[tokio::test(flavor = "multi_thread")]
async fn login_opens_no_session_once_what_it_verified_is_changed() {
    let bench = bench().await;
    for change in ["password_hash = password_hash || ' '", "disabled_at = now()"] {
        let ada = bench.person().await;
        let mut transaction = bench.auth.store.begin().await.expect("a database");
        let sql = format!("UPDATE auth.users SET {change} WHERE username = '{}'", ada.name);
        sqlx::query(sqlx::AssertSqlSafe(sql)).execute(transaction.raw()).await.expect("a change");
        let login = tokio::spawn({
            let call = bench.login_call(&ada.name, PASSWORD);
            async move { call.send().await }
        });
        let login = {
            until("the login has ended, or waits", async || {
                login.is_finished() || is_waited_for(transaction.raw()).await
            })
            .await;
            transaction.commit().await.expect("a commit");
            login.await.expect("no panic")
        };
        assert_eq!(login.problem().0, 401, "{change}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_count_per_account_not_per_spelling() {
    let bench = bench().await;
    let name = name("administrator");
    assert_eq!(bench.signup(&name).await.status, 201);
    let address = format!("{name}@example.org");
    let capital = name.replacen('a', "A", 1);
    let spellings =
        [name.clone(), address.clone(), name.to_uppercase(), address.to_uppercase(), capital];
    for spelling in &spellings {
        bench.login_call(spelling, "wrong horse battery").send().await;
    }
    for spelling in &spellings {
        assert_eq!(
            bench.login_call(spelling, PASSWORD).send().await.problem().0,
            429,
            "{spelling}"
        );
    }
    // Nobody has this name, whatever the database's locale says: its letters are not those of user
    // names.
    assert_eq!(
        bench.login_call(&name.replace('i', "\u{130}"), PASSWORD).send().await.problem().0,
        401
    );
    // Names that nobody has are counted in one spelling too.
    for ghost in ["Ghost\u{e9}", "gHoste\u{301}", "GHOST\u{c9}", "ghost\u{e9}", "ghoste\u{301}"] {
        bench.login_call(ghost, "wrong horse battery").send().await;
    }
    assert_eq!(
        bench.login_call("GHOSTE\u{301}", "wrong horse battery").send().await.problem().0,
        429
    );
}
