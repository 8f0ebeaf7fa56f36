//! Refresh tokens, their reuse, and logging out.

use std::time::Duration;

use serde_json::json;

use crate::bench::{bench, shared_database, with};

#[tokio::test(flavor = "multi_thread")]
async fn refresh_token_is_exchanged_for_the_next_one() {
    let bench = bench().await;
    let ada = bench.person().await;
    let next = bench.refresh(&ada.refresh).await;
    assert_eq!((next.status, next.json()["expires_in"].as_u64()), (200, Some(600)));
    assert_ne!(next.member("refresh_token"), ada.refresh);
    assert_eq!(bench.me(&next.member("access_token")).await.status, 200);
    assert_eq!(bench.refresh(&next.member("refresh_token")).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn refresh_within_the_grace_gives_everyone_the_same_successor() {
    let bench = bench().await;
    let ada = bench.person().await;
    // A machine with nothing to spare may tell somebody to come back; the grace is long enough for
    // that.
    let refresh = || async {
        loop {
            let response = bench.refresh(&ada.refresh).await;
            if response.status != 503 {
                return response.member("refresh_token");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let (one, two, three) = tokio::join!(refresh(), refresh(), refresh());
    assert!(one == two && two == three);
    assert_eq!(refresh().await, one);
    assert_eq!(bench.refresh(&one).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn refresh_repeated_after_the_grace_ends_the_session() {
    let bench = with(|settings| settings.grace = Duration::ZERO).await;
    let (ada, elsewhere) = (bench.person().await, bench.person().await);
    let next = bench.refresh(&ada.refresh).await;
    assert_eq!(bench.refresh(&ada.refresh).await.problem().0, 401);
    assert_eq!(
        bench.refresh(&next.member("refresh_token")).await.status,
        401,
        "the thief's and the owner's"
    );
    assert_eq!(bench.me(&next.member("access_token")).await.status, 401);
    assert_eq!(bench.me(&elsewhere.access).await.status, 200);
    assert_eq!(bench.metric("auth_refresh_reused_total").await, 1.0);
    let reason = "SELECT count(*) FROM auth.sessions WHERE revoked_reason = 'refresh token \
                  reused' AND user_id = \
                  (SELECT id FROM auth.users WHERE username = ";
    assert_eq!(shared_database().run(&format!("{reason}'{}')", ada.name)), "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn refresh_token_two_rotations_old_is_a_repeat_also_within_the_grace() {
    let bench = bench().await;
    let ada = bench.person().await;
    let second = bench.refresh(&ada.refresh).await.member("refresh_token");
    let third = bench.refresh(&second).await.member("refresh_token");
    assert_eq!(bench.refresh(&ada.refresh).await.status, 401);
    assert_eq!(bench.refresh(&third).await.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn refresh_with_noise_ends_no_session() {
    let bench = bench().await;
    let ada = bench.person().await;
    let mut forged = ada.refresh.clone();
    forged.replace_range(forged.len() - 2.., if ada.refresh.ends_with("AA") { "BA" } else { "AA" });
    for noise in ["", "x", &forged, &"A".repeat(75)] {
        assert_eq!(bench.refresh(noise).await.problem().0, 401, "{noise}");
    }
    assert_eq!(bench.refresh(&ada.refresh).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn logging_out_ends_this_session_at_once() {
    let bench = bench().await;
    let here = bench.person().await;
    let there = bench.login(&here.name).await;
    assert_eq!(bench.me(&here.access).await.status, 200);
    assert_eq!(bench.call("POST /api/v1/logout").bearer(&here.access).send().await.status, 204);
    assert_eq!(bench.me(&here.access).await.status, 401);
    assert_eq!(bench.refresh(&here.refresh).await.status, 401);
    assert_eq!(bench.me(&there.access).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn logging_out_everywhere_ends_all_of_mine() {
    let bench = bench().await;
    let (here, other) = (bench.person().await, bench.person().await);
    let there = bench.login(&here.name).await;
    assert_eq!(bench.me(&there.access).await.status, 200);
    assert_eq!(bench.call("POST /api/v1/logout-all").bearer(&here.access).send().await.status, 204);
    for session in [&here, &there] {
        assert_eq!(bench.me(&session.access).await.status, 401);
        assert_eq!(bench.refresh(&session.refresh).await.status, 401);
    }
    assert_eq!(bench.me(&other.access).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_listed_and_ended_by_their_owner_only() {
    let bench = bench().await;
    let (here, other) = (bench.person().await, bench.person().await);
    let there = bench.login(&here.name).await;
    let list = async |who: &str| {
        bench.call("GET /api/v1/me/sessions").bearer(who).send().await.json()["sessions"].clone()
    };
    let sessions = list(&here.access).await;
    let of = |current: bool| {
        let mut sessions = sessions.as_array().unwrap().iter();
        sessions.find(|one| one["current"] == json!(current)).unwrap()["id"].clone()
    };
    assert_eq!(sessions.as_array().map(Vec::len), Some(2));
    let end = async |who: &str, id: &str| {
        bench.call(&format!("DELETE /api/v1/me/sessions/{id}")).bearer(who).send().await.status
    };
    let id = of(false).as_str().unwrap().to_owned();
    assert_eq!(end(&other.access, &id).await, 404);
    assert_eq!(end(&here.access, "nonsense").await, 404);
    assert_eq!(end(&here.access, &id).await, 204);
    assert_eq!(end(&here.access, &id).await, 404);
    assert_eq!(
        (bench.me(&there.access).await.status, bench.me(&here.access).await.status),
        (401, 200)
    );
    assert_eq!(list(&here.access).await.as_array().map(Vec::len), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn session_51_ends_the_one_unused_for_longest() {
    let bench = bench().await;
    let first = bench.person().await;
    let second = bench.login(&first.name).await;
    for _ in 2..51 {
        bench.login(&first.name).await;
    }
    assert_eq!(bench.me(&first.access).await.status, 401);
    assert_eq!(bench.me(&second.access).await.status, 200);
}

/// It is over until it is deleted, and takes no live one's place.
#[tokio::test(flavor = "multi_thread")]
async fn session_that_has_expired_is_not_counted_among_the_50() {
    let bench = bench().await;
    let first = bench.person().await;
    let second = bench.login(&first.name).await;
    let of_person = format!(
        "user_id = (SELECT id FROM auth.users WHERE username = '{}') ORDER BY created_at DESC LIMIT 1",
        first.name
    );
    shared_database().run(&format!(
        "UPDATE auth.sessions SET expires_at = now() - interval '1 second', last_used_at = now() \
         WHERE id = (SELECT id FROM auth.sessions WHERE {of_person})"
    ));
    assert_eq!(bench.me(&second.access).await.status, 401);
    for _ in 1..50 {
        bench.login(&first.name).await;
    }
    assert_eq!(bench.me(&first.access).await.status, 200);
    bench.login(&first.name).await;
    assert_eq!(bench.me(&first.access).await.status, 401);
}
