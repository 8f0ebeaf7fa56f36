//! The configuration file: what loads, what is refused and how that is told.
//!
//! `tests/config_wrong/*.yaml` each have the drawing of their problems beside them as `*.stderr`.
//! After a wanted change run `UPDATE=1 cargo test --test config files` once, read the difference, and
//! commit it; nothing is accepted without that. Lines `#--set path=value` in such a file are
//! settings over it. Files called `lint_*` load, with warnings.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use http::{HeaderValue, header};
use proptest::prelude::*;
use weir::{
    compress::negotiate::Coding,
    config::{
        self, Loaded, Problems, RuleConfig,
        directives::DIRECTIVES,
        interpolate, load, parse,
        problem::{MAX_PROBLEMS, Severity, Style},
        show,
    },
    downstream::{
        settings::{FileOwner, SocketFileSettings},
        tls::settings::{ClientAuth, ClientAuthSettings},
    },
    http::{header_list::HeaderList, request_id::RequestId},
    limit::{Decision, Millis, Rule, RuleSettings, Zone, zone::Intent},
    proxy::{
        header_edits::{EditContext, Edits},
        reject::RejectHeader,
        route::{HostPattern, PathPattern},
    },
    upstream::{
        settings::{ProxyHeader, QueueSettings},
        sticky::SameSite,
    },
};

fn yaml_files(folders: &[&str]) -> Vec<PathBuf> {
    let entries = folders
        .iter()
        .flat_map(|folder| fs::read_dir(folder).expect("a folder of this repository"));
    let mut files: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    files
}

fn fine(text: &str) -> Loaded {
    parse("test.yaml", text, &[]).unwrap_or_else(|problems| panic!("{problems}"))
}

fn wrong(text: &str) -> Problems {
    parse("test.yaml", text, &[]).expect_err("something is wrong")
}

const MINIMAL: &str = "listeners: [ ':8080' ]\nroutes: [ { path: /, upstream: 'http://a:1' } ]\n";

#[test]
fn every_wrong_file_is_told_as_before() {
    let (files, mut changed) = (yaml_files(&["tests/config_wrong"]), Vec::new());
    assert!(files.len() >= 40, "only {} wrong files", files.len());
    for path in files {
        let text = fs::read_to_string(&path).expect("a file of this repository");
        let sets: Vec<String> = text
            .lines()
            .filter_map(|line| line.strip_prefix("#--set "))
            .map(str::to_owned)
            .collect();
        let lint = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("lint_"));
        let problems = match load(&path, &sets) {
            Ok(loaded) if lint => loaded.warnings,
            Err(problems) if !lint => problems,
            _ => panic!("{} should {}", path.display(), if lint { "load" } else { "be refused" }),
        };
        assert!(!problems.is_empty(), "{} has no problem", path.display());
        let (told, expected) = (format!("{problems}\n"), path.with_extension("stderr"));
        if std::env::var_os("UPDATE").is_some() {
            fs::write(&expected, &told).expect("the repository can be written");
        } else if fs::read_to_string(&expected).unwrap_or_default() != told {
            changed.push(format!("{}:\n{told}", path.display()));
        }
    }
    assert!(changed.is_empty(), "told otherwise than before:\n{}", changed.join("\n"));
}

/// A hundred warnings, found before anything a file says: bits behind the prefixes of a zone that
/// is judged first.
fn crowd() -> String {
    let networks: Vec<String> =
        (0..MAX_PROBLEMS).map(|number| format!("10.{number}.0.1/16")).collect();
    format!("zones.a-crowd={{ key: client_ip, rate: 1r/s, exempt: [ {} ] }}", networks.join(", "))
}

#[test]
fn errors_are_told_and_counted_behind_a_hundred_warnings() {
    let errors = |problems: &Problems| {
        let errors = problems.iter().filter(|problem| problem.severity == Severity::Error);
        errors.map(|problem| problem.message.clone()).collect::<Vec<_>>()
    };
    let (mut crowded, sets) = (0, [crowd()]);
    for path in yaml_files(&["tests/config_wrong"]) {
        let text = fs::read_to_string(&path).expect("a file of this repository");
        let Err(alone) = parse(&path.display().to_string(), &text, &[]) else { continue };
        let Err(behind) = parse(&path.display().to_string(), &text, &sets) else {
            panic!("{} is taken for fine behind a hundred warnings", path.display());
        };
        crowded += usize::from(behind.warnings() >= MAX_PROBLEMS);
        let told = errors(&behind);
        // Where a file has no place for a zone, the setting is wrong too.
        let of_zones = |error: &String| error.starts_with("`zones`") || error.ends_with("is empty");
        let lost: Vec<_> = errors(&alone)
            .into_iter()
            .filter(|error| !told.contains(error) && !of_zones(error))
            .collect();
        assert!(lost.is_empty(), "{}: {lost:#?}", path.display());
        assert!(behind.errors() >= 1 && behind.len() == behind.errors() + behind.warnings());
        let path = path.display().to_string();
        assert_eq!(weir(&["check", "-c", &path, "--set", &sets[0]]).0, Some(3), "{path}");
    }
    assert!(crowded >= 60, "only {crowded} files had a hundred warnings before them");
}

#[test]
fn warnings_without_an_error_are_counted_and_the_file_loads() {
    let loaded =
        parse("test.yaml", MINIMAL, &[crowd()]).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!((loaded.warnings.errors(), loaded.warnings.warnings()), (0, MAX_PROBLEMS + 1));
    assert!(loaded.warnings.to_string().ends_with("1 more are not shown"));
}

/// An environment of its own.
struct Outside(&'static [(&'static str, &'static str)]);

impl interpolate::Outside for Outside {
    fn variable(&self, name: &str) -> Option<String> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
    }

    fn file(&self, _: &Path) -> std::io::Result<String> {
        Ok("7\n".to_owned())
    }
}

#[test]
fn numbers_and_flags_may_come_from_outside_within_brackets() {
    let outside = Outside(&[
        ("BURST", "20"),
        ("ND", "true"),
        ("STATUS", "429"),
        ("BITS", "24"),
        ("WORD", "often"),
        ("YES", "true"),
    ]);
    let file = |limit: &str| {
        format!(
            "listeners: [ ':1' ]\nzones: {{ z: {{ key: client_ip, rate: 10r/s, ipv4_prefix: \"${{BITS}}\" }} }}\n\
             reject: {{ status: \"${{STATUS}}\" }}\n\
             routes: [ {{ path: \"/${{YES}}\", upstream: 'http://a:1', limits: [ {{ zone: z, {limit} }} ] }} ]"
        )
    };
    let read = |limit: &str| config::load::parse_with("test.yaml", &file(limit), &[], &outside);
    let rule = |limit: &str| {
        read(limit).unwrap_or_else(|problems| panic!("{problems}")).config.routes[0].limits[0]
            .settings
    };
    assert_eq!(
        rule("burst: \"${BURST}\""),
        RuleSettings { max_wait: Some(Millis(30_000)), ..RuleSettings::burst(20) }
    );
    assert_eq!(rule("burst: '${BURST}', nodelay: '${ND}'").delay, 20);
    assert_eq!(rule("burst: \"${NONE:-9}\"").burst, 9);
    assert_eq!(rule("burst: \"1${NONE:-9}\"").burst, 19);
    assert_eq!(rule("burst: \"${file:/run/secrets/burst}\"").burst, 7);
    let loaded = read("burst: \"${BURST}\"").unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(
        (loaded.config.zones[0].key.ipv4_prefix, loaded.config.routes[0].reject.status),
        (24, 429)
    );
    assert_eq!(loaded.config.routes[0].patterns[0].path, PathPattern::Prefix("/true".to_owned()));
    for (limit, told) in [
        ("burst: \"${WORD}\"", "hint: it must be digits, without a unit or a point"),
        ("burst: \"20\"", "hint: leave the quotes out: `20`"),
        ("nodelay: \"true\"", "hint: leave the quotes out: `true`"),
    ] {
        let problems = read(limit).expect_err("it is text").to_string();
        assert!(problems.contains(told) && !problems.contains("often"), "{problems}");
    }
}

#[test]
fn config_show_keeps_environment_values_as_written() {
    let outside = Outside(&[("TOKEN", "s3cr3t"), ("BURST", "20")]);
    let text = "listeners: [ ':1' ]\nzones: { z: { key: client_ip, rate: 10r/s } }\nroutes:\n- path: /\n  upstream: 'http://a:1'\n  \
        limits: [ { zone: z, burst: \"${BURST}\" } ]\n  request: { headers: { set: { authorization: \"Bearer ${TOKEN}\" } } }\n";
    let loaded = config::load::parse_with("test.yaml", text, &[], &outside)
        .unwrap_or_else(|problems| panic!("{problems}"));
    let shown = show(&loaded);
    assert!(
        shown.contains("Bearer ${TOKEN}")
            && shown.contains("${BURST}")
            && !shown.contains("s3cr3t"),
        "{shown}"
    );
    let again = config::load::parse_with("test.yaml", &shown, &[], &outside)
        .unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(show(&again), shown);
    assert_eq!(again.config.routes[0].limits, loaded.config.routes[0].limits);
}

#[test]
fn networks_come_from_a_file_beside_the_configuration() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, networks) = (folder.path().join("weir.yaml"), folder.path().join("cidrs.txt"));
    let zone =
        "zones: { z: { key: client_ip, rate: 1r/s, exempt: [ 192.0.2.1, \"@file:cidrs.txt\" ] } }";
    let route =
        "routes: [ { path: /, upstream: 'http://a:1', limits: [ { zone: z, burst: 5 } ] } ]";
    fs::write(
        &path,
        format!("listeners: [ ':1' ]\nclient_ip: {{ trusted_proxies: [ \"@file:cidrs.txt\" ] }}\n{zone}\n{route}\n"),
    )
    .expect("a file");
    fs::write(&networks, "# ours\n10.0.0.0/8  # the office\n\n2001:db8::/32\n").expect("a file");
    let loaded = load(&path, &[]).unwrap_or_else(|problems| panic!("{problems}"));
    let texts =
        |networks: &[ipnet::IpNet]| networks.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(texts(&loaded.config.client_ip.proxies), ["10.0.0.0/8", "2001:db8::/32"]);
    assert_eq!(
        texts(&loaded.config.zones[0].exempt),
        ["192.0.2.1/32", "10.0.0.0/8", "2001:db8::/32"]
    );
    assert!(show(&loaded).contains("'@file:cidrs.txt'"), "{}", show(&loaded));

    let again = |config: &config::Config| {
        config.with_networks_read_again().map_err(|error| error.to_string())
    };
    assert!(again(&loaded.config).expect("a good file").is_none());
    fs::write(&networks, "10.0.0.0/8\n203.0.113.0/24\n").expect("a file");
    let changed = again(&loaded.config).expect("a good file").expect("other networks");
    assert_eq!(texts(&changed.client_ip.proxies), ["10.0.0.0/8", "203.0.113.0/24"]);
    assert_eq!(texts(&changed.zones[0].exempt), ["192.0.2.1/32", "10.0.0.0/8", "203.0.113.0/24"]);
    assert!(again(&changed).expect("a good file").is_none());
    fs::write(&networks, "10.0.0.0/8\nnone\n").expect("a file");
    let told = again(&changed).expect_err("a bad line");
    assert!(told.ends_with("cidrs.txt`, line 2: `none` is not a network"), "{told}");
    fs::remove_file(&networks).expect("a file");
    assert!(again(&changed).expect_err("no file").contains("cannot be read"));
    // Nobody writes into it: who opened it would wait for ever.
    assert!(
        std::process::Command::new("mkfifo")
            .arg(&networks)
            .status()
            .expect("mkfifo of coreutils")
            .success()
    );
    assert!(again(&changed).expect_err("a pipe").ends_with("is not a regular file"));
}

/// Conditions of routes come before those of their rules, in each route.
#[test]
fn networks_of_conditions_are_read_again_each_for_its_own() {
    let (folder, loaded) = loaded_of(
        &[
            (
                "weir.yaml",
                "listeners: [ ':1' ]\nzones: { z: { key: client_ip, rate: 1r/s } }\nroutes:\n\
                 - { path: /, upstream: 'http://a:1', match: { clients: [ '@file:a.txt' ] } }\n\
                 - path: /\n  upstream: 'http://a:1'\n  match: { clients: [ '@file:b.txt' ] }\n  \
                   limits: [ { zone: z, burst: 9, when: { clients: [ '@file:c.txt' ] } } ]\n",
            ),
            ("a.txt", "10.0.0.0/8"),
            ("b.txt", "10.1.0.0/16"),
            ("c.txt", "10.2.0.0/16"),
        ],
        &[],
    );
    let config = loaded.unwrap_or_else(|problems| panic!("{problems}")).config;
    for (name, network) in [("a", "192.0.2.1"), ("b", "192.0.2.2"), ("c", "192.0.2.3")] {
        fs::write(folder.path().join(name).with_extension("txt"), network).expect("a file");
    }
    let again = config.with_networks_read_again().expect("good files").expect("other networks");
    let routes = &again.routes;
    let rule = routes[1].limits[0].scope.as_ref().and_then(|scope| scope.when.as_ref());
    let conditions = [routes[0].condition.as_ref(), routes[1].condition.as_ref(), rule];
    let clients = conditions.map(|it| it.expect("a condition").clients[0].to_string());
    assert_eq!(clients, ["192.0.2.1/32", "192.0.2.2/32", "192.0.2.3/32"]);
}

/// A pipe that no program writes to would hold up the start, and a reload, for ever.
#[test]
fn body_file_that_is_a_pipe_is_an_error() {
    let folder = tempfile::tempdir().expect("a folder");
    let pipe = folder.path().join("page.html");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.expect("mkfifo of coreutils").success());
    let respond = format!("respond: {{ status: 200, body_file: '{}' }}", pipe.display());
    let text = format!("listeners: [ ':1' ]\nroutes: [ {{ path: /, {respond} }} ]\n");
    let told = wrong(&text).to_string();
    assert!(told.contains("page.html` is not a regular file"), "{told}");
}

/// The lines of all sources and pages, comments and unit tests left out.
fn told_lines() -> Vec<(String, String)> {
    let (mut found, mut folders) =
        (Vec::new(), vec![PathBuf::from("src"), PathBuf::from("limit"), PathBuf::from("docs")]);
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder)
            .expect("a folder of this repository")
            .map(|entry| entry.expect("an entry").path())
        {
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            if path.extension().is_some_and(|ending| ending == "png") {
                continue;
            }
            let text = fs::read_to_string(&path).expect("a text");
            let product = text.split("#[cfg(test)]").next().unwrap_or_default();
            let lines = product.lines().filter(|line| !line.trim_start().starts_with("//"));
            found.extend(lines.map(|line| (path.display().to_string(), line.replace("\\\"", "'"))));
        }
    }
    found
}

#[test]
fn commands_named_in_texts_exist() {
    let mut seen = BTreeSet::new();
    for (path, line) in told_lines() {
        for command in line.split("`weir ").skip(1).filter_map(|rest| rest.split('`').next()) {
            let words = command
                .split(' ')
                .take_while(|word| word.bytes().all(|byte| byte.is_ascii_lowercase()));
            let mut arguments: Vec<&str> = words.collect();
            if seen.insert(arguments.join(" ")) {
                arguments.push("--help");
                assert_eq!(weir(&arguments).0, Some(0), "{path}: `weir {command}` does not exist");
            }
        }
    }
    assert!(seen.len() > 8, "{seen:?}");
}

#[test]
fn value_that_is_not_shown_has_the_rule_it_breaks() {
    let outside = Outside(&[("P", "s3cr3t"), ("Q", "/s3cr3t?x"), ("N", "s3cr3t")]);
    for (route, rule) in [
        ("path: '${P}', upstream: 'http://a:1'", "a path begins with `/`"),
        ("path: '${Q}', upstream: 'http://a:1'", "a path begins with `/`"),
        ("path: /, upstream: 'ftp://${P}'", "write a host and a port"),
        ("path: /, host: '${P}:80', upstream: 'http://a:1'", "write "),
    ] {
        let text = format!("listeners: [ ':1' ]\nroutes: [ {{ {route} }} ]\n");
        let problems = config::load::parse_with("test.yaml", &text, &[], &outside)
            .expect_err("something is wrong");
        let hints: Vec<_> = problems.iter().filter_map(|problem| problem.hint.clone()).collect();
        assert!(hints.iter().any(|hint| hint.starts_with(rule)), "{route}: {hints:?}");
        assert!(!problems.to_string().contains("s3cr3t"), "{problems}");
    }
    for (zone, rule) in [
        ("key: client_ip, rate: '${N}'", "write requests per time"),
        ("key: '${N}', rate: 1r/s", "write a part of a request"),
        ("key: client_ip, rate: 1r/s, capacity: '${N}'", "write a whole number"),
        ("key: client_ip, rate: 1r/s, exempt: [ '${N}' ]", "write an address and a prefix"),
    ] {
        let text = format!("{MINIMAL}zones: {{ z: {{ {zone} }} }}\n");
        let problems = config::load::parse_with("test.yaml", &text, &[], &outside)
            .expect_err("something is wrong");
        let hints: Vec<_> = problems.iter().filter_map(|problem| problem.hint.clone()).collect();
        assert!(hints.iter().any(|hint| hint.starts_with(rule)), "{zone}: {hints:?}");
        assert!(!problems.to_string().contains("s3cr3t"), "{problems}");
    }
}

#[test]
fn keys_named_in_hints_exist() {
    let schema: serde_json::Value =
        serde_json::from_str(&config::schema()).expect("a schema is JSON");
    let mut known = BTreeSet::new();
    keys(&schema, &schema, "", &mut known);
    let known: BTreeSet<&str> =
        known.iter().flat_map(|path| path.split(['.', '['])).chain(["NAME"]).collect();
    let mut seen = BTreeSet::new();
    let lines = told_lines().into_iter();
    let hints =
        lines.filter(|(path, line)| path.starts_with("src/config") && line.contains("hint"));
    let of_nginx = DIRECTIVES.iter().map(|row| (row.names.to_owned(), row.counterpart()));
    for (path, line) in hints.chain(of_nginx) {
        let line = line.replace("hint: ", "");
        for (at, _) in line.match_indices(": ") {
            let word = line[..at]
                .rsplit(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
                .next()
                .unwrap_or_default();
            let before = &line[..at - word.len()];
            let is_key = before.ends_with(['`', '{'])
                || before.ends_with("{ ")
                || line[at + 2..].starts_with(['[', '{']);
            if is_key
                && !word.is_empty()
                && !line[at..].starts_with(": {}")
                && !line[at..].starts_with(": {o")
            {
                assert!(known.contains(word), "{path}: there is no key `{word}`: {line}");
                seen.insert(word.to_owned());
            }
        }
    }
    assert!(seen.len() > 15, "{seen:?}");
}

#[test]
fn every_file_we_ship_loads_without_a_word() {
    let files = yaml_files(&["config", "config/examples"]);
    assert!(files.len() >= 7, "{files:?}");
    for path in files {
        let loaded = load(&path, &sets_for(&path)).unwrap_or_else(|problems| panic!("{problems}"));
        assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
    }
}

/// Certificates of the tests for a file that names an operator's.
fn sets_for(path: &Path) -> Vec<String> {
    let names_certificate =
        fs::read_to_string(path).expect("a file of this repository").contains("fullchain.pem");
    let certificate = ["cert=tests/certificates/a.pem", "key=tests/certificates/a.key"];
    let sets = certificate.map(|set| format!("listeners.0.tls.certificates.0.{set}"));
    if names_certificate { sets.into() } else { Vec::new() }
}

#[test]
fn config_show_loads_to_the_same() {
    for path in yaml_files(&["config", "config/examples"]) {
        let shown =
            show(&load(&path, &sets_for(&path)).unwrap_or_else(|problems| panic!("{problems}")));
        let again = parse(&path.display().to_string(), &shown, &[])
            .unwrap_or_else(|problems| panic!("{problems}"));
        assert_eq!(show(&again), shown, "{}", path.display());
    }
    let dollars = fine(&format!("{MINIMAL}access_log: {{ to: '/tmp/$${{x}}$.log' }}"));
    assert_eq!(show(&fine(&show(&dollars))), show(&dollars));
}

#[test]
fn defaults_are_the_documented_ones() {
    let config = fine("listeners: [ ':8080' ]\nzones: { z: { key: client_ip, rate: 1r/s } }\nroutes: [ { path: /x, upstream: 'http://a:1', limits: [ { zone: z } ] } ]").config;
    let seconds = |duration: std::time::Duration| duration.as_secs();
    assert_eq!(config.listeners[0].address.to_string(), "0.0.0.0:8080");
    assert_eq!(
        (
            config.zones[0].capacity,
            config.zones[0].key.ipv4_prefix,
            config.zones[0].key.ipv6_prefix
        ),
        (1_000_000, 32, 64)
    );
    let upstream = &config.upstreams[0];
    assert_eq!((&*upstream.name, upstream.attempts, upstream.keepalive_max_idle), ("a:1", 2, 64));
    let (connect, first_byte, idle) =
        (upstream.connect_timeout, upstream.first_byte_timeout, upstream.idle_timeout);
    assert_eq!(
        (seconds(connect), seconds(first_byte), seconds(idle), upstream.keepalive_idle.as_millis()),
        (2, 30, 60, 1_500)
    );
    let rule = RuleSettings { max_wait: Some(Millis(30_000)), ..RuleSettings::burst(0) };
    assert_eq!(
        config.routes[0].limits,
        [RuleConfig { zone: 0, settings: rule, count: Vec::new(), penalty: None, scope: None }]
    );
    let reject = &config.routes[0].reject;
    let headers = [RejectHeader::RetryAfter, RejectHeader::ProxyStatus];
    assert_eq!((reject.status, reject.headers.as_slice()), (503, &headers[..]));
    assert_eq!((config.routes[0].max_body, config.queue_max), (Some(1 << 20), 10_000));
    let timeouts = config.timeouts;
    let timeouts =
        [timeouts.header, timeouts.body, timeouts.keepalive, timeouts.write, timeouts.connection];
    assert_eq!(timeouts.map(seconds), [10, 30, 75, 30, 3_600]);
    let listener = &config.listeners[0];
    assert_eq!(
        (listener.max_connections, listener.max_connections_per_client, listener.max_requests),
        (None, 256, 10_000)
    );
    assert_eq!((config.header_limits.size, config.header_limits.count), (32_768, 100));
    assert_eq!(
        (config.access_log.rejects_first, seconds(config.access_log.rejects_every)),
        (5, 10)
    );
    assert_eq!((config.log_level.as_str(), seconds(config.drain)), ("info", 8));
    assert!(config.workers >= 1);
}

#[test]
fn words_become_what_they_name() {
    let config =
        load(Path::new("config/examples/several-limits.yaml"), &[]).expect("it loads").config;
    let names: Vec<&str> = config.zones.iter().map(|zone| &*zone.name).collect();
    assert_eq!(names, ["login", "per_client", "site"]);
    let login = &config.routes[0];
    assert_eq!(
        (&*login.name, login.reject.status, login.action.upstream()),
        ("/login", 429, Some(&0))
    );
    assert_eq!(login.patterns[0].methods, [http::Method::POST]);
    let wait = Some(Millis(30_000));
    assert_eq!(
        (login.limits[0].zone, login.limits[0].settings),
        (0, RuleSettings { max_wait: wait, ..RuleSettings::burst(3).delay(2) })
    );
    assert_eq!(
        (login.limits[1].zone, login.limits[1].settings),
        (2, RuleSettings { max_wait: wait, ..RuleSettings::burst(400).nodelay() })
    );
    let api = load(Path::new("config/examples/api-keys.yaml"), &[]).expect("it loads").config;
    assert_eq!(&*api.routes[0].name, "api.example.com/v1/search");
    assert_eq!(api.routes[0].patterns[0].host, HostPattern::Exact("api.example.com".to_owned()));
    assert_eq!(api.routes[1].patterns[0].path, PathPattern::Prefix("/v1".to_owned()));
    assert_eq!(api.upstreams[0].endpoints[0].to_string(), "127.0.0.1:8000");
}

#[test]
fn config_same_inline_upstream_is_one_upstream() {
    let text = "listeners: [ ':1' ]\nupstreams: { a: { endpoints: [ 'a:80' ] } }\nroutes:\n";
    let routes = ["http://a", "http://a:80", "a", "http://b:1"].into_iter().enumerate();
    let routes: String =
        routes.map(|(index, to)| format!("- {{ path: /{index}, upstream: '{to}' }}\n")).collect();
    let config = fine(&format!("{text}{routes}")).config;
    let upstreams: Vec<usize> =
        config.routes.iter().filter_map(|route| route.action.upstream().copied()).collect();
    assert_eq!(upstreams, [1, 1, 0, 2]);
}

#[test]
fn settings_over_the_file_are_used() {
    let sets = [
        "zones.per_ip.rate=5r/s",
        "routes.0.limits.0.burst=3",
        "queue.max=7",
        "listeners=[':1', ':2']",
    ];
    let sets = sets.map(str::to_owned);
    let loaded = load(Path::new("config/examples/minimal.yaml"), &sets)
        .unwrap_or_else(|problems| panic!("{problems}"));
    let config = loaded.config;
    assert_eq!(config.zones[0].rate, "5r/s".parse().expect("a rate"));
    assert_eq!(
        (config.routes[0].limits[0].settings.burst, config.queue_max, config.listeners.len()),
        (3, 7, 2)
    );
}

#[test]
fn config_secret_is_used_and_never_shown() {
    let folder = tempfile::tempdir().expect("a folder");
    let secret = folder.path().join("secret");
    fs::write(&secret, "/hush-4711\n").expect("a file");
    let reference = format!("${{file:{}}}", secret.display());
    let loaded = fine(&format!(
        "listeners: [ ':1' ]\nroutes: [ {{ path: \"{reference}\", upstream: 'http://a:1' }} ]"
    ));
    assert_eq!(
        loaded.config.routes[0].patterns[0].path,
        PathPattern::Prefix("/hush-4711".to_owned())
    );
    let shown = show(&loaded);
    assert!(shown.contains(&reference) && !shown.contains("hush"), "{shown}");
    assert_eq!(show(&fine(&shown)), shown);
    assert_eq!(loaded.route_as_written(0), reference);
    let file = folder.path().join("weir.yaml");
    fs::write(&file, &shown).expect("a file");
    let (code, out, err) = weir(&["check", "-c", &file.display().to_string()]);
    assert!(code == Some(0) && out.contains(&reference) && !(out + &err).contains("hush"), "{err}");
    for place in ["drain", "workers", "version", "log", "listeners", "routes"] {
        let told = wrong(&format!("{place}: {reference}")).render(Style::Colour);
        assert!(!told.contains("hush"), "{told}");
        assert!(told.contains(&reference), "{told}");
    }
}

#[test]
fn codings_and_edits_are_as_written_and_none_by_default() {
    let config = load(Path::new("config/examples/pages.yaml"), &[]).expect("it loads").config;
    let (pages, other) = (&config.routes[0], &config.routes[1]);
    assert_eq!(
        (pages.compress.as_slice(), other.compress.as_slice()),
        (&[Coding::Zstd, Coding::Brotli, Coding::Gzip][..], &[][..])
    );
    let edited = |edits: &Edits| {
        let mut fields = HeaderList::default();
        fields.append(&header::SERVER, &HeaderValue::from_static("inner"));
        let id = RequestId::Received(HeaderValue::from_static("77"));
        let facts = EditContext {
            client: [192, 0, 2, 1].into(),
            host: "a.test",
            path: "/",
            query: "",
            request_id: &id,
            route: "/",
            scheme: "https",
            tls_client: None,
            user: None,
        };
        edits.apply(&mut fields, &facts).expect("field values");
        fields
            .to_map()
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().expect("text")))
            .collect::<BTreeSet<_>>()
    };
    let set = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(
        edited(&pages.request_edits),
        set(&["server: inner", "x-request-id: 77", "x-entry: https://a.test"])
    );
    assert_eq!(
        edited(&pages.response_edits),
        set(&["x-content-type-options: nosniff", "x-frame-options: DENY"])
    );
    assert_eq!(edited(&other.response_edits), set(&["server: inner"]));
}

#[test]
fn header_edit_secret_is_never_shown() {
    let folder = tempfile::tempdir().expect("a folder");
    let secret = folder.path().join("secret");
    let edit = |written: &str| {
        let set =
            format!("request: {{ headers: {{ set: {{ authorization: \"Bearer {written}\" }} }} }}");
        format!("listeners: [ ':1' ]\nroutes: [ {{ path: /, upstream: 'http://a:1', {set} }} ]")
    };
    let text = edit(&format!("${{file:{}}}", secret.display()));
    fs::write(&secret, "hush-4711\n").expect("a file");
    let loaded = fine(&text);
    assert!(!format!("{:?}{}", loaded.config, show(&loaded)).contains("hush"));
    fs::write(&secret, "hush-{4711}\n").expect("a file");
    assert!(!wrong(&text).render(Style::Plain).contains("hush"));
}

#[test]
fn config_unreadable_file_is_reported() {
    let folder = tempfile::tempdir().expect("a folder");
    let told = |path: &Path| load(path, &[]).expect_err("it cannot be read").to_string();
    assert!(
        told(&folder.path().join("none.yaml"))
            .contains("none.yaml` cannot be read: No such file or directory (os error 2)")
    );
    assert!(
        told(&folder.path().join("none.yaml"))
            .contains("without it `./weir.yaml` is read, or else `/etc/weir/weir.yaml`")
    );
    assert!(told(folder.path()).contains("cannot be read"));
    let latin = folder.path().join("latin.yaml");
    fs::write(&latin, b"drain: 8s # gr\xfc\xdfe").expect("a file");
    assert!(told(&latin).contains("is not UTF-8: byte 14"));
    let large = folder.path().join("large.yaml");
    fs::write(&large, vec![b'#'; (1 << 20) + 1]).expect("a file");
    assert!(told(&large).contains("is larger than 1048576 bytes"));
}

#[test]
fn yaml_byte_order_mark_and_crlf_change_nothing() {
    let text = format!("\u{feff}{MINIMAL}drain: 8\n").replace('\n', "\r\n");
    let problems = wrong(&text);
    let places: Vec<_> = problems.iter().map(|problem| problems.place(problem)).collect();
    assert_eq!(places, [("test.yaml", 3, 8)]);
}

#[test]
fn more_problems_than_anyone_reads_are_counted() {
    let text: String = (0..200).map(|number| format!("unknown{number}: 1\n")).collect();
    let problems = wrong(&text);
    assert_eq!((problems.iter().count(), problems.len()), (MAX_PROBLEMS, 202));
    assert!(problems.to_string().ends_with("102 more are not shown"));
}

fn weir(arguments: &[&str]) -> (Option<i32>, String, String) {
    let command = std::process::Command::new(env!("CARGO_BIN_EXE_weir")).args(arguments).output();
    let output = command.expect("the binary of this package runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("it writes UTF-8");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn check_says_what_will_be_served() {
    let (code, out, err) = weir(&[
        "check",
        "-c",
        "config/examples/minimal.yaml",
        "--set",
        "zones.per_ip.capacity=10k",
    ]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    let expected = "config/examples/minimal.yaml is valid\nlisteners  0.0.0.0:8080\n\
        route      / -> 127.0.0.1:8000, limited by per_ip\nzone       per_ip: 10r/s by client_ip, up to 10000 keys and 312 KiB\n";
    assert_eq!(out, expected);
}

#[test]
fn check_takes_a_file_without_an_option() {
    assert_eq!(
        weir(&["check", "config/examples/minimal.yaml"]),
        weir(&["check", "-c", "config/examples/minimal.yaml"])
    );
    assert_eq!(weir(&["check", "tests/config_wrong/drain.yaml"]).0, Some(3));
    assert_eq!(weir(&["check", "a.yaml", "-c", "b.yaml"]).0, Some(2));
}

/// A short listener, a short endpoint and an upstream that a route names by its address have
/// settings too.
#[test]
fn config_show_prints_every_default() {
    let text = "listeners: [ ':8080' ]\nupstreams: { app: { endpoints: [ 'app:80' ] } }\n\
        routes: [ { path: /a, upstream: app }, { path: /, upstream: 'https://b:8443' } ]\n";
    let shown = show(&fine(text));
    for key in [
        "max_connections",
        "max_connections_per_client",
        "max_requests",
        "proxy_protocol",
        "weight",
    ] {
        assert!(
            shown
                .lines()
                .any(|line| line.trim_start_matches("- ").trim().starts_with(&format!("{key}:"))),
            "{key}: {shown}"
        );
    }
    let (_, of_address) =
        shown.split_once("# upstreams:\n").expect("upstreams that are named by their address");
    for line in [
        "#   https://b:8443:",
        "#       first_byte: 30s",
        "#       attempts: 2",
        "#       max_idle: 64",
        "#       refresh: 5s",
    ] {
        assert!(of_address.lines().any(|shown| shown == line), "{line}: {shown}");
    }
    assert_eq!(show(&fine(&shown)), shown);
}

/// Each page that a page refers to is written beside it.
#[test]
fn man_writes_a_page_for_each_command() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().to_str().expect("a path");
    assert_eq!(weir(&["man", "--dir", dir]).0, Some(0));
    let mut count = 0;
    for entry in fs::read_dir(folder.path()).expect("a folder of this test") {
        let text = fs::read_to_string(entry.expect("an entry").path())
            .expect("a page")
            .replace("\\-", "-");
        for (at, _) in text.match_indices("(1)") {
            let name = text[..at]
                .rsplit(|c: char| !(c.is_ascii_alphanumeric() || c == '-'))
                .next()
                .expect("a name");
            assert!(folder.path().join(format!("{name}.1")).exists(), "{name}");
            count += 1;
        }
    }
    assert!(count > 12, "{count}");
    let (code, _, told) = weir(&["man", "--dir", "/no/such/folder"]);
    assert!(code == Some(1) && told.contains("/no/such/folder"), "{told}");
}

#[test]
fn check_exits_with_3_and_draws_every_problem() {
    let (code, out, err) = weir(&["check", "-c", "tests/config_wrong/wrong_kind_map.yaml"]);
    let drawn = fs::read_to_string("tests/config_wrong/wrong_kind_map.stderr")
        .expect("a file of this repository");
    assert_eq!((code, out.as_str()), (Some(3), ""));
    assert_eq!(err, format!("{drawn}\n2 errors, 0 warnings\n"));
    let (code, out, err) = weir(&["check", "--json", "-c", "tests/config_wrong/drain.yaml"]);
    assert_eq!((code, err.as_str()), (Some(3), ""));
    let report: serde_json::Value = serde_json::from_str(&out).expect("it is JSON");
    let problem = &report["problems"][0];
    assert_eq!(
        (&problem["line"], &problem["column"], &problem["severity"]),
        (&3.into(), &8.into(), &"error".into())
    );
    assert_eq!(report["valid"], false);
}

#[test]
fn config_shows_what_check_accepts() {
    let (code, out, err) = weir(&["config", "show", "-c", "config/weir.yaml"]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert_eq!(out, show(&load(Path::new("config/weir.yaml"), &[]).expect("it loads")));
    assert_eq!(weir(&["config", "schema"]), (Some(0), config::schema(), String::new()));
    assert_eq!(weir(&["config", "show", "-c", "tests/config_wrong/drain.yaml"]).0, Some(3));
    assert_eq!(weir(&["config", "shwo"]).0, Some(2));
}

/// Every path of keys in a schema; a list is passed through, a name of one's own is `NAME`.
fn keys(
    schema: &serde_json::Value,
    root: &serde_json::Value,
    path: &str,
    found: &mut BTreeSet<String>,
) {
    if let Some(name) =
        schema["$ref"].as_str().and_then(|reference| reference.strip_prefix("#/$defs/"))
    {
        keys(&root["$defs"][name], root, path, found);
    }
    for choice in ["anyOf", "oneOf"].iter().filter_map(|word| schema[word].as_array()).flatten() {
        keys(choice, root, path, found);
    }
    keys_of_list(schema, root, path, found);
    for (key, below) in schema["properties"].as_object().into_iter().flatten() {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        found.insert(path.clone());
        // What is below such a key is documented at the key it is like.
        if below["x-like"].is_null() {
            keys(below, root, &path, found);
        }
    }
}

fn keys_of_list(
    schema: &serde_json::Value,
    root: &serde_json::Value,
    path: &str,
    found: &mut BTreeSet<String>,
) {
    if schema["items"].is_object() {
        keys(&schema["items"], root, &format!("{path}[]"), found);
    }
    if schema["additionalProperties"].is_object() {
        keys(&schema["additionalProperties"], root, &format!("{path}.NAME"), found);
    }
}

#[test]
fn every_key_is_documented_and_nothing_else() {
    let schema: serde_json::Value =
        serde_json::from_str(&config::schema()).expect("a schema is JSON");
    let mut known = BTreeSet::new();
    keys(&schema, &schema, "", &mut known);
    assert!(known.contains("routes[].limits[].burst"), "{known:?}");
    let page = fs::read_to_string("docs/config.md").expect("the page exists");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let documented: BTreeSet<String> = rows.map(|(key, _)| key.to_owned()).collect();
    assert_eq!(known, documented);
}

/// A folder of its own with these files, the first of which is loaded.
fn loaded_of(
    files: &[(&str, &str)],
    sets: &[&str],
) -> (tempfile::TempDir, Result<Loaded, Problems>) {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(&path, text).expect("a file");
    }
    let sets: Vec<String> = sets.iter().map(ToString::to_string).collect();
    let loaded = load(&folder.path().join(files[0].0), &sets);
    (folder, loaded)
}

fn names_of(loaded: &Loaded) -> Vec<String> {
    loaded.config.routes.iter().map(|route| route.name.to_string()).collect()
}

#[test]
fn include_joins_names_and_lists_in_the_order_of_the_files() {
    let (_folder, loaded) = loaded_of(
        &[
            (
                "weir.yaml",
                "include: [ 'conf.d/*.yaml', more.yaml ]\nlisteners: [ ':8080' ]\nzones: {}\n\
                 routes: [ { path: /main, upstream: 'http://a:1' } ]\n",
            ),
            ("more.yaml", "routes: [ { path: /more, upstream: app } ]\n"),
            (
                "conf.d/20-b.yaml",
                "routes: [ { path: /b, upstream: app, limits: [ { zone: z } ] } ]",
            ),
            (
                "conf.d/10-a.yaml",
                "include: parts/x.yaml\nroutes:\n  - { path: /a, upstream: app }\n",
            ),
            ("conf.d/.hidden.yaml", "drain: 1s"),
            ("conf.d/c.yaml.bak", "drain: 1s"),
            ("conf.d/empty.yaml", "# nothing yet\n"),
            (
                "conf.d/parts/x.yaml",
                "x-anchors: &e [ 'http://app:1' ]\nupstreams: { app: { endpoints: *e } }\n\
                 zones: { z: { key: client_ip, rate: 1r/s } }\nlisteners: [ ':8081' ]\n",
            ),
        ],
        &["zones.z.rate=3r/s", "drain=7s"],
    );
    let loaded = loaded.unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(names_of(&loaded), ["/main", "/a", "/b", "/more"]);
    assert_eq!(loaded.config.listeners.len(), 2);
    assert_eq!(loaded.config.zones[0].rate.to_string(), "3r/s", "`--set` comes last");
    assert_eq!(loaded.warnings.to_string(), "");
    let shown = show(&loaded);
    assert!(!shown.contains("include") && !shown.contains("x-anchors"), "{shown}");
    assert_eq!(fine(&shown).config.routes, loaded.config.routes);
}

#[test]
fn include_is_bounded_in_number_depth_and_size() {
    let main =
        "listeners: [ ':1' ]\ninclude: 'd/*'\nroutes: [ { path: /, upstream: 'http://a:1' } ]";
    let names: Vec<String> = (0..257).map(|number| format!("d/{number}.yaml")).collect();
    let mut files = vec![("weir.yaml", main)];
    files.extend(names.iter().map(|name| (&**name, "zones: {}")));
    let told = |files: &[(&str, &str)]| match loaded_of(files, &[]).1 {
        Ok(_) => String::new(),
        Err(problems) => problems.iter().map(|it| it.message.clone()).collect::<Vec<_>>().join(";"),
    };
    assert_eq!(told(&files[..257]), "");
    assert_eq!(told(&files), "more than 256 files are included");
    let chain = |length: usize| {
        let links: Vec<(String, String)> = (0..length)
            .map(|at| (format!("d/{at}"), format!("include: {}", at + 1)))
            .chain([(format!("d/{length}"), "zones: {}".to_owned())])
            .collect();
        let main = main.replace("'d/*'", "d/0");
        let mut files = vec![("weir.yaml", &*main)];
        files.extend(links.iter().map(|(name, text)| (&**name, &**text)));
        told(&files)
    };
    assert_eq!(chain(3), "");
    assert_eq!(chain(4), "more than 4 files include each other in a row");
    let large = format!("# {}\nzones: {{}}", "x".repeat(1_000_000));
    let many: Vec<_> = names[..9].iter().map(|name| (&**name, &*large)).collect();
    let files: Vec<_> = [("weir.yaml", main)].into_iter().chain(many).collect();
    assert_eq!(told(&files[..9]), "");
    assert_eq!(told(&files), "all included files are larger than 8388608 bytes");
}

#[test]
fn include_of_itself_or_of_one_file_twice_is_an_error() {
    let main = |include: &str| {
        format!(
            "listeners: [ ':1' ]\ninclude: {include}\n\
             routes: [ {{ path: /, upstream: 'http://a:1' }} ]"
        )
    };
    for (include, expected) in [
        ("a.yaml", "includes itself"),
        ("weir.yaml", "includes itself"),
        ("[ b.yaml, './b.yaml' ]", "is included twice"),
        ("[ b.yaml, link.yaml ]", "is included twice"),
        ("none.yaml", "cannot be read: No such file"),
        ("d", "is not a regular file"),
        ("'none/*.yaml'", "cannot be listed: No such file"),
        ("'*/x.yaml'", "may stand in the last part only"),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        fs::write(path("weir.yaml"), main(include)).expect("a file");
        fs::write(path("a.yaml"), "include: weir.yaml").expect("a file");
        fs::write(path("b.yaml"), "zones: {}").expect("a file");
        fs::create_dir(path("d")).expect("a folder");
        std::os::unix::fs::symlink("b.yaml", path("link.yaml")).expect("a link");
        let problems = load(&path("weir.yaml"), &[]).expect_err("it is wrong").to_string();
        assert!(problems.contains(expected), "{include}: {problems}");
    }
    // No match of a pattern is no error: a folder may be empty.
    let (_folder, loaded) = loaded_of(&[("weir.yaml", &main("'*.yml'"))], &[]);
    assert!(loaded.is_ok());
    let (_folder, set) = loaded_of(&[("weir.yaml", MINIMAL)], &["include=a.yaml"]);
    let told = set.expect_err("it comes too late").to_string();
    assert!(told.contains("`include` cannot be set here"), "{told}");
}

#[test]
fn anchors_stand_for_their_values_and_merged_keys_for_what_is_not_written() {
    let text = "\
x-office: &office [ 10.0.0.0/8 ]
x-rule: &rule { zone: z, burst: 20, nodelay: true }
listeners: [ ':1' ]
zones:
  z: &zone { key: client_ip, rate: 10r/s, exempt: *office }
  y: { <<: *zone, rate: 1r/s }
routes:
  - &first
    path: /
    upstream: &app http://a:1
    limits: [ *rule, { <<: [ { burst: 3 }, *rule ], zone: y, nodelay: false } ]
  - { <<: *first, path: /b }
  - { path: /c, upstream: *app }
";
    let loaded = fine(text);
    let routes = &loaded.config.routes;
    assert_eq!(names_of(&loaded), ["/", "/b", "/c"]);
    assert_eq!(loaded.config.zones[1].exempt.len(), 1, "zones are in the order of their names");
    assert_eq!(routes[0].limits, routes[1].limits);
    assert_eq!(routes[0].limits[0].settings.delay, 20);
    let second = routes[0].limits[1].settings;
    assert_eq!((second.burst, second.delay), (3, 0), "the first map of a list comes first");
    assert_eq!(routes[2].action, routes[0].action);
    assert!(!show(&loaded).contains(['&', '*']), "{}", show(&loaded));
}

/// A text of a few lines that stands for ten billion values is refused before they are made.
#[test]
fn anchors_that_multiply_are_refused_at_a_bound() {
    let mut text = String::from("x-0: &a0 [ x, x, x, x, x, x, x, x, x, x ]\n");
    for level in 1..10 {
        let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
        text += &format!("x-{level}: &a{level} [ {aliases} ]\n");
    }
    let started = std::time::Instant::now();
    let problems = wrong(&(text + MINIMAL));
    let messages: Vec<_> = problems.iter().map(|problem| &*problem.message).collect();
    assert_eq!(messages, ["anchors and aliases stand for more than 65536 values"]);
    assert!(started.elapsed().as_secs() < 5, "{:?}", started.elapsed());
    let deep = (0..20).fold("x".to_owned(), |inner, _| format!("[ {inner} ]"));
    let deep = format!("x-a: &a {deep}\nx-b: [[[[[[[[[[[[[[ *a ]]]]]]]]]]]]]]\n{MINIMAL}");
    assert!(wrong(&deep).to_string().contains("nested more than 32 levels deep"));
}

#[test]
fn defaults_are_keys_that_a_route_does_not_write() {
    let loaded = fine(
        "listeners: [ ':1' ]
zones: { z: { key: client_ip, rate: 1r/s }, y: { key: client_ip, rate: 1r/s } }
defaults:
  - limits: [ { zone: z, burst: 5 } ]
    reject: { status: 429 }
    access: { deny: [ 192.0.2.0/24 ] }
    request: { max_body: 5MiB, headers: { set: { x-a: '1' } } }
    response: { compress: [ br ], headers: { remove: [ server ] } }
  - hosts: [ '*.a.test', a.test ]
    limits: [ { zone: y, burst: 5 } ]
  - { host: w.a.test, access: none }
routes:
  - { path: /, upstream: 'http://a:1' }
  - path: /own
    upstream: 'http://a:1'
    limits: []
    reject: { status: 503 }
    access: none
    request: { max_body: 1MiB, headers: { remove: [ x-b ] } }
    response: { compress: [], headers: { set: { x-c: '1' } } }
  - { hosts: [ A.test, v.a.test ], path: /, upstream: 'http://a:1' }
  - { host: w.a.test, path: /, upstream: 'http://a:1', access: { allow: [ 10.0.0.0/8 ] } }
  - { host: w.a.test, path: /x, upstream: 'http://a:1' }
",
    );
    assert_eq!(loaded.warnings.to_string(), "");
    let routes = &loaded.config.routes;
    let zones: Vec<Option<usize>> =
        routes.iter().map(|route| route.limits.first().map(|rule| rule.zone)).collect();
    assert_eq!(zones, [Some(1), None, Some(0), Some(0), Some(0)], "by the order of names");
    let statuses: Vec<u16> = routes.iter().map(|route| route.reject.status).collect();
    assert_eq!(statuses, [429, 503, 429, 429, 429]);
    let bodies: Vec<_> = routes.iter().map(|route| route.max_body.map(|max| max >> 20)).collect();
    assert_eq!(bodies, [Some(5), Some(1), Some(5), Some(5), Some(5)]);
    let denies: Vec<_> =
        routes.iter().map(|it| it.access.as_ref().map(|access| access.deny.len())).collect();
    assert_eq!(denies, [Some(1), None, Some(1), Some(0), None]);
    assert_eq!((routes[0].compress.len(), routes[1].compress.len()), (1, 0));
    let shown = show(&loaded);
    assert!(!shown.contains("defaults"), "{shown}");
    assert_eq!(fine(&shown).config.routes, loaded.config.routes);
    let own = &loaded.file.routes[1];
    assert!(own.request.headers.set.contains_key("x-a"), "each key of `headers` is one");
    assert_eq!(own.request.headers.remove, ["x-b"]);
    assert_eq!(own.response.headers.remove, ["server"]);
}

fn judged_calmly(text: &str) {
    let Err(problems) = parse("any.yaml", text, &[]) else { return };
    assert!(problems.iter().any(|problem| problem.severity == Severity::Error));
    for problem in problems.iter().take(3) {
        let (name, line, column) = problems.place(problem);
        assert!(name == "any.yaml" && line >= 1 && column >= 1 && line <= text.lines().count() + 1);
    }
    assert!(!problems.to_string().is_empty());
}

proptest! {
    #[test]
    fn no_text_at_all_makes_it_panic(text in any::<String>()) {
        judged_calmly(&text);
    }

    #[test]
    fn no_yaml_makes_it_panic(text in "([-{}\\[\\]:,&*!|>'\"%@`# \n\t\r~$ü]|zones|routes|key|rate|10r/s|\n  |- |\\$\\{|: ){0,60}") {
        judged_calmly(&text);
    }

    #[test]
    fn no_piece_of_a_real_file_makes_it_panic(from in 0_usize..700, to in 0_usize..700, with in "[ -~\n]{0,6}") {
        let text = include_str!("../../config/examples/several-limits.yaml");
        let (from, to) = (from.min(to).min(text.len()), from.max(to).min(text.len()));
        judged_calmly(&format!("{}{with}{}", &text[..from], &text[to..]));
    }

    #[test]
    fn no_setting_makes_it_panic(set in "[a-z0-9.=\\[{:, ]{0,24}") {
        let _ = parse("any.yaml", MINIMAL, &[set]);
    }

    /// The engine is asked for a whole burst at one instant.
    #[test]
    fn lint_burst_is_out_of_reach_exactly_where_the_engine_says_so(
        (requests, per_ms) in (1_u32..2_000, 1_u32..3_000),
        (max_wait, burst) in (0_u64..500, 1_u32..300),
    ) {
        let rate = format!("{requests}r/{per_ms}ms");
        let loaded = fine(&format!(
            "listeners: [ ':8080' ]\nzones: {{ z: {{ key: client_ip, rate: {rate} }} }}\nroutes:\n  \
             - {{ path: /a, upstream: 'http://a:1', limits: [ {{ zone: z, burst: {burst}, max_wait: {max_wait}ms }} ] }}\n"
        ));
        let settings = loaded.config.routes[0].limits[0].settings;
        let zone = Arc::new(Zone::new(loaded.config.zones[0].clone()));
        let rule = Rule::new(zone, settings).expect("a rule");
        let admitted = (0..=burst)
            .take_while(|_| {
                rule.decide(1, Millis::ZERO, Intent::Charge).decision != Decision::Reject
            })
            .count();
        let warned = loaded.warnings.iter().find(|problem| problem.message.contains("never reached"));
        // The first request is none of the burst.
        let reached = format!("`burst: {}` does the same;", admitted - 1);
        prop_assert_eq!(warned.is_some(), admitted <= burst as usize);
        prop_assert!(warned.is_none_or(|problem| problem.hint.as_ref().is_some_and(|hint| hint.starts_with(&reached))));
    }
}

#[test]
fn tls_and_sockets_of_listeners_are_what_is_written() {
    let config = fine(
        "listeners:
- address: ':8443'
  protocol: http1
  tls:
    certificates: [ { cert: tests/certificates/a.pem, key: tests/certificates/a.key } ]
    client_ca: tests/certificates/a.pem
    client_auth: optional
    client_auth_names: [ { name: Admin.test, client_auth: required }, { name: '*.open.test', client_auth: none } ]
- { address: 'unix:/run/weir.sock', mode: '0660', owner: '7:8' }
- { address: 'fd:web' }
- { address: ':80', redirect: https, http01: { path: tests/certificates } }
routes: [ { path: /, upstream: 'unix:/run/app.sock' } ]",
    )
    .config;
    let [secure, unix, inherited, redirecting] = &config.listeners[..] else {
        panic!("{:?}", config.listeners)
    };
    let tls = secure.tls.as_ref().expect("TLS");
    let clients = ClientAuthSettings {
        usual: ClientAuth::Optional,
        names: vec![
            ("admin.test".to_owned(), ClientAuth::Required),
            ("*.open.test".to_owned(), ClientAuth::None),
        ],
        ..ClientAuthSettings::required("tests/certificates/a.pem".into())
    };
    assert_eq!((tls.http2, tls.client_auth.as_ref()), (false, Some(&clients)));
    assert_eq!(unix.address.to_string(), "unix:/run/weir.sock");
    let owner = FileOwner { user: Some(7), group: Some(8) };
    assert_eq!(unix.file, SocketFileSettings { mode: 0o660, owner });
    assert_eq!(inherited.address.to_string(), "fd:web");
    assert_eq!(redirecting.http01.as_deref(), Some(Path::new("tests/certificates")));
    assert_eq!(config.upstreams[0].endpoints[0].to_string(), "unix:/run/app.sock");
}

#[test]
fn settings_of_upstreams_are_what_is_written() {
    let print = "ab".repeat(32);
    let config = fine(&format!(
        "listeners: [ ':8080' ]
upstreams:
  app:
    endpoints: [ {{ address: 'https://app', max_connections: 9 }} ]
    tls: {{ fingerprints: [ '{print}' ], cert: tests/certificates/a.pem, key: tests/certificates/a.key }}
    proxy_protocol: v2
    queue: {{ max: 5, max_wait: 2s }}
    slow_start: 30s
    sticky: {{ cookie: at, same_site: strict, max_age: 1h }}
    retries: {{ attempts: 3, statuses: [ 502, 503 ] }}
routes: [ {{ path: /, upstream: app }} ]"
    ))
    .config;
    let app = &config.upstreams[0];
    let secure = app.secure.as_ref().expect("TLS");
    assert_eq!(secure.fingerprints, [[0xab; 32]]);
    assert_eq!(secure.files().count(), 2);
    assert_eq!(app.proxy_header, Some(ProxyHeader::V2));
    assert_eq!(app.endpoints[0].max_connections, Some(9));
    let queue = QueueSettings { max: 5, max_wait: Duration::from_secs(2) };
    assert_eq!((app.queue, app.slow_start), (queue, Some(Duration::from_secs(30))));
    let sticky = app.sticky.as_ref().expect("a cookie");
    assert_eq!((&*sticky.cookie, sticky.same_site), ("at", SameSite::Strict));
    assert_eq!(sticky.max_age, Some(Duration::from_secs(3_600)));
    assert_eq!(app.retry_statuses, [502, 503]);
}
