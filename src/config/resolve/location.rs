//! Location of a value in the file, found by its path.

use crate::config::{
    problem::Span,
    yaml_tree::{Node, Scalar},
};

/// Place in the tree; for a value that is not written, the nearest place above it.
#[derive(Clone, Copy, Debug)]
pub struct Location<'a> {
    node: Option<&'a Node>,
    /// Span to point at.
    pub span: Span,
}

impl<'a> Location<'a> {
    /// Location of the whole file.
    #[must_use]
    pub fn root(tree: &'a Node) -> Self {
        Self { node: Some(tree), span: tree.span }
    }

    /// Value of a key: a scalar itself, else the key.
    #[must_use]
    pub fn key(self, key: &str) -> Self {
        let Some(entry) = self.node.and_then(|node| node.get(key)) else {
            // A missing key points at the nearest value that is there, so every problem has a
            // place.
            return Self { node: None, ..self };
        };
        // A map is many lines long, its key is one word.
        let span = if entry.node.scalar().is_some() { entry.node.span } else { entry.key_span };
        Self { node: Some(&entry.node), span }
    }

    /// Key itself.
    #[must_use]
    pub fn name(self, key: &str) -> Self {
        let span =
            self.node.and_then(|node| node.get(key)).map_or(self.span, |entry| entry.key_span);
        Self { span, ..self.key(key) }
    }

    /// First key of a map: an entry of a list has no name of its own to point at.
    #[must_use]
    pub fn first(self) -> Span {
        let first = self.node.and_then(|node| node.entries().first());
        first.map_or(self.span, |entry| entry.key_span)
    }

    /// Entry of a list.
    #[must_use]
    pub fn item(self, index: usize) -> Self {
        match self.node.and_then(|node| node.item(index)) {
            Some(node) => Self { node: Some(node), span: node.span },
            None => self,
        }
    }

    /// Returns true if a key is written here.
    #[must_use]
    pub fn has(self, key: &str) -> bool {
        self.node.is_some_and(|node| node.get(key).is_some())
    }

    /// Returns true if a key is written here, and not in the defaults of routes.
    #[must_use]
    pub fn has_own(self, key: &str) -> bool {
        self.node.and_then(|node| node.get(key)).is_some_and(|entry| !entry.is_inherited)
    }

    /// Returns true if a value is written at this place.
    #[must_use]
    pub fn is_written(self) -> bool {
        self.node.is_some()
    }

    /// Scalar at this place.
    #[must_use]
    pub fn scalar(self) -> Option<&'a Scalar> {
        self.node.and_then(Node::scalar)
    }
}
