//! Where a value of the file is written, found by the way that leads to it.

use crate::config::{
    problem::Span,
    yaml_tree::{Node, Scalar},
};

/// A place in the tree; for a value that is not written, the nearest place above it.
#[derive(Clone, Copy, Debug)]
pub struct Location<'a> {
    node: Option<&'a Node>,
    /// What to point at.
    pub span: Span,
}

impl<'a> Location<'a> {
    /// The whole file.
    #[must_use]
    pub fn root(tree: &'a Node) -> Self {
        Self { node: Some(tree), span: tree.span }
    }

    /// The value of a key: a single value itself, else the key.
    #[must_use]
    pub fn key(self, key: &str) -> Self {
        let Some(entry) = self.node.and_then(|node| node.get(key)) else {
            return Self { node: None, ..self };
        };
        let span = if entry.node.scalar().is_some() { entry.node.span } else { entry.key_span };
        Self { node: Some(&entry.node), span }
    }

    /// The key itself.
    #[must_use]
    pub fn name(self, key: &str) -> Self {
        let span =
            self.node.and_then(|node| node.get(key)).map_or(self.span, |entry| entry.key_span);
        Self { span, ..self.key(key) }
    }

    /// An entry of a list.
    #[must_use]
    pub fn item(self, index: usize) -> Self {
        match self.node.and_then(|node| node.item(index)) {
            Some(node) => Self { node: Some(node), span: node.span },
            None => self,
        }
    }

    /// Whether a key is written here.
    #[must_use]
    pub fn has(self, key: &str) -> bool {
        self.node.is_some_and(|node| node.get(key).is_some())
    }

    /// The single value here.
    #[must_use]
    pub fn scalar(self) -> Option<&'a Scalar> {
        self.node.and_then(Node::scalar)
    }
}
