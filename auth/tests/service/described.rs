//! The description against the running service.

use std::collections::BTreeSet;

use crate::bench::bench;

/// Every path there must be.
const PATHS: &[&str] = &[
    "get /",
    "get /.well-known/jwks.json",
    "get /api/v1/admin/users",
    "patch /api/v1/admin/users/{username}",
    "get /api/v1/health",
    "post /api/v1/login",
    "post /api/v1/logout",
    "post /api/v1/logout-all",
    "get /api/v1/me",
    "patch /api/v1/me",
    "get /api/v1/me/sessions",
    "delete /api/v1/me/sessions/{id}",
    "post /api/v1/password/change",
    "post /api/v1/password/forgot",
    "post /api/v1/password/reset",
    "post /api/v1/refresh",
    "post /api/v1/signup",
    "get /api/v1/users/{username}",
    "get /health/live",
    "get /health/ready",
    "get /login",
    "post /oauth/introspect",
    "post /oauth/revoke",
    "get /openapi.json",
    "get /verify",
];

#[tokio::test(flavor = "multi_thread")]
async fn the_description_names_exactly_the_paths_there_are() {
    let bench = bench().await;
    let document = bench.call("GET /openapi.json").send().await.json();
    let paths = document["paths"].as_object().unwrap();
    let described: BTreeSet<String> = paths
        .iter()
        .flat_map(|(path, methods)| methods.as_object().unwrap().keys().map(move |method| format!("{method} {path}")))
        .collect();
    assert_eq!(described, PATHS.iter().map(|path| (*path).to_owned()).collect());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_answers_each_path_with_a_status_that_is_described() {
    let bench = bench().await;
    let document = bench.call("GET /openapi.json").send().await.json();
    for line in PATHS {
        let (method, path) = line.split_once(' ').unwrap();
        let real = path.replace("{username}", "nobody").replace("{id}", "x");
        let call = bench.call(&format!("{} {real}", method.to_uppercase()));
        let call = if method == "get" { call } else { call.body("application/json", "{}") };
        let answer = call.send().await;
        assert!(![404, 405].contains(&answer.status), "{line} is not served");
        let described = &document["paths"][path][method]["responses"];
        // What every body can get: unreadable, too large, of another type.
        let general = [400, 413, 415].contains(&answer.status) && method != "get";
        assert!(general || described.get(answer.status.to_string()).is_some(), "{line} answered {}", answer.status);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_has_the_members_that_are_described() {
    let bench = bench().await;
    let ada = bench.person().await;
    let document = bench.call("GET /openapi.json").send().await.json();
    let members = |schema: &str| -> BTreeSet<String> {
        let properties = document["components"]["schemas"][schema]["properties"].as_object();
        properties.unwrap_or_else(|| panic!("no schema {schema}")).keys().cloned().collect()
    };
    let of = |value: &serde_json::Value| -> BTreeSet<String> { value.as_object().unwrap().keys().cloned().collect() };
    assert_eq!(of(&bench.me(&ada.access).await.json()), members("Account"));
    assert_eq!(of(&bench.refresh(&ada.refresh).await.json()), members("Granted"));
    let profile = bench.call(&format!("GET /api/v1/users/{}", ada.name)).bearer(&ada.access).send().await;
    assert_eq!(of(&profile.json()), members("Profile"));
    assert_eq!(of(&bench.call("GET /health/ready").send().await.json()), members("Health"));
}
