//! Levels of an nginx configuration: which directives hold at a place.
//!
//! nginx's rule: a directive of a block replaces that of the blocks around it, and those that may
//! be repeated (`proxy_set_header`, `add_header`, `limit_req`) are replaced all together.

use std::{collections::HashMap, rc::Rc};

use super::tree::Directive;

/// Directives of a block, and the blocks around it.
#[derive(Debug)]
pub struct Level<'a> {
    own: HashMap<&'a str, Vec<&'a Directive>>,
    outer: Option<Rc<Level<'a>>>,
}

impl<'a> Level<'a> {
    /// Level of these directives within another.
    #[must_use]
    pub fn of(
        directives: impl IntoIterator<Item = &'a Directive>,
        outer: Option<&Rc<Self>>,
    ) -> Rc<Self> {
        let mut own = HashMap::<&str, Vec<&Directive>>::new();
        for directive in directives {
            own.entry(&directive.name).or_default().push(directive);
        }
        Rc::new(Self { own, outer: outer.map(Rc::clone) })
    }

    /// Directives of this name in the block itself.
    #[must_use]
    pub fn own(&self, name: &str) -> &[&'a Directive] {
        self.own.get(name).map_or(&[], Vec::as_slice)
    }

    /// Directives of this name that hold here.
    #[must_use]
    pub fn all(&self, name: &str) -> &[&'a Directive] {
        match (self.own(name), &self.outer) {
            ([], Some(outer)) => outer.all(name),
            (own, _) => own,
        }
    }

    /// The directive of this name that holds here.
    #[must_use]
    pub fn one(&self, name: &str) -> Option<&'a Directive> {
        self.all(name).last().copied()
    }

    /// Directives of these names, all of the nearest block that has one of them: `allow` and
    /// `deny` are one list.
    #[must_use]
    pub fn list(&self, names: &[&str]) -> Vec<&'a Directive> {
        let own: Vec<_> = names.iter().flat_map(|name| self.own(name)).copied().collect();
        match (&own[..], &self.outer) {
            ([], Some(outer)) => outer.list(names),
            _ => own,
        }
    }

    /// Returns true if a flag is on here.
    #[must_use]
    pub fn is_on(&self, name: &str) -> bool {
        self.one(name).is_some_and(|directive| directive.arg(0) == "on")
    }
}
