//! `weir import ingress`: Ingress objects shaped as people have them, what they become, and what is
//! said of each path and annotation.
//!
//! `tests/ingress/NAME.k8s.yaml` has `NAME.yaml` and `NAME.notes` beside it. After a wanted change
//! run `UPDATE=1 cargo test --test config ingress` once, read the difference, and commit it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use weir::{
    config::{self, Loaded, directives::Treatment},
    tools::ingress::{ImportedIngress, annotations::ANNOTATIONS, import, objects::PREFIX},
};

const FOLDER: &str = "tests/ingress";

fn cases() -> Vec<(String, PathBuf)> {
    let entries = fs::read_dir(FOLDER).expect("a folder of this repository");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let mut found: Vec<(String, PathBuf)> = paths
        .filter_map(|path| {
            let name = path.file_name()?.to_str()?.strip_suffix(".k8s.yaml")?.to_owned();
            Some((name, path))
        })
        .collect();
    found.sort();
    found
}

fn imported(path: &Path) -> ImportedIngress {
    import(&[path.to_owned()]).unwrap_or_else(|problems| panic!("{problems}"))
}

/// Imports one Ingress with these annotations, of a path `/private` beside an open `/`.
fn annotated(annotations: &str) -> ImportedIngress {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("test.yaml");
    let object = |name: &str, path: &str, annotations: &str| {
        format!(
            "kind: Ingress\nmetadata:\n  name: {name}\n  annotations:\n    a: b\n{annotations}\
             spec:\n  rules:\n  - http:\n      paths:\n      - path: {path}\n        pathType: Prefix\n\
             \x20       backend: {{ service: {{ name: {name}, port: {{ number: 80 }} }} }}\n"
        )
    };
    let lines: String =
        annotations.split(';').map(|line| format!("    {PREFIX}{}\n", line.trim())).collect();
    let text = format!("{}---\n{}", object("open", "/", ""), object("private", "/private", &lines));
    fs::write(&path, text).expect("a file");
    imported(&path)
}

/// The loader's own word on what was written, with files of this repository in place of others.
fn loaded(name: &str, yaml: &str) -> Loaded {
    let mut whole = String::new();
    for line in yaml.lines() {
        let pair = "- { cert: tests/certificates/a.pem, key: tests/certificates/a.key }";
        let line = match line.trim_start() {
            text if text.starts_with("- { cert: ") => format!("{}{pair}", &line[..8]),
            text if text.starts_with("basic_auth: ") => {
                format!("{}basic_auth: {{ file: tests/config_wrong/users.txt }}", &line[..4])
            }
            _ => line.to_owned(),
        };
        whole += &format!("{line}\n");
    }
    config::parse(&format!("{name}.yaml"), &whole, &[])
        .unwrap_or_else(|problems| panic!("{name}: {problems}\n{yaml}"))
}

#[test]
fn imported_ingress_is_as_before_and_loads() {
    let mut changed = Vec::new();
    for (name, path) in cases() {
        let imported = imported(&path);
        loaded(&name, &imported.yaml);
        let lines: String = imported.notes.iter().map(|note| format!("{note}\n")).collect();
        for (ending, told) in [("yaml", imported.yaml), ("notes", lines)] {
            let golden = Path::new(FOLDER).join(format!("{name}.{ending}"));
            if std::env::var_os("UPDATE").is_some() {
                fs::write(&golden, &told).expect("the repository can be written");
            } else if fs::read_to_string(&golden).unwrap_or_default() != told {
                changed.push(format!("{}:\n{told}", golden.display()));
            }
        }
    }
    assert!(changed.is_empty(), "otherwise than before:\n{}", changed.join("\n"));
}

/// A path that an annotation protects is protected in the same way, or closed.
#[test]
fn ingress_that_is_protected_is_closed() {
    for (annotations, expected) in [
        ("whitelist-source-range: 10.1.2.3/8", "access: { allow: [ \"10.0.0.0/8\" ] }"),
        ("denylist-source-range: 192.0.2.7", "access: { deny: [ \"192.0.2.7/32\" ] }"),
        ("whitelist-source-range: office", "upstream: closed"),
        ("whitelist-source-range: \"\"", "upstream: closed"),
        ("auth-url: http://a:1/v", "auth: { url: \"http://a:1/v\" }"),
        ("auth-url: http://a:1/v?x=$uri", "upstream: closed"),
        ("auth-url: ask", "upstream: closed"),
        ("auth-url: http://a:1/v; auth-method: POST", "upstream: closed"),
        ("auth-type: basic; auth-secret: users", "basic_auth: { file: /etc/weir/users/users, "),
        ("auth-type: basic", "upstream: closed"),
        ("auth-type: digest; auth-secret: users", "upstream: closed"),
        ("auth-type: basic; auth-secret: u; auth-secret-type: auth-map", "upstream: closed"),
        ("auth-type: basic; auth-secret: u; auth-url: http://a:1/v", "upstream: closed"),
        ("auth-tls-secret: ca", "upstream: closed"),
        ("auth-something-new: x", "upstream: closed"),
        ("server-snippet: deny all", "upstream: closed"),
        ("enable-modsecurity: \"true\"", "upstream: closed"),
        (
            "satisfy: any; denylist-source-range: 10.0.0.0/8; auth-url: http://a:1/",
            "upstream: closed",
        ),
        ("rewrite-target: /$uri", "upstream: closed"),
        ("backend-protocol: FCGI", "upstream: closed"),
    ] {
        let imported = annotated(annotations);
        let routes: Vec<&str> = imported.yaml.split("\n  - ").collect();
        let route = routes.iter().find(|route| route.contains("private") && route.contains("path"));
        assert!(
            route.is_some_and(|route| route.contains(expected)),
            "{annotations}: {}",
            imported.yaml
        );
        loaded("protected", &imported.yaml);
    }
}

#[test]
fn every_annotation_has_one_line() {
    for row in ANNOTATIONS {
        for name in row.names.split(", ") {
            let imported = annotated(&format!("{name}: x"));
            let lines =
                imported.notes.iter().filter(|note| note.text.starts_with(&format!("{name}: ")));
            let lines: Vec<_> = lines.collect();
            assert_eq!(lines.len(), 1, "{name}: {:?}", imported.notes);
            let is_said = lines[0].treatment == Treatment::Carried || !lines[0].reason.is_empty();
            assert!(is_said, "no reason for {}", lines[0]);
            loaded(name, &imported.yaml);
        }
    }
}

#[test]
fn annotation_table_of_the_page_comes_from_the_importer() {
    let path = "docs/how-to/ingress-nginx.md";
    let page = fs::read_to_string(path).expect("a page of this repository");
    let (before, rest) = page.split_once("<!-- annotations -->\n").expect("a mark");
    let (_, after) = rest.split_once("<!-- end -->").expect("a mark");
    let mut table = String::from("\n| annotation | weir | import |\n|---|---|---|\n");
    for row in ANNOTATIONS {
        let names: Vec<_> = row.names.split(", ").map(|name| format!("`{name}`")).collect();
        let key = match row.key {
            "" => "none".to_owned(),
            key => format!("`{}`", key.replace('|', "\\|")),
        };
        let note = row.note.replace('|', "\\|");
        let meaning = if note.is_empty() { key } else { format!("{key}; {note}") };
        table += &format!("| {} | {meaning} | {} |\n", names.join(", "), row.treatment.word());
    }
    let wanted = format!("{before}<!-- annotations -->\n{table}\n<!-- end -->{after}");
    if std::env::var_os("UPDATE").is_some() {
        fs::write(path, wanted).expect("the repository can be written");
    } else {
        assert!(page == wanted, "run `UPDATE=1 cargo test --test config ingress`");
    }
}

#[test]
fn ingress_command_says_what_is_wrong_with_a_file() {
    let weir = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_weir")).args(arguments).output();
        let output = output.expect("the binary of this package");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let (code, yaml, notes) = weir(&["import", "ingress", "tests/ingress/shop.k8s.yaml"]);
    assert_eq!(code, Some(0), "{notes}");
    assert!(yaml.contains("shop.store-rps: ") || yaml.contains("shop-store-rps: "), "{yaml}");
    let guarded = "tests/ingress/guarded.k8s.yaml";
    assert_eq!(weir(&["import", "ingress", "--strict", guarded]).0, Some(1));
    let (code, _, told) = weir(&["import", "ingress", "no.yaml"]);
    assert_eq!(code, Some(1));
    assert!(told.contains("cannot be read"), "{told}");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("wrong.yaml");
    fs::write(&path, "kind: Ingress\n---\nspec: [\n").expect("a file");
    let (code, _, told) = weir(&["import", "ingress", &path.display().to_string()]);
    assert_eq!(code, Some(1));
    assert!(told.contains("wrong.yaml:3") || told.contains("wrong.yaml:4"), "{told}");
}
