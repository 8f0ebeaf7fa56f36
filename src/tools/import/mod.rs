//! Importer of nginx configurations: reads the files of an nginx and writes the weir.yaml for them.
//!
//! [`files`] reads them into a [`tree`] of directives by the [`lexer`]. [`translation`] is what they
//! declare. [`zones`], [`listeners`], [`routes`] and [`settings`] make a [`plan`] of it, with an
//! outcome for each directive in [`notes`]; [`mod@yaml`] writes the plan, and [`verify`] fires requests
//! derived from it at both servers. The table of directives is
//! [`crate::config::directives`].

pub mod access;
pub mod amounts;
pub mod byte_sets;
pub mod changed_paths;
pub mod concurrency;
pub mod error;
pub mod everywhere;
pub mod expressions;
pub mod fields;
pub mod files;
pub mod hosts;
pub mod index_names;
pub mod key_conditions;
pub mod keys;
pub mod levels;
pub mod lexer;
pub mod listener_tls;
pub mod listeners;
pub mod loads;
pub mod locations;
pub mod logs;
pub mod names;
pub mod notes;
pub mod patterns;
pub mod plan;
pub mod proxies;
pub mod redirect_maps;
pub mod redirects;
pub mod refusals;
pub mod responses;
pub mod rewrites;
pub mod routes;
pub mod rules;
pub mod scalar;
pub mod settings;
pub mod sockets;
pub mod static_files;
pub mod targets;
pub mod translation;
pub mod tree;
pub mod upstreams;
pub mod urls;
pub mod values;
pub mod verify;
pub mod ways_back;
pub mod yaml;
pub mod zones;

use files::NginxFiles;
use notes::DirectiveNote;
use plan::ImportPlan;
use translation::Translation;

/// What became of an nginx configuration.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The weir.yaml.
    pub yaml: String,
    /// One note for each directive, in the order of the files.
    pub notes: Vec<DirectiveNote>,
    /// Plan of the weir.yaml.
    pub plan: ImportPlan,
}

/// Translates files that were read.
#[must_use]
pub fn import(files: &NginxFiles) -> Imported {
    let mut state = Translation::of(files);
    zones::zones(&mut state);
    concurrency::zones(&mut state);
    let sockets = listeners::listeners(&mut state);
    routes::routes(&mut state, &sockets);
    zones::unused(&mut state);
    concurrency::unused(&mut state);
    zones::general_status(&mut state);
    settings::settings(&mut state);
    Imported { yaml: yaml::write(&state.plan), notes: state.notes.all(files), plan: state.plan }
}
