//! Files of a route: the root is opened, so that a wrong one stops the start and not the first
//! request.

use std::time::Duration;

use http::HeaderValue;

use super::{codings::codings, collector::Collector, location::Location};
use crate::{
    config::schema::FilesSpec,
    files::{
        name,
        root::{self, Root},
        settings::FilesSettings,
    },
    runtime::hint::hinted,
};

/// Resolves the files of a route.
pub fn files(judge: &mut Collector<'_>, spot: Location<'_>, files: &FilesSpec) -> FilesSettings {
    let root = judge.take(spot.key("root"), Root::open(files.root.as_ref()));
    let place = spot.key("index");
    for (index, text) in files.index.iter().enumerate() {
        if text.contains('/') || !name::is_name(text) {
            let hint = "write the name of a file, like `index.html`";
            judge.refuse(place.item(index), hinted(format!("`{text}` is not a name"), hint));
        }
    }
    let fallback = files.fallback.as_deref();
    FilesSettings {
        root: files.root.as_str().into(),
        index: files.index.clone(),
        fallback: fallback
            .and_then(|text| fallback_of(judge, spot.key("fallback"), text, root.as_ref())),
        precompressed: codings(judge, spot.key("precompressed"), &files.precompressed),
        cache_control: files
            .cache_control
            .as_deref()
            .and_then(|text| cache_control(judge, spot.key("cache_control"), text)),
    }
}

fn fallback_of(
    judge: &mut Collector<'_>,
    spot: Location<'_>,
    text: &str,
    root: Option<&Root>,
) -> Option<String> {
    let Some(name) = text.strip_prefix('/').filter(|name| name::is_name(name)) else {
        let hint = "write the path of a file below `root`, like `/index.html`";
        judge.refuse(spot, hinted(format!("`{text}` is not the path of a file"), hint));
        return None;
    };
    let directory = root.map(|root| root.directory(Duration::ZERO));
    // A warning only: the file may be put there while weir runs.
    if directory.is_some_and(|directory| root::open(&*directory, name.as_bytes()).is_err()) {
        let hint = "until it is there, paths without a file get 404";
        judge.problems.warn(spot.span, "the fallback cannot be opened", hint);
    }
    Some(name.to_owned())
}

fn cache_control(judge: &mut Collector<'_>, spot: Location<'_>, text: &str) -> Option<HeaderValue> {
    let value = HeaderValue::from_str(text).ok().filter(|value| !value.is_empty());
    let wrong = || {
        let hint = "write directives, like `public, max-age=3600`";
        hinted(format!("`{}` is not a value of Cache-Control", text.escape_debug()), hint)
    };
    judge.take(spot, value.ok_or_else(wrong))
}
