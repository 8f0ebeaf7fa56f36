//! Rules of a route: of rate and of concurrency.

use super::{concurrency, levels::Level, plan::RoutePlan, translation::Translation, zones};

/// Plans the rules of a route.
pub fn rules(state: &mut Translation<'_>, level: &Level<'_>, route: &mut RoutePlan) {
    zones::rules(state, level, route);
    concurrency::rules(state, level, route);
}
