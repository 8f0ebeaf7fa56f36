//! Judge of the importer: what it makes of any bytes.

use std::path::Path;

use weir::{
    config::{interpolate::Outside, load::parse_with},
    runtime::hint::Hinted,
    tools::import::{
        error::Fault,
        files::{self, Files},
        import,
    },
};

/// A disk on which every name is this file, so that it includes itself.
struct OneFile<'a>(&'a str);

impl Files for OneFile<'_> {
    fn read(&self, _: &Path) -> Result<String, Fault> {
        Ok(self.0.to_owned())
    }

    fn list(&self, _: &Path) -> Vec<String> {
        vec!["again.conf".to_owned()]
    }
}

/// An outside in which there is nothing.
struct Nothing;

impl Outside for Nothing {
    fn variable(&self, _: &str) -> Option<String> {
        None
    }

    fn file(&self, _: &Path) -> std::io::Result<String> {
        Err(std::io::ErrorKind::NotFound.into())
    }
}

/// A configuration of nginx: it is refused with a place and a hint, or weir loads what it becomes,
/// and each line about it is one line.
pub fn nginx(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let files = match files::read(&OneFile(&text), &["test.conf".into()]) {
        Ok(files) => files,
        Err(error) => {
            assert!(error.to_string().contains(".conf") && error.hint().is_some(), "{error}");
            return;
        }
    };
    let imported = import(&files);
    for note in &imported.notes {
        assert!(!note.to_string().contains('\n'), "{note}");
    }
    // Certificates and users are read where they are.
    if imported.yaml.contains("tls:") || imported.yaml.contains("basic_auth:") {
        return;
    }
    if let Err(problems) = parse_with("import.yaml", &imported.yaml, &[], &Nothing) {
        panic!("{problems}\n{}", imported.yaml);
    }
}
