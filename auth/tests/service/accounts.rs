//! Signing up, being someone, changing it.

use serde_json::json;

use crate::bench::{PASSWORD, bench, name, on, shared_database, until, upgrade, with};
use weir_test::postgres::Server;

#[tokio::test(flavor = "multi_thread")]
async fn login_takes_name_and_address_in_any_case() {
    let (bench, name) = (bench().await, name("Eva"));
    let made = bench.signup(&name).await;
    assert_eq!((made.status, made.member("username")), (201, name.clone()));
    for login in [name.clone(), name.to_uppercase(), format!("{}@EXAMPLE.org", name.to_lowercase())]
    {
        assert_eq!(bench.login_call(&login, PASSWORD).send().await.status, 200, "{login}");
    }
    let me = bench.me(&bench.login(&name).await.access).await.json();
    assert_eq!(
        (&me["email"], &me["country"]),
        (&json!(format!("{name}@example.org")), &json!("NO"))
    );
    assert_eq!(me["roles"], json!(["user"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn signup_gives_a_name_or_an_address_once_in_any_case() {
    let (bench, name) = (bench().await, name("ida"));
    let (one, two) = tokio::join!(bench.signup(&name), bench.signup(&name));
    let mut statuses = [one.status, two.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409]);
    assert_eq!(
        bench.signup(&name.to_uppercase()).await.problem(),
        (409, "taken".into(), "username".into())
    );
    let body = json!({
        "username": format!("{name}x"), "email": format!("{name}@Example.ORG"),
        "password": PASSWORD
    });
    let refused = bench.call("POST /api/v1/signup").json(&body).send().await;
    assert_eq!(refused.problem(), (409, "taken".into(), "email".into()));
}

/// In Turkish `I` is the capital of another letter than `i`: it was two people.
#[tokio::test(flavor = "multi_thread")]
async fn signup_in_a_database_of_another_locale_takes_the_same_names_for_one() {
    let turkish = Server::shared().named(&name("turkish"));
    let make = format!(
        "CREATE DATABASE {} TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'tr'",
        turkish.name
    );
    Server::shared().named("postgres").run(&make);
    upgrade(&turkish);
    let bench = on(&turkish, |_| {}).await;
    assert_eq!(bench.signup("istanbul").await.status, 201);
    assert_eq!(bench.signup("ISTANBUL").await.problem(), (409, "taken".into(), "username".into()));
    let body = json!({"username": "ankara", "email": "ISTANBUL@example.org", "password": PASSWORD});
    let refused = bench.call("POST /api/v1/signup").json(&body).send().await;
    assert_eq!(refused.problem(), (409, "taken".into(), "email".into()));
    assert_eq!(bench.login_call("ISTANBUL", PASSWORD).send().await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn change_of_a_person_is_visible_immediately_and_counted() {
    let bench = bench().await;
    let ada = bench.person().await;
    let version = bench.me(&ada.access).await.json()["version"].as_i64().unwrap();
    for (step, country) in ["SE", "DK", "IS"].into_iter().enumerate() {
        let changed = bench
            .call("PATCH /api/v1/me")
            .bearer(&ada.access)
            .json(&json!({"country": country}))
            .send()
            .await;
        assert_eq!((changed.status, &changed.json()["country"]), (200, &json!(country)));
        let me = bench.me(&ada.access).await.json();
        assert_eq!(
            (&me["country"], me["version"].as_i64().unwrap()),
            (&json!(country), version + 1 + step as i64)
        );
    }
    let profile = bench
        .call(&format!("GET /api/v1/users/{}", ada.name.to_uppercase()))
        .bearer(&ada.access)
        .send()
        .await;
    assert_eq!(profile.json()["country"], "IS");
    assert!(profile.json().get("email").is_none(), "an address is nobody else's business");
}

#[tokio::test(flavor = "multi_thread")]
async fn change_of_address_takes_nobody_elses() {
    let bench = bench().await;
    let (ada, eve) = (bench.person().await, bench.person().await);
    let body = json!({"email": format!("{}@example.org", ada.name), "current_password": PASSWORD});
    let refused = bench.call("PATCH /api/v1/me").bearer(&eve.access).json(&body).send().await;
    assert_eq!(refused.problem(), (409, "taken".into(), "email".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn password_change_ends_the_other_sessions_and_the_old_one_opens_none() {
    let bench = bench().await;
    let here = bench.person().await;
    let there = bench.login(&here.name).await;
    let change = |current: &str| {
        let body = json!({"current_password": current, "new_password": "another horse battery"});
        bench.call("POST /api/v1/password/change").bearer(&here.access).json(&body)
    };
    assert_eq!(change("wrong horse battery").send().await.problem().0, 401);
    assert_eq!(change(PASSWORD).send().await.status, 204);
    assert_eq!(bench.me(&here.access).await.status, 200);
    assert_eq!(bench.me(&there.access).await.status, 401);
    assert_eq!(bench.refresh(&there.refresh).await.status, 401);
    assert_eq!(bench.login_call(&here.name, PASSWORD).send().await.status, 401);
    assert_eq!(bench.login_call(&here.name, "another horse battery").send().await.status, 200);
}

/// The mails in a folder, in the order they were written.
fn letters(folder: &std::path::Path) -> Vec<serde_json::Value> {
    let paths = std::fs::read_dir(folder).expect("a folder").flatten().map(|file| file.path());
    let mut paths: Vec<_> = paths.filter(|path| path.extension().is_some()).collect();
    paths.sort();
    paths
        .iter()
        .map(|path| serde_json::from_slice(&std::fs::read(path).expect("a mail")).expect("JSON"))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn change_of_address_takes_the_password_and_is_told_to_the_one_before() {
    let mail = tempfile::tempdir().unwrap();
    let bench = with(|settings| settings.mail_dir = Some(mail.path().to_owned())).await;
    let ada = bench.person().await;
    let other = format!("{}@example.net", ada.name);
    let change = |body| bench.call("PATCH /api/v1/me").bearer(&ada.access).json(&body);
    let refused = change(json!({"email": other})).send().await;
    assert_eq!(refused.problem(), (400, "invalid-field".into(), "current_password".into()));
    let wrong = change(json!({"email": other, "current_password": "wrong horse battery"}));
    assert_eq!(wrong.send().await.problem().0, 401);
    assert_eq!(bench.me(&ada.access).await.json()["email"], format!("{}@example.org", ada.name));
    let changed = change(json!({"email": other, "current_password": PASSWORD})).send().await;
    assert_eq!((changed.status, &changed.json()["email"]), (200, &json!(other)));
    let told = json!({"to": format!("{}@example.org", ada.name), "purpose": "email_changed"});
    assert_eq!(letters(mail.path()), [told]);
    // Failures count like those of a login.
    for _ in 0..4 {
        assert_eq!(wrong.send().await.problem().0, 401);
    }
    assert_eq!(wrong.send().await.problem().0, 429);
    assert_eq!(change(json!({"country": "SE"})).send().await.status, 200, "nothing else takes it");
}

#[tokio::test(flavor = "multi_thread")]
async fn reset_token_ends_with_a_change_of_password_or_address_and_with_a_reset() {
    let bench = bench().await;
    for (end, body) in [
        (
            "POST /api/v1/password/change",
            json!({"current_password": PASSWORD, "new_password": "another horse battery"}),
        ),
        (
            "PATCH /api/v1/me",
            json!({"email": format!("{}@example.net", name("new")), "current_password": PASSWORD}),
        ),
        ("POST /api/v1/password/reset", json!({"token": "", "password": "another horse battery"})),
    ] {
        let ada = bench.person().await;
        let id = bench.me(&ada.access).await.member("id").parse().unwrap();
        let origin = auth::store::audit::Origin::console();
        let [token, other] = [
            bench.auth.reset_token(id, &origin).await.unwrap(),
            bench.auth.reset_token(id, &origin).await.unwrap(),
        ];
        let mut body = body;
        if body.get("token").is_some() {
            body["token"] = json!(other);
        }
        let ended = bench.call(end).bearer(&ada.access).json(&body).send().await;
        assert!(ended.status < 300, "{end}: {}", ended.text);
        let late = json!({"token": token, "password": "a thief's battery"});
        let refused = bench.call("POST /api/v1/password/reset").json(&late).send().await;
        assert_eq!(refused.problem(), (400, "invalid-field".into(), "token".into()), "{end}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn forgotten_password_is_mailed_once_a_minute_to_the_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let mail = tempfile::tempdir().unwrap();
    let bench = with(|settings| settings.mail_dir = Some(mail.path().to_owned())).await;
    let (ada, ida) = (bench.person().await, bench.person().await);
    let forgot = async |name: &str| {
        let body = json!({"email": format!("{name}@example.org")});
        assert_eq!(bench.call("POST /api/v1/password/forgot").json(&body).send().await.status, 202);
    };
    forgot(&ada.name).await;
    until("the mail is there", async || letters(mail.path()).len() == 1).await;
    forgot(&ada.name).await;
    // Another one's mail, asked for later, is there: so the second one of the first would be.
    forgot(&ida.name).await;
    until("the other mail is there", async || letters(mail.path()).len() == 2).await;
    let letters = letters(mail.path());
    assert_eq!(
        (&letters[0]["to"], &letters[1]["to"]),
        (&json!(format!("{}@example.org", ada.name)), &json!(format!("{}@example.org", ida.name)))
    );
    for file in std::fs::read_dir(mail.path()).unwrap().flatten() {
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
    let body = json!({"token": letters[0]["token"], "password": "another horse battery"});
    assert_eq!(
        bench.call("POST /api/v1/password/reset").json(&body).send().await.status,
        204,
        "the first is still good"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn reset_token_sets_a_new_password_once() {
    let mail = tempfile::tempdir().unwrap();
    let bench = with(|settings| settings.mail_dir = Some(mail.path().to_owned())).await;
    let ada = bench.person().await;
    let forgot = async |email: String| {
        bench.call("POST /api/v1/password/forgot").json(&json!({"email": email})).send().await
    };
    let (known, unknown) = (
        forgot(format!("{}@example.org", ada.name)).await,
        forgot(name("no") + "@example.org").await,
    );
    assert_eq!((known.status, known.text), (202, unknown.text), "nobody learns who is here");
    let letters = || std::fs::read_dir(mail.path()).unwrap().flatten().map(|file| file.path());
    let letters = || letters().filter(|path| path.extension().is_some()).collect::<Vec<_>>();
    until("the mail is there", async || letters().len() == 1).await;
    let letter: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&letters()[0]).unwrap()).unwrap();
    let body = json!({"token": letter["token"], "password": "another horse battery"});
    assert_eq!(bench.call("POST /api/v1/password/reset").json(&body).send().await.status, 204);
    let again = bench.call("POST /api/v1/password/reset").json(&body).send().await;
    assert_eq!(again.problem(), (400, "invalid-field".into(), "token".into()));
    assert_eq!(bench.me(&ada.access).await.status, 401, "every session is over");
    assert_eq!(bench.login_call(&ada.name, "another horse battery").send().await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn login_renews_a_hash_of_yesterdays_strength() {
    let yesterday = with(|settings| settings.hashing.memory_kib = 32).await;
    let ada = yesterday.person().await;
    let today = with(|settings| settings.hashing.memory_kib = 64).await;
    let cost = || {
        shared_database().run(&format!(
            "SELECT split_part(password_hash, '$', 4) FROM auth.users WHERE username = '{}'",
            ada.name
        ))
    };
    assert_eq!(cost(), "m=32,t=1,p=1");
    today.login(&ada.name).await;
    assert_eq!(cost(), "m=64,t=1,p=1");
    today.login(&ada.name).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn audit_log_has_what_was_done_and_the_service_cannot_change_it() {
    let bench = bench().await;
    let name = name("log");
    let signup =
        json!({"username": name, "email": format!("{name}@example.org"), "password": PASSWORD});
    let call = bench
        .call("POST /api/v1/signup")
        .header("x-request-id", "audit-1")
        .from("198.51.100.9")
        .json(&signup);
    let id = call.send().await.member("id");
    bench.login_call(&name, "wrong horse battery").send().await;
    let database = shared_database();
    let lines = database.run(&format!(
        "SELECT action, host(ip), request_id FROM auth.audit_log WHERE subject_id = \
                       '{id}' ORDER BY id"
    ));
    let lines: Vec<&str> = lines.lines().collect();
    assert_eq!(lines[0], "signup|198.51.100.9|audit-1");
    assert!(lines[1].starts_with("login refused|127.0.0.1|"), "{lines:?}");
    let may = |what: &str| {
        database.run(&format!("SELECT has_table_privilege('auth_app', 'auth.audit_log', '{what}')"))
    };
    assert_eq!([may("INSERT"), may("SELECT"), may("UPDATE"), may("DELETE")], ["t", "f", "f", "f"]);
}
