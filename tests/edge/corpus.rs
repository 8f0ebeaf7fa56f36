//! Seeds and findings of the fuzz targets, run again: `fuzz/kept/TARGET/*`.

use std::{fs, path::Path};

use proptest::{collection::vec, prelude::*};
use weir_test::judge::{
    access, blocks, connection, decision, endpoint, fields, frames, import, parsers, rewrite, zones,
};

/// Bytes of the files of a target, of which there are at least so many; each is named when it is
/// read.
fn kept(target: &str, least: usize) -> impl Iterator<Item = Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/kept").join(target);
    let entries = fs::read_dir(&folder).expect("a folder of this repository");
    let kept: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    assert!(kept.len() >= least, "only {} files for {target}", kept.len());
    kept.into_iter().map(|path| {
        eprintln!("{}", path.display());
        fs::read(&path).expect("a file of this repository")
    })
}

fn over(target: &str, least: usize, judge: fn(&[u8])) {
    for bytes in kept(target, least) {
        judge(&bytes);
        // Cut short, it must hold too.
        (0..bytes.len().min(300)).for_each(|end| judge(&bytes[..end]));
    }
}

/// The same without shorter ones: each is played to a whole worker.
async fn over_whole(target: &str, least: usize, judge: impl AsyncFn(&[u8])) {
    for bytes in kept(target, least) {
        judge(&bytes).await;
    }
}

#[tokio::test(start_paused = true)]
async fn connection() {
    over_whole("framing", 40, connection::judge).await;
}

#[tokio::test(start_paused = true)]
async fn endpoint() {
    over_whole("endpoint_answer", 20, endpoint::judge).await;
}

#[tokio::test(start_paused = true)]
async fn frames() {
    over_whole("frames", 12, frames::judge).await;
}

#[test]
fn hpack() {
    for bytes in kept("hpack", 12) {
        blocks::run(blocks::judge(&bytes));
    }
}

#[test]
fn framing() {
    over("framing", 40, parsers::framing);
}

#[test]
fn endpoint_answer() {
    over("endpoint_answer", 20, parsers::endpoint_answer);
}

#[test]
fn client() {
    over("client", 10, parsers::client);
}

#[test]
fn proxy_header() {
    over("proxy_header", 8, parsers::proxy_header);
}

#[test]
fn target() {
    over("target", 10, parsers::target);
}

#[test]
fn rewriting() {
    over("rewrite", 10, rewrite::rewrite);
}

#[test]
fn users() {
    over("users", 8, access::users);
}

#[test]
fn credentials() {
    over("credentials", 8, access::credentials);
}

#[test]
fn accept() {
    over("accept", 12, parsers::accept);
}

#[test]
fn rate() {
    over("rate", 8, parsers::rate);
}

#[test]
fn config() {
    over("config", 8, parsers::config);
}

#[test]
fn import_nginx() {
    over("import_nginx", 8, import::nginx);
}

#[test]
fn log_format() {
    over("log_format", 6, parsers::log_format);
}

proptest! {
    /// A few hosts, paths and conditions, so that nearly all of them meet.
    #[test]
    fn routes_with_conditions_in_doubt(
        routes in vec(
            r"(-|a\.t|\*\.t) (/|/a|/a/b|=/a|~b|\$b|\^/|\^/a) (-|GET|POST)( \+| \?| !)?",
            0..9,
        ),
        request in r"(a|b)\.t /(a|a/b|b)? (GET|POST|HEAD)",
    ) {
        parsers::routes([routes.join("\n"), request].join("\n").as_bytes());
    }

    #[test]
    fn log_format_of_any_value(
        format in r#"[ -~]{0,6}(\$(request|uri|http_x_a|sent_http_x_a|host|args|remote_user) ?){1,4}"#,
        value in vec(any::<u8>(), 0..40),
    ) {
        parsers::log_format(&[format.as_bytes(), b"\n", &value].concat());
    }
}

#[test]
fn routes() {
    over("routes", 6, parsers::routes);
}

#[test]
fn path_form() {
    over("path_form", 12, parsers::path_form);
}

#[test]
fn fields() {
    over("fields", 8, fields::fields);
}

#[test]
fn decision() {
    over("decision", 8, decision::decision);
}

#[test]
fn key() {
    over("key", 12, zones::key);
}

#[test]
fn state() {
    over("state", 10, zones::state);
}
