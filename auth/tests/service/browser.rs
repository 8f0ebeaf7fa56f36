//! What a browser sends and gets: cookies, foreign pages, pages of our own. `pages.rs` has a real
//! one.

use auth::settings::CookieSecure;
use serde_json::json;

use crate::bench::{Bench, PASSWORD, bench, with as with_settings};
use weir_test::call::{Call, Response};

const OWN: (&str, &str) = ("origin", "https://auth.test");
const FOREIGN: (&str, &str) = ("origin", "https://evil.test");

async fn login(bench: &Bench, origin: (&str, &str)) -> Response {
    let ada = bench.person().await;
    let body = json!({"username": ada.name, "password": PASSWORD, "cookie": true});
    bench.call("POST /api/v1/login").header(origin.0, origin.1).json(&body).send().await
}

fn with(call: Call, cookies: &[(String, String)]) -> Call {
    let text: Vec<String> = cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
    call.header("cookie", &text.join("; "))
}

#[tokio::test(flavor = "multi_thread")]
async fn cookies_are_out_of_reach_of_scripts() {
    let bench = bench().await;
    // Header lines are compared in lower case, so the tokens in them are of no use here.
    let response = login(&bench, OWN).await;
    assert_eq!(response.json(), json!({"token_type": "Bearer", "expires_in": 600}));
    let lines: Vec<&str> =
        response.head.lines().filter(|line| line.starts_with("set-cookie")).collect();
    assert_eq!(lines.len(), 2);
    assert!(
        lines.iter().all(|line| line.ends_with("; httponly; samesite=lax; secure")),
        "{lines:?}"
    );
    assert!(lines[0].contains("auth_access=") && lines[0].contains("; path=/; max-age=600;"));
    assert!(
        lines[1].contains("auth_refresh=") && lines[1].contains("; path=/api/v1; max-age=2592000;")
    );
    assert_eq!(login(&bench, FOREIGN).await.problem().0, 403);
}

/// Whether the cookies of a login that came this way are for TLS only.
async fn secure(bench: &Bench, proto: &str) -> bool {
    let ada = bench.person().await;
    let body = json!({"username": ada.name, "password": PASSWORD, "cookie": true});
    let call =
        bench.call("POST /api/v1/login").header(OWN.0, OWN.1).header("x-forwarded-proto", proto);
    let response = call.json(&body).send().await;
    let lines: Vec<&str> =
        response.head.lines().filter(|line| line.starts_with("set-cookie")).collect();
    assert_eq!((response.status, lines.len()), (200, 2));
    let secure = lines.iter().filter(|line| line.ends_with("; secure")).count();
    assert!(secure == 0 || secure == 2, "{lines:?}");
    secure == 2
}

#[tokio::test(flavor = "multi_thread")]
async fn cookies_over_plain_http_are_such_that_a_browser_keeps_them() {
    let bench = bench().await;
    assert_eq!((secure(&bench, "http").await, secure(&bench, "https").await), (false, true));
    let stranger = with_settings(|settings| settings.trusted_proxies.proxies.clear()).await;
    assert!(secure(&stranger, "http").await, "whoever is not trusted says nothing");
    let always = with_settings(|settings| settings.cookie_secure = CookieSecure::Always).await;
    let never = with_settings(|settings| settings.cookie_secure = CookieSecure::Never).await;
    assert_eq!((secure(&always, "http").await, secure(&never, "https").await), (true, false));
}

#[tokio::test(flavor = "multi_thread")]
async fn cookies_count_only_on_our_own_pages() {
    let bench = bench().await;
    let ada = bench.person().await;
    let cookies = [
        ("auth_access".to_owned(), ada.access.clone()),
        ("auth_refresh".to_owned(), ada.refresh.clone()),
    ];
    assert_eq!(
        with(bench.call("GET /api/v1/me"), &cookies).send().await.status,
        200,
        "reading is safe"
    );
    for path in ["/api/v1/refresh", "/api/v1/logout"] {
        let call = with(bench.call(&format!("POST {path}")), &cookies).json(&json!({}));
        assert_eq!(call.send().await.problem().0, 403, "{path} without an origin");
        assert_eq!(
            call.header(FOREIGN.0, FOREIGN.1).send().await.problem().0,
            403,
            "{path} from elsewhere"
        );
    }
    let refreshed = with(bench.call("POST /api/v1/refresh"), &cookies)
        .json(&json!({}))
        .header(OWN.0, OWN.1)
        .send()
        .await;
    assert_eq!((refreshed.status, refreshed.cookies().len()), (200, 2));
    assert!(refreshed.json().get("access_token").is_none());
    let out = with(bench.call("POST /api/v1/logout"), &cookies).header(OWN.0, OWN.1).send().await;
    assert_eq!(out.status, 204);
    assert!(out.cookies().iter().all(|(_, value)| value.is_empty()));
}

/// The cookie of the access token is gone after ten minutes; that of the refresh token comes along
/// for weeks.
#[tokio::test(flavor = "multi_thread")]
async fn logout_takes_whichever_token_is_left_and_always_clears_both() {
    let bench = bench().await;
    let call = || bench.call("POST /api/v1/logout").header(OWN.0, OWN.1);
    let is_cleared = |response: &Response| {
        let cookies = response.cookies();
        response.status == 204
            && cookies.len() == 2
            && cookies.iter().all(|(_, value)| value.is_empty())
    };
    let ada = bench.person().await;
    let refresh = ("auth_refresh".to_owned(), ada.refresh.clone());
    assert!(is_cleared(&with(call(), std::slice::from_ref(&refresh)).send().await));
    assert_eq!(bench.refresh(&ada.refresh).await.status, 401, "the session is over");
    assert_eq!(bench.me(&ada.access).await.status, 401);
    // Once more, with what is not good any more, and with nothing at all.
    assert!(is_cleared(&with(call(), std::slice::from_ref(&refresh)).send().await));
    assert!(is_cleared(
        &with(call(), &[("auth_access".to_owned(), "nonsense".to_owned())]).send().await
    ));
    assert!(is_cleared(&call().send().await));
    // Of two different sessions both end.
    let (one, other) = (bench.person().await, bench.person().await);
    let both = [
        ("auth_access".to_owned(), one.access.clone()),
        ("auth_refresh".to_owned(), other.refresh.clone()),
    ];
    assert!(is_cleared(&with(call(), &both).send().await));
    assert_eq!(
        (bench.me(&one.access).await.status, bench.me(&other.access).await.status),
        (401, 401)
    );
    // Everywhere, too.
    let ida = bench.person().await;
    let elsewhere = bench.login(&ida.name).await;
    let all = bench.call("POST /api/v1/logout-all").header(OWN.0, OWN.1);
    assert!(is_cleared(
        &with(all, &[("auth_refresh".to_owned(), ida.refresh.clone())]).send().await
    ));
    assert_eq!(bench.me(&elsewhere.access).await.status, 401);
    assert_eq!(bench.call("POST /api/v1/logout-all").send().await.problem().0, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn refresh_with_neither_token_nor_cookie_names_the_field() {
    let bench = bench().await;
    let refused = bench.call("POST /api/v1/refresh").json(&json!({})).send().await;
    assert_eq!(refused.problem(), (400, "invalid-field".into(), "refresh_token".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_load_nothing_from_anywhere() {
    let bench = bench().await;
    for path in ["/", "/login", "/signup", "/reset"] {
        let page = bench.call(&format!("GET {path}")).send().await;
        assert_eq!(
            (page.status, page.header("content-type")),
            (200, Some("text/html; charset=utf-8"))
        );
        let policy = page.header("content-security-policy").unwrap_or_default();
        assert!(
            policy.starts_with("default-src 'none'; script-src 'sha256-")
                && !policy.contains("unsafe"),
            "{policy}"
        );
        assert!(
            !page.text.contains("http://")
                && !page.text.contains("https://")
                && !page.text.contains(" src=")
        );
    }
}
