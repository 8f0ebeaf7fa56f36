//! What is refused, with which status, and which field is named.

use serde_json::json;

use crate::bench::bench;

/// A request and what is wrong with it.
const SIGNUPS: &[(&str, u16, &str)] = &[
    (
        r#"{"username": "ada", "email": "a@b.c", "password": "x23456789", "admin": true}"#,
        400,
        "admin",
    ),
    (r#"{"email": "a@b.c", "password": "x23456789"}"#, 400, "username"),
    (r#"{"username": "a b", "email": "a@b.c", "password": "x23456789"}"#, 400, "username"),
    (r#"{"username": "ada\u0000", "email": "a@b.c", "password": "x23456789"}"#, 400, "username"),
    (r#"{"username": 7, "email": "a@b.c", "password": "x23456789"}"#, 400, "username"),
    (r#"{"username": "adaxx", "email": "nowhere", "password": "x23456789"}"#, 400, "email"),
    (r#"{"username": "adaxx", "email": "a@b.c", "password": "short"}"#, 400, "password"),
    (r#"{"username": "adaxx", "email": "a@b.c", "password": "Password123"}"#, 400, "password"),
    (
        r#"{"username": "adalovelace", "email": "a@b.c", "password": "AdaLovelace"}"#,
        400,
        "password",
    ),
    (
        r#"{"username": "adaxx", "email": "a@b.c", "password": "x23456789", "country": "no"}"#,
        400,
        "country",
    ),
    (r#"["username"]"#, 400, ""),
    (r#"{"username": "#, 400, ""),
];

#[tokio::test(flavor = "multi_thread")]
async fn signup_names_the_field_that_is_wrong() {
    let bench = bench().await;
    for (body, status, field) in SIGNUPS {
        let refused = bench.call("POST /api/v1/signup").body("application/json", body).send().await;
        let (got, _, named) = refused.problem();
        assert_eq!((got, named.as_str()), (*status, *field), "{body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn field_that_is_too_long_is_named_and_a_long_body_not_read() {
    let bench = bench().await;
    let with = |length: usize| {
        let body = json!({"username": "a".repeat(length), "password": "x"});
        bench.call("POST /api/v1/login").json(&body)
    };
    assert_eq!(with(255).send().await.problem(), (400, "invalid-field".into(), "username".into()));
    assert_eq!(with(3000).send().await.problem(), (400, "invalid-field".into(), "username".into()));
    assert_eq!(with(17 * 1024).send().await.problem(), (413, "too-large".into(), String::new()));
    let long = json!({"username": "ada", "password": "x".repeat(129)});
    let refused = bench.call("POST /api/v1/login").json(&long).send().await;
    assert_eq!(refused.problem(), (400, "invalid-field".into(), "password".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn content_type_of_another_kind_is_415() {
    let bench = bench().await;
    for kind in ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", ""] {
        let refused = bench
            .call("POST /api/v1/login")
            .body(kind, r#"{"username": "a", "password": "b"}"#)
            .send()
            .await;
        assert_eq!(refused.problem().0, 415, "{kind}");
    }
    let call = bench
        .call("POST /api/v1/login")
        .body("Application/JSON; charset=utf-8", r#"{"username": "a", "password": "b"}"#);
    assert_eq!(call.send().await.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_methods_and_queries_of_others_are_refused_as_problems() {
    let bench = bench().await;
    let ada = bench.person().await;
    let status = async |line: &str| bench.call(line).bearer(&ada.access).send().await.problem();
    assert_eq!(status("GET /api/v1/nothing").await.0, 404);
    assert_eq!(status("GET /metrics").await.0, 404, "metrics are for the inside");
    assert_eq!(status("DELETE /api/v1/login").await.0, 405);
    assert_eq!(status("GET /api/v1/users/..%2f").await.0, 404);
    let asked = bench
        .call("GET /verify?rd=https%3A%2F%2Fx.test%2F&role=user")
        .bearer(&ada.access)
        .send()
        .await;
    assert_eq!(asked.status, 204, "other parameters are the proxy's own");
    let admin = bench.admin().await;
    for name in ["a%00b", "%00", "%ff", "a%ff"] {
        assert_eq!(status(&format!("GET /api/v1/users/{name}")).await.0, 404, "{name}");
        assert_eq!(status(&format!("DELETE /api/v1/me/sessions/{name}")).await.0, 404, "{name}");
        let change = bench.call(&format!("PATCH /api/v1/admin/users/{name}")).bearer(&admin.access);
        assert_eq!(change.json(&json!({"disabled": true})).send().await.problem().0, 404, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn access_token_absent_foreign_or_changed_is_401() {
    let bench = bench().await;
    let ada = bench.person().await;
    for path in
        ["/api/v1/me", "/api/v1/me/sessions", "/api/v1/users/ada", "/api/v1/admin/users", "/verify"]
    {
        let call = bench.call(&format!("GET {path}"));
        assert_eq!(call.send().await.problem().0, 401, "{path}");
        let changed = ada.access.replacen("ey", "eY", 1);
        let refused = call.bearer(&changed).send().await;
        assert_eq!(
            (refused.status, refused.header("www-authenticate")),
            (401, Some("bearer")),
            "{path}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn request_id_of_the_proxy_comes_back_and_a_wild_one_is_replaced() {
    let bench = bench().await;
    let with = async |id: &str| {
        let response = bench.call("GET /health/live").header("x-request-id", id).send().await;
        response.header("x-request-id").unwrap_or_default().to_owned()
    };
    assert_eq!(with("0198f3a2-77").await, "0198f3a2-77");
    assert_eq!(with("a{b}").await.len(), 32);
    assert_eq!(
        bench.call("GET /nothing").header("x-request-id", "n1").send().await.header("x-request-id"),
        Some("n1")
    );
}
