//! State of a translation of Ingress objects.

use super::documents::IngressFiles;
use crate::{
    config::directives::Treatment,
    tools::import::{loads::Loads, notes::DirectiveNote, plan::ImportPlan},
};

/// State of a translation.
#[derive(Debug)]
pub struct IngressState<'f> {
    /// Files as read.
    pub files: &'f IngressFiles,
    /// Outcomes.
    pub notes: Vec<DirectiveNote>,
    /// Plan.
    pub plan: ImportPlan,
    /// Judge of what is written.
    pub loads: Loads,
}

impl IngressState<'_> {
    /// Notes the outcome of a line of the files.
    pub fn note(
        &mut self,
        place: usize,
        text: impl Into<String>,
        treatment: Treatment,
        reason: &str,
    ) {
        let origin = self.files.origin(place);
        self.notes.push(DirectiveNote {
            origin,
            text: text.into(),
            treatment,
            reason: reason.to_owned(),
        });
    }
}
