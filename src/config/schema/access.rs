//! Conditions for passing a route, as written.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::access::networks::Satisfy;

/// Networks whose clients may pass a route; others get 403. The order has no meaning.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AccessSpec {
    /// Allowed networks, or `@file:PATH`; every other network is denied. Without the key every
    /// network is allowed (nginx: `allow`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow: Option<Vec<String>>,
    /// Denied networks, or `@file:PATH`, also within allowed ones (nginx: `deny`).
    pub deny: Vec<String>,
    /// `any`: a client of `allow` needs no credentials, and every other one needs them. `all`: it
    /// has to be of `allow` and needs credentials too (nginx: `satisfy`).
    pub satisfy: Satisfy,
}

/// Users that may pass a route with their passwords (RFC 7617); others get 401.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BasicAuthSpec {
    /// File with a line `user:hash` for each user, as `htpasswd -B` writes it: bcrypt, argon2 or
    /// `$apr1$`. It is read again every 5 s (nginx: `auth_basic_user_file`).
    pub file: String,
    /// Name of what the password is for, which browsers show (nginx: `auth_basic`).
    #[serde(default = "BasicAuthSpec::default_realm")]
    pub realm: String,
}

impl BasicAuthSpec {
    fn default_realm() -> String {
        "Restricted".to_owned()
    }
}

/// Service that judges each request before it is forwarded (nginx: `auth_request`). It is asked
/// with GET and no body. A 2xx lets the request pass, every 3xx and 4xx goes back to the client,
/// and anything else is 502 or 504.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AuthSpec {
    /// URL of the service, like `http://auth:8000/verify`; `upstream` and `path` in place of it
    /// name an upstream of this file (nginx: `auth_request`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Name of an upstream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream: Option<String>,
    /// Path there, with its query.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Fields of the service's 2xx that are forwarded with the request, and removed from what
    /// clients send. The first one names the user, for the log (nginx: `auth_request_set`).
    #[serde(default)]
    pub pass: Vec<String>,
    /// Fields of the request that identify its sender, which the service gets.
    #[serde(default = "AuthSpec::default_credentials")]
    pub credentials: Vec<String>,
    /// Time for which a 2xx counts for the same request with the same credentials; `0s` asks each
    /// time.
    #[serde(default = "AuthSpec::default_cache")]
    #[schemars(extend("x-type" = "time"))]
    pub cache: String,
}

impl AuthSpec {
    fn default_credentials() -> Vec<String> {
        ["authorization", "cookie"].map(str::to_owned).to_vec()
    }

    fn default_cache() -> String {
        "0s".to_owned()
    }
}

/// Schema of a map that `none` takes the place of. The word never reaches the decoder
/// ([`crate::config::defaults`]).
pub fn or_none<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    let map = generator.subschema_for::<T>();
    json_schema!({ "anyOf": [ map, { "const": "none" } ] })
}
