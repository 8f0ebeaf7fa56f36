//! The description against the running service.

use std::collections::BTreeSet;

use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::bench::{PASSWORD, bench, name};

/// Every path there must be.
const PATHS: &[&str] = &[
    "get /",
    "get /.well-known/jwks.json",
    "get /api/v1/admin/users",
    "patch /api/v1/admin/users/{username}",
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
    "get /reset",
    "get /signup",
    "post /oauth/introspect",
    "post /oauth/revoke",
    "get /openapi.json",
    "get /verify",
];

#[tokio::test(flavor = "multi_thread")]
async fn openapi_names_exactly_the_paths_there_are() {
    let bench = bench().await;
    let document = bench.call("GET /openapi.json").send().await.json();
    let paths = document["paths"].as_object().unwrap();
    let described: BTreeSet<String> = paths
        .iter()
        .flat_map(|(path, methods)| {
            methods.as_object().unwrap().keys().map(move |method| format!("{method} {path}"))
        })
        .collect();
    assert_eq!(described, PATHS.iter().map(|path| (*path).to_owned()).collect());
}

#[tokio::test(flavor = "multi_thread")]
async fn openapi_describes_the_status_of_each_path() {
    let bench = bench().await;
    let document = bench.call("GET /openapi.json").send().await.json();
    for line in PATHS {
        let (method, path) = line.split_once(' ').unwrap();
        let real = path.replace("{username}", "nobody").replace("{id}", "x");
        let call = bench.call(&format!("{} {real}", method.to_uppercase()));
        let call = if method == "get" { call } else { call.body("application/json", "{}") };
        let response = call.send().await;
        assert!(![404, 405].contains(&response.status), "{line} is not served");
        let described = &document["paths"][path][method]["responses"];
        // What every body can get: unreadable, too large, of another type.
        let general = [400, 413, 415].contains(&response.status) && method != "get";
        assert!(
            general || described.get(response.status.to_string()).is_some(),
            "{line} answered {}",
            response.status
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn openapi_describes_the_members_of_responses() {
    let bench = bench().await;
    let ada = bench.person().await;
    let document = bench.call("GET /openapi.json").send().await.json();
    let members = |schema: &str| -> BTreeSet<String> {
        let properties = document["components"]["schemas"][schema]["properties"].as_object();
        properties.unwrap_or_else(|| panic!("no schema {schema}")).keys().cloned().collect()
    };
    let of = |value: &serde_json::Value| -> BTreeSet<String> {
        value.as_object().unwrap().keys().cloned().collect()
    };
    assert_eq!(of(&bench.me(&ada.access).await.json()), members("Account"));
    assert_eq!(of(&bench.refresh(&ada.refresh).await.json()), members("Granted"));
    let profile =
        bench.call(&format!("GET /api/v1/users/{}", ada.name)).bearer(&ada.access).send().await;
    assert_eq!(of(&profile.json()), members("Profile"));
    assert_eq!(of(&bench.call("GET /health/ready").send().await.json()), members("Health"));
}

/// Something that fits a member of a body, as the person who sends it would write it.
fn value_of(member: &str, token: &str) -> Value {
    match member {
        "username" => json!(name("new")),
        "email" => json!(format!("{}@example.org", name("new"))),
        "password" | "new_password" => json!("another horse battery"),
        "current_password" => json!(PASSWORD),
        "country" => json!("SE"),
        "disabled" | "cookie" => json!(false),
        "token" | "refresh_token" => json!(token),
        other => panic!("no value for `{other}`"),
    }
}

/// Each body is made of what is described alone, with every member it names.
#[tokio::test(flavor = "multi_thread")]
async fn openapi_describes_bodies_that_are_accepted() {
    let bench = bench().await;
    let document = bench.call("GET /openapi.json").send().await.json();
    let client = name("described");
    let secret = bench.auth.create_client(&client).await.unwrap();
    let basic =
        format!("Basic {}", base64::Engine::encode(&STANDARD, format!("{client}:{secret}")));
    let mut bodies = 0;
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let Some(content) = operation["requestBody"]["content"].as_object() else { continue };
            bodies += 1;
            let (kind, content) = content.iter().next().unwrap();
            let schema = content["schema"]["$ref"].as_str().unwrap().rsplit('/').next().unwrap();
            let (admin, ada) = (bench.admin().await, bench.person().await);
            let id = bench.me(&ada.access).await.member("id").parse().unwrap();
            let reset =
                bench.auth.reset_token(id, &auth::store::audit::Origin::console()).await.unwrap();
            let token = if schema == "ResetPassword" { &reset } else { &ada.refresh };
            let members =
                document["components"]["schemas"][schema]["properties"].as_object().unwrap();
            let mut body: Map<String, Value> =
                members.keys().map(|name| (name.clone(), value_of(name, token))).collect();
            if schema == "LoginBody" {
                body.insert("username".to_owned(), json!(ada.name));
                body.insert("password".to_owned(), json!(PASSWORD));
            }
            let line =
                format!("{} {}", method.to_uppercase(), path.replace("{username}", &ada.name));
            let call = match kind.as_str() {
                "application/json" => bench.call(&line).json(&Value::Object(body)),
                form => bench.call(&line).body(form, &format!("token={token}")),
            };
            let call = match operation["security"][0]
                .as_object()
                .and_then(|schemes| schemes.keys().next())
            {
                Some(scheme) if scheme == "basic" => call.header("authorization", &basic),
                Some(_) if path.contains("admin") => call.bearer(&admin.access),
                Some(_) => call.bearer(&ada.access),
                None => call,
            };
            let response = call.send().await;
            assert!(
                (200..300).contains(&response.status),
                "{line} with a {schema}: {}",
                response.text
            );
        }
    }
    assert_eq!(bodies, 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn openapi_operations_have_unique_ids_refusals_and_security() {
    let bench = bench().await;
    let document = bench.call("GET /openapi.json").send().await.json();
    let schemes: Vec<&String> =
        document["components"]["securitySchemes"].as_object().unwrap().keys().collect();
    assert_eq!(schemes, ["basic", "bearer"]);
    let mut names = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let name = operation["operationId"].as_str().unwrap();
            assert!(names.insert(name.to_owned()), "`{name}` stands twice");
            let refusal = &operation["responses"]["default"]["content"]["application/problem+json"]
                ["schema"]["$ref"];
            assert_eq!(refusal, "#/components/schemas/Problem", "{method} {path}");
            let line = format!(
                "{} {}",
                method.to_uppercase(),
                path.replace("{username}", "nobody").replace("{id}", "x")
            );
            let call = bench.call(&line);
            let call = if method == "get" { call } else { call.body("application/json", "{}") };
            let takes_a_token = operation["security"]
                .as_array()
                .is_some_and(|one| one.iter().all(|one| one != &json!({})));
            assert_eq!(call.send().await.status == 401, takes_a_token, "{line}");
        }
    }
}
