//! What administrators see and do.

use std::collections::HashSet;

use serde_json::{Value, json};

use crate::bench::{PASSWORD, bench, migrated, name, on};
use weir_test::postgres::Server;

#[tokio::test(flavor = "multi_thread")]
async fn list_of_people_has_everyone_once_newest_first_while_others_sign_up() {
    let bench = on(&migrated(Server::shared()), |_| {}).await;
    let admin = bench.admin().await;
    for number in 0..7 {
        assert_eq!(bench.signup(&format!("page{number}")).await.status, 201);
    }
    let (mut seen, mut after) = (Vec::<String>::new(), String::new());
    loop {
        let page = bench
            .call(&format!("GET /api/v1/admin/users?limit=3{after}"))
            .bearer(&admin.access)
            .send()
            .await
            .json();
        let users = page["users"].as_array().unwrap();
        assert!(users.len() <= 3);
        seen.extend(users.iter().map(|user| user["username"].as_str().unwrap().to_owned()));
        bench.signup(&name("later")).await;
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    let expected: Vec<String> =
        (0..7).rev().map(|number| format!("page{number}")).chain([admin.name]).collect();
    assert_eq!(seen, expected);
    assert_eq!(seen.iter().collect::<HashSet<_>>().len(), seen.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn administration_is_for_administrators_only() {
    let bench = bench().await;
    let ada = bench.person().await;
    assert_eq!(
        bench.call("GET /api/v1/admin/users").bearer(&ada.access).send().await.problem().0,
        403
    );
    let call = bench.call(&format!("PATCH /api/v1/admin/users/{}", ada.name)).bearer(&ada.access);
    assert_eq!(call.json(&json!({"disabled": true})).send().await.problem().0, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn list_of_people_refuses_a_wrong_page() {
    let bench = bench().await;
    let admin = bench.admin().await;
    for (query, field) in [
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("limit=x", "limit"),
        ("after=x", "after"),
        ("page=2", "page"),
    ] {
        let refused = bench
            .call(&format!("GET /api/v1/admin/users?{query}"))
            .bearer(&admin.access)
            .send()
            .await;
        assert_eq!(refused.problem(), (400, "invalid-field".into(), field.into()), "{query}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn disabled_person_is_out_immediately_and_told_nothing() {
    let bench = bench().await;
    let (admin, ada) = (bench.admin().await, bench.person().await);
    let set = async |name: &str, disabled: bool| -> (u16, Value) {
        let call = bench.call(&format!("PATCH /api/v1/admin/users/{name}")).bearer(&admin.access);
        let response = call.json(&json!({"disabled": disabled})).send().await;
        (response.status, response.json())
    };
    assert_eq!(bench.me(&ada.access).await.status, 200);
    assert_eq!(set(&ada.name, true).await.1["disabled"], true);
    assert_eq!(bench.me(&ada.access).await.status, 401);
    assert_eq!(bench.refresh(&ada.refresh).await.status, 401);
    let (known, unknown) =
        (bench.login_call(&ada.name, PASSWORD), bench.login_call(&name("none"), PASSWORD));
    assert_eq!(known.send().await.text, unknown.send().await.text);
    assert_eq!(set(&ada.name, false).await.0, 200);
    bench.login(&ada.name).await;
    assert_eq!(set(&admin.name, true).await.0, 403, "nobody locks themselves out");
    assert_eq!(set(&name("none"), true).await.0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_tells_a_proxy_who_it_is_and_whether_they_may_pass() {
    let bench = bench().await;
    let (admin, ada) = (bench.admin().await, bench.person().await);
    let verify = async |token: &str, query: &str| {
        bench.call(&format!("GET /verify{query}")).bearer(token).send().await
    };
    let yes = verify(&admin.access, "?role=admin").await;
    assert_eq!(
        (yes.status, yes.header("remote-user"), yes.header("remote-roles")),
        (204, Some(&*admin.name), Some("admin,user"))
    );
    assert_eq!(verify(&ada.access, "").await.header("remote-roles"), Some("user"));
    assert_eq!(verify(&ada.access, "?role=admin").await.problem().0, 403);
    assert_eq!(verify(&ada.access, "?scope=users:read").await.problem().0, 403);
    assert_eq!(verify(&admin.access, "?scope=users:read").await.status, 204);
    assert_eq!(verify("nonsense", "").await.problem().0, 401);
}
