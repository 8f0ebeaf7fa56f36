//! Lists of codings.

use super::{collector::Collector, location::Location};
use crate::{compress::negotiate::Coding, runtime::hint::hinted};

/// Resolves a list of codings in order of preference.
pub fn codings(judge: &mut Collector<'_>, spot: Location<'_>, written: &[Coding]) -> Vec<Coding> {
    let mut codings = Vec::new();
    for (index, coding) in written.iter().copied().enumerate() {
        if codings.contains(&coding) {
            let hint = "keep one of them; the first one counts";
            let message = format!("`{}` is listed twice", coding.name());
            judge.refuse(spot.item(index), hinted(message, hint));
        }
        codings.push(coding);
    }
    codings
}
