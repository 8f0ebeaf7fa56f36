//! Conditions on requests as written.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Condition on a request: all keys that are given must hold.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ConditionSpec {
    /// Networks, one of which contains the client address (nginx: `geo`).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-type" = "list of networks"))]
    pub clients: Vec<String>,
    /// Methods in upper case, one of which the request has; `GET` takes `HEAD` too.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    /// Tests of headers by name; `host` is the requested host (nginx: `map $http_NAME`).
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("x-type" = "map of tests"))]
    pub headers: BTreeMap<String, ValueSpec>,
    /// Tests of cookies by name (nginx: `map $cookie_NAME`).
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("x-type" = "map of tests"))]
    pub cookies: BTreeMap<String, ValueSpec>,
    /// Tests of query parameters by name (nginx: `map $arg_NAME`).
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("x-type" = "map of tests"))]
    pub query: BTreeMap<String, ValueSpec>,
}

/// Condition of a route on more than its host, path and methods: all keys that are given must hold.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MatchSpec {
    /// Networks, one of which contains the client address (nginx: `geo`).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-type" = "list of networks"))]
    pub clients: Vec<String>,
    /// Tests of headers by name; `host` is the requested host (nginx: `map $http_NAME`).
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("x-type" = "map of tests"))]
    pub headers: BTreeMap<String, ValueSpec>,
    /// Tests of cookies by name (nginx: `map $cookie_NAME`).
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("x-type" = "map of tests"))]
    pub cookies: BTreeMap<String, ValueSpec>,
    /// Tests of query parameters by name (nginx: `map $arg_NAME`).
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("x-type" = "map of tests"))]
    pub query: BTreeMap<String, ValueSpec>,
}

impl MatchSpec {
    /// The same as a condition of a rule.
    #[must_use]
    pub fn as_condition(&self) -> ConditionSpec {
        let Self { clients, headers, cookies, query } = self.clone();
        ConditionSpec { clients, methods: Vec::new(), headers, cookies, query }
    }
}

/// Test of a value, or several of which one must hold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ValueSpec {
    /// Present with any value, or absent.
    Presence(bool),
    /// One test.
    Test(String),
    /// Several tests.
    Tests(Vec<String>),
}
