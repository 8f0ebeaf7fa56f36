//! Introspection, revocation and the public keys.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::json;

use crate::bench::{Bench, bench, name};
use weir_test::call::Call;

/// A call of a client that is known.
async fn call(bench: &Bench, path: &str, token: &str) -> Call {
    let id = name("client");
    let secret = bench.auth.create_client(&id).await.expect("made");
    let basic = format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")));
    let form = format!("token={token}&token_type_hint=anything");
    bench
        .call(&format!("POST {path}"))
        .header("authorization", &basic)
        .body("application/x-www-form-urlencoded", &form)
}

#[tokio::test(flavor = "multi_thread")]
async fn introspection_says_active_until_it_is_not() {
    let bench = bench().await;
    let ada = bench.person().await;
    let ask =
        async |token: &str| call(&bench, "/oauth/introspect", token).await.send().await.json();
    let told = ask(&ada.access).await;
    assert_eq!(
        (&told["active"], &told["username"], &told["scope"]),
        (&json!(true), &json!(ada.name), &json!(""))
    );
    let admin = bench.admin().await;
    assert_eq!(ask(&admin.access).await["scope"], "users:read users:write");
    assert_eq!(ask(&ada.refresh).await["token_type"], "refresh_token");
    assert_eq!(ask("noise").await, json!({"active": false}));
    bench.call("POST /api/v1/logout").bearer(&ada.access).send().await;
    assert_eq!(
        (ask(&ada.access).await, ask(&ada.refresh).await),
        (json!({"active": false}), json!({"active": false}))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn revoking_either_token_ends_the_session_and_noise_is_no_error() {
    let bench = bench().await;
    for which in [0, 1] {
        let ada = bench.person().await;
        let token = [&ada.access, &ada.refresh][which];
        assert_eq!(call(&bench, "/oauth/revoke", token).await.send().await.status, 200);
        assert_eq!(bench.me(&ada.access).await.status, 401);
        assert_eq!(bench.refresh(&ada.refresh).await.status, 401);
        assert_eq!(
            call(&bench, "/oauth/revoke", token).await.send().await.status,
            200,
            "a second time too"
        );
    }
    assert_eq!(call(&bench, "/oauth/revoke", "noise").await.send().await.status, 200);
}

/// As RFC 6749, section 2.3.1 has it, and as many clients do it.
#[tokio::test(flavor = "multi_thread")]
async fn client_id_may_be_encoded_like_a_form_or_not() {
    let bench = bench().await;
    let id = name("a+b %");
    let secret = bench.auth.create_client(&id).await.expect("made");
    let encoded = id.replace('%', "%25").replace('+', "%2B").replace(' ', "+");
    let first = format!("%{:02x}{}", secret.as_bytes()[0], &secret[1..]);
    for (id, secret, status) in [
        (&encoded, &secret, 200),
        (&encoded, &first, 200),
        (&id, &secret, 200),
        (&encoded.replace("%2B", "+"), &secret, 401),
        (&encoded, &format!("{secret}%zz"), 401),
    ] {
        let basic = format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")));
        let call = bench.call("POST /oauth/introspect").header("authorization", &basic);
        let told = call.body("application/x-www-form-urlencoded", "token=x").send().await;
        assert_eq!(told.status, status, "{id}:{secret}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn client_that_is_unknown_learns_nothing() {
    let bench = bench().await;
    let ada = bench.person().await;
    for path in ["/oauth/introspect", "/oauth/revoke"] {
        let form = format!("token={}", ada.access);
        let open =
            bench.call(&format!("POST {path}")).body("application/x-www-form-urlencoded", &form);
        let wrong = open
            .clone()
            .header("authorization", &format!("Basic {}", STANDARD.encode("nobody:wrong")));
        for call in [open, wrong] {
            let refused = call.send().await;
            assert_eq!((refused.status, refused.member("error").as_str()), (401, "invalid_client"));
            assert_eq!(refused.header("www-authenticate"), Some("basic realm=\"auth\""));
            assert_eq!(refused.header("content-type"), Some("application/json"));
        }
        let nothing = call(&bench, path, "x")
            .await
            .body("application/x-www-form-urlencoded", "nothing=1")
            .send()
            .await;
        assert_eq!((nothing.status, nothing.member("error").as_str()), (400, "invalid_request"));
    }
    let json =
        call(&bench, "/oauth/introspect", "x").await.header("content-type", "application/json");
    assert!([400, 401, 415, 200].contains(&json.send().await.status));
    assert_eq!(bench.me(&ada.access).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn access_token_can_be_checked_with_the_public_keys() {
    let bench = bench().await;
    let ada = bench.person().await;
    let keys = bench.call("GET /.well-known/jwks.json").send().await.json();
    let part =
        |number: usize| URL_SAFE_NO_PAD.decode(ada.access.split('.').nth(number).unwrap()).unwrap();
    let header: serde_json::Value = serde_json::from_slice(&part(0)).unwrap();
    let key =
        keys["keys"].as_array().unwrap().iter().find(|key| key["kid"] == header["kid"]).unwrap();
    assert_eq!(
        (&header["alg"], &key["crv"], &key["use"]),
        (&json!("EdDSA"), &json!("Ed25519"), &json!("sig"))
    );
    assert!(key.get("d").is_none(), "never the private half");
    let public = URL_SAFE_NO_PAD.decode(key["x"].as_str().unwrap()).unwrap();
    let public =
        aws_lc_rs::signature::UnparsedPublicKey::new(&aws_lc_rs::signature::ED25519, public);
    let (signed, _) = ada.access.rsplit_once('.').unwrap();
    assert!(public.verify(signed.as_bytes(), &part(2)).is_ok());
    let claims: serde_json::Value = serde_json::from_slice(&part(1)).unwrap();
    assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 600);
}
