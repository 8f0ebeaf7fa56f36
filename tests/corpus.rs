//! What the fuzz targets found or were given to begin with, run again: `fuzz/kept/TARGET/*`.

use std::{fs, path::Path};

#[path = "dsl/bucket.rs"]
mod bucket;
#[path = "dsl/limit.rs"]
mod dsl;
#[path = "dsl/judge.rs"]
mod judge;
#[path = "dsl/judge_decision.rs"]
mod judge_decision;
#[path = "dsl/judge_fields.rs"]
mod judge_fields;
#[path = "dsl/judge_zones.rs"]
mod judge_zones;

fn over(target: &str, least: usize, judge: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/kept").join(target);
    let entries = fs::read_dir(&folder).expect("a folder of this repository");
    let kept: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    assert!(kept.len() >= least, "only {} files for {target}", kept.len());
    for path in kept {
        let bytes = fs::read(&path).expect("a file of this repository");
        eprintln!("{}", path.display());
        judge(&bytes);
        // Cut short, it must hold too.
        (0..bytes.len().min(300)).for_each(|end| judge(&bytes[..end]));
    }
}

#[test]
fn framing() {
    over("framing", 40, judge::framing);
}

#[test]
fn endpoint_answer() {
    over("endpoint_answer", 20, judge::endpoint_answer);
}

#[test]
fn client() {
    over("client", 10, judge::client);
}

#[test]
fn proxy_header() {
    over("proxy_header", 8, judge::proxy_header);
}

#[test]
fn target() {
    over("target", 10, judge::target);
}

#[test]
fn accept() {
    over("accept", 12, judge::accept);
}

#[test]
fn rate() {
    over("rate", 8, judge::rate);
}

#[test]
fn config() {
    over("config", 8, judge::config);
}

#[test]
fn routes() {
    over("routes", 6, judge::routes);
}

#[test]
fn path_form() {
    over("path_form", 12, judge::path_form);
}

#[test]
fn fields() {
    over("fields", 8, judge_fields::fields);
}

#[test]
fn decision() {
    over("decision", 8, judge_decision::decision);
}

#[test]
fn key() {
    over("key", 12, judge_zones::key);
}

#[test]
fn state() {
    over("state", 10, judge_zones::state);
}
