//! Importer of Ingress objects of Kubernetes: what ingress-nginx does with them and their
//! annotations, as a weir.yaml.
//!
//! [`documents`] reads the files, [`objects`] finds the Ingresses and Services in them, [`paths`]
//! plans their routes with the settings of [`annotations`], and [`super::import::yaml`] writes the
//! plan, as for files of nginx.
//!
//! Guarantee: a path that an annotation protects is protected or closed
//! (`ingress_that_is_protected_is_closed` in tests/config/ingress.rs).

pub mod annotations;
pub mod documents;
pub mod listeners;
pub mod objects;
pub mod paths;
pub mod settings;
pub mod state;

use std::path::PathBuf;

use objects::Objects;
use state::IngressState;

use super::import::{
    loads::Loads,
    notes::DirectiveNote,
    plan::{EndpointPlan, ImportPlan, Remarks, RoutePlan, UpstreamPlan},
    upstreams::CLOSED,
    yaml,
};
use crate::config::problem::Problems;

/// What became of Ingress objects.
#[derive(Clone, Debug)]
pub struct ImportedIngress {
    /// The weir.yaml.
    pub yaml: String,
    /// One note for each annotation and path.
    pub notes: Vec<DirectiveNote>,
}

/// Translates the Ingress objects of files.
///
/// # Errors
/// All problems of the files.
pub fn import(paths: &[PathBuf]) -> Result<ImportedIngress, Problems> {
    let files = documents::read(paths)?;
    let objects = Objects::of(&files);
    let mut state = IngressState {
        files: &files,
        notes: Vec::new(),
        plan: ImportPlan::default(),
        loads: Loads::default(),
    };
    head(&mut state);
    listeners::listeners(&mut state, &objects);
    paths::routes(&mut state, &objects);
    finish(&mut state);
    Ok(ImportedIngress { yaml: yaml::write(&state.plan), notes: state.notes })
}

fn head(state: &mut IngressState<'_>) {
    state.plan.head = [
        "Written by `weir import ingress`. An entry has its file and line behind it, and above it",
        "what differs from ingress-nginx. Services are named as inside of the cluster.",
    ]
    .map(str::to_owned)
    .to_vec();
}

/// Declares the upstream of closed routes.
fn finish(state: &mut IngressState<'_>) {
    // The ConfigMap of the controller may have another status, and is in no file.
    state.plan.reject_status = 503;
    // weir loads no file without a route.
    if state.plan.routes.is_empty() {
        let mut remarks = Remarks::default();
        remarks.add("no Ingress that weir can serve is in the files: this is an example");
        state.plan.routes.push(RoutePlan {
            path: "/".to_owned(),
            upstream: CLOSED.to_owned(),
            is_closed: true,
            remarks,
            ..RoutePlan::default()
        });
    }
    if state.plan.routes.iter().any(|route| route.is_closed) {
        let mut remarks = Remarks::default();
        remarks.add("nothing listens here: what weir cannot serve as ingress-nginx does gets 502");
        let endpoints = vec![EndpointPlan::at("http://127.0.0.1:1")];
        let (name, lines) = (CLOSED.to_owned(), Vec::new());
        state.plan.upstreams.push(UpstreamPlan { name, endpoints, lines, remarks });
    }
}
