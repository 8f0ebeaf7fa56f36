//! Configuration: from a text to the resolved [`settings`].
//!
//! The steps: [`yaml_tree`] (YAML with places) -> [`include`](mod@include) -> [`set`] ->
//! [`interpolate`] -> [`validate`] (against the [`shape`] of [`schema`](mod@schema)) ->
//! [`defaults`] -> [`resolve`] -> [`lint`]. Each [`problem`] is collected on the way.

pub mod defaults;
pub mod directives;
pub mod include;
pub mod interpolate;
pub mod lint;
pub mod load;
pub mod nearest;
pub mod network_watch;
pub mod networks;
pub mod passwords;
pub mod problem;
pub mod quantity;
pub mod resolve;
pub mod schema;
pub mod set;
pub mod settings;
pub mod shape;
pub mod show;
pub mod small_file;
pub mod validate;
pub mod wildcard;
pub mod yaml_tree;

pub use load::{Loaded, load, parse, source_texts};
pub use networks::NetworkLists;
pub use problem::Problems;
pub use settings::{
    ConcurrencyConfig, Config, PenaltyConfig, RouteConfig, RuleConfig, StateSettings,
};
pub use show::{schema, show};
