//! `weir import nginx`: files shaped as people have them, what they become, and what is said of each
//! directive.
//!
//! `tests/import/NAME.conf`, or `tests/import/NAME/nginx.conf` with what it includes, have
//! `NAME.yaml` and `NAME.notes` beside them. After a wanted change run `UPDATE=1 cargo test --test
//! config import` once, read the difference, and commit it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use weir::{
    config::{self, Loaded, directives::Treatment},
    tools::import::{
        Imported, error,
        files::{self, Disk, NginxFiles},
        import,
        tree::Directive,
    },
};

const FOLDER: &str = "tests/import";

/// Names of all files of the test and their paths.
fn cases() -> Vec<(String, PathBuf)> {
    let entries = fs::read_dir(FOLDER).expect("a folder of this repository");
    let mut found = Vec::new();
    for path in entries.map(|entry| entry.expect("an entry").path()) {
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        match path.extension() {
            Some(ending) if ending == "conf" => found.push((name, path)),
            None => found.push((name, path.join("nginx.conf"))),
            _ => {}
        }
    }
    found.sort();
    found
}

fn read(path: &Path) -> NginxFiles {
    files::read(&Disk, &[path.to_owned()]).unwrap_or_else(|error| panic!("{error}"))
}

/// The notes as they are printed.
fn lines(imported: &Imported) -> String {
    imported.notes.iter().map(|note| format!("{note}\n")).collect()
}

/// The loader's own word on what was written, with certificates of this repository in place of
/// those of the file.
fn loaded(name: &str, yaml: &str) -> Loaded {
    let mut whole = String::new();
    for line in yaml.lines() {
        let pair = "- { cert: tests/certificates/a.pem, key: tests/certificates/a.key }";
        let line = match line.trim_start() {
            text if text.starts_with("- { cert: ") => format!("{}{pair}", &line[..8]),
            text if text.starts_with("basic_auth: ") => {
                format!("{}basic_auth: {{ file: tests/config_wrong/users.txt }}", &line[..4])
            }
            text if text.starts_with("client_ca: ") => {
                format!("{}client_ca: tests/certificates/a.pem", &line[..6])
            }
            // No machine has the directories of the file.
            text if text.starts_with("root: ") => format!("{}root: src", &line[..6]),
            _ => line.to_owned(),
        };
        whole += &format!("{line}\n");
    }
    config::parse(&format!("{name}.yaml"), &whole, &[])
        .unwrap_or_else(|problems| panic!("{name}: {problems}\n{yaml}"))
}

fn imported(text: &str) -> Imported {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("test.conf");
    fs::write(&path, text).expect("a file");
    import(&read(&path))
}

#[test]
fn imported_file_is_as_before() {
    let (cases, mut changed) = (cases(), Vec::new());
    assert!(cases.len() >= 25, "only {} files", cases.len());
    for (name, path) in cases {
        let imported = import(&read(&path));
        let expected = [("yaml", imported.yaml.clone()), ("notes", lines(&imported))];
        for (ending, told) in expected {
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

#[test]
fn imported_file_loads() {
    for (name, path) in cases() {
        loaded(&name, &import(&read(&path)).yaml);
    }
}

/// Number of directives, without the rows of `map`, `geo` and the like.
fn count(directives: &[Directive]) -> usize {
    let rows = ["map", "geo", "types", "split_clients"];
    let inside = |one: &Directive| match rows.contains(&&*one.name) {
        true => 0,
        false => count(one.children()),
    };
    directives.iter().map(|one| 1 + inside(one)).sum()
}

#[test]
fn every_directive_of_a_file_has_one_line() {
    for (name, path) in cases() {
        let files = read(&path);
        let imported = import(&files);
        assert_eq!(imported.notes.len(), count(&files.directives), "{name}");
        for note in imported.notes {
            let is_said = note.treatment == Treatment::Carried || !note.reason.is_empty();
            assert!(is_said, "{name}: no reason for {note}");
        }
    }
}

/// A file that nginx keeps to itself, or runs, is not sent.
#[test]
fn files_beside_scripts_are_closed() {
    let import = |server: &str| imported(&format!("server {{ listen 80; {server} }}")).yaml;
    assert!(import("root /srv; location / { }").contains("root: /srv"));
    let denied = import("root /srv; location / { deny all; }");
    assert!(denied.contains("root: /srv") && denied.contains("deny: "), "{denied}");
    for server in [
        "root /srv; location / { } location = /index.html { deny all; }",
        "root /srv; location / { } location ~ html { return 404; }",
        "root /srv; location / { } location /a/in { auth_basic x; }",
        "root /srv; location / { index a.htm; location ~ \\.htm$ { return 404; } }",
        "root /srv; location / { if ($arg_key != x) { return 403; } }",
        "root /srv; location / { index index.php; }",
        "root /srv; location / { try_files $uri /index.php; }",
        "root /srv; location / { try_files $uri $uri/ /index.php?$args; }",
        "root /srv; location / { content_by_lua_block { ngx.say(1) } }",
        "root /srv; location / { secure_link $arg_md5; }",
        "root /srv; location / { internal; }",
        "root /srv; location / { rewrite ^/a /b; }",
        "root /srv/$host; location / { }",
        "root html; location / { }",
        "root /; location / { }",
        "location /a/ { alias /srv/b; }",
        "location = /a { alias /srv/b; }",
        "location / { }",
    ] {
        let yaml = import(server);
        let is_open = |route: &str| route.starts_with("path: ") && route.contains(" root: ");
        assert!(!yaml.split("\n  - ").any(is_open), "{server}\n{yaml}");
    }
}

/// What an expression keeps from clients has a route of its own, which comes first.
#[test]
fn files_that_an_expression_takes_have_its_route() {
    for (locations, path, expected) in [
        (
            "location / { } location ~ \\.php$ { fastcgi_pass a:9000; }",
            "'\\.php$'",
            "upstream: closed",
        ),
        ("location / { } location ~ \\.php$ { deny all; }", "'\\.php$'", "access: { deny: "),
        (
            "location / { location ~ /private/ { return 404; } }",
            "'/private/'",
            "respond: { status: 404 }",
        ),
        ("location / { } location ~ (?=a)b { return 404; }", "'b'", "upstream: closed"),
        ("location / { } location ~ (a)\\1 { return 404; }", "'^/'", "upstream: closed"),
        ("location ^~ /a/ { } location ~ b { return 404; }", "'b'", "respond: { status: 404 }"),
    ] {
        let yaml = imported(&format!("server {{ listen 80; root /srv; {locations} }}")).yaml;
        let route = yaml.split("\n  - ").find(|route| route.starts_with("path_regex: "));
        let route = route.expect("a route with an expression");
        assert!(route.contains(path) && route.contains(expected), "{locations}: {yaml}");
        loaded("expression", &yaml);
    }
}

/// The fallback of nginx goes through the locations again.
#[test]
fn fallback_is_carried_where_nginx_finds_the_same_file() {
    let import = |server: &str| imported(&format!("server {{ listen 80; {server} }}")).yaml;
    for (server, fallback) in [
        ("root /srv; location / { try_files $uri /i.html; }", Some("/i.html")),
        ("root /srv; location /a { try_files $uri $uri/ /i.html; }", Some("/i.html")),
        ("root /srv; location /a { try_files $uri /i.html; } location / { }", Some("/i.html")),
        ("root /srv; location /a { root /x; try_files $uri /i.html; } location / { }", None),
        (
            "root /srv; location /a { try_files $uri /i.html; } location / { proxy_pass http://b; }",
            None,
        ),
        (
            "root /srv; location / { try_files $uri /i.html; } location = /i.html { return 403; }",
            None,
        ),
        ("location /a/ { alias /srv/b/; try_files $uri /a/i.html; }", Some("/i.html")),
        ("location /a/ { alias /srv/b/; try_files $uri /i.html; }", None),
    ] {
        let yaml = import(server);
        let found = yaml.lines().find_map(|line| line.trim().strip_prefix("fallback: "));
        assert_eq!(found, fallback, "{server}\n{yaml}");
    }
}

/// Every upstream of an open route is one that nginx forwards to without a question.
#[test]
fn protected_location_is_closed() {
    for rule in [
        "allow 10.1.0.0/16; deny 10.0.0.0/8;",
        "deny $remote_addr;",
        "auth_basic x;",
        "auth_basic $host; auth_basic_user_file f;",
        "auth_basic x; auth_basic_user_file /etc/$host;",
        "auth_request /verify;",
        "auth_request $uri;",
        "satisfy any; deny 10.0.0.0/8; auth_basic x; auth_basic_user_file f;",
        "auth_jwt x;",
        "access_by_lua_block { ngx.exit(403) }",
        "internal;",
        "rewrite ^/private/(a|b)$ /$1 last;",
        "rewrite ^/private/(?=a)(.*)$ /$1 break;",
        "rewrite ^ $arg_path break;",
    ] {
        let pass = "proxy_pass http://private:80;";
        let text = format!(
            "server {{ listen 80; location / {{ proxy_pass http://open:80; }}\n\
             location /private {{ {rule} {pass} }} }}"
        );
        let imported = imported(&text);
        let loaded = loaded("protected", &imported.yaml);
        let of_path = loaded.file.routes.iter().filter(|route| {
            let texts = [&route.path, &route.path_regex];
            texts.into_iter().flatten().any(|text| text.contains("/private"))
        });
        let upstreams: Vec<&str> =
            of_path.map(|route| route.upstream.as_deref().unwrap_or("")).collect();
        // The location, and the paths that only begin with its letters.
        assert_eq!(upstreams, ["closed", "closed"], "{rule}: {}", imported.yaml);
    }
}

/// In nginx `return` comes before conditions and limits, so a location that has it has neither.
#[test]
fn response_of_a_location_is_carried_over() {
    for (rules, expected) in [
        ("return 403;", "respond: { status: 403 }"),
        ("return 444;", "close: true"),
        ("deny all; return 200 ok;", "respond: { status: 200, body: \"ok\", "),
        ("auth_basic x; return 204;", "respond: { status: 204 }"),
        (
            "default_type application/json; return 200 '{}';",
            "respond: { status: 200, body: \"{}\", headers: { content-type: \"application/json\" } }",
        ),
        (
            "return 301 https://b.test$request_uri;",
            "redirect: { to: \"https://b.test{path}{query}\", status: 301 }",
        ),
        ("return /new$is_args$args;", "redirect: { to: \"/new{query}\", status: 302 }"),
        ("if ($request_method = PUT) { return 405; } return 200;", "respond: { status: 405 }"),
        ("return 200 $host;", "upstream: closed"),
        ("return 301 //$host$uri;", "upstream: closed"),
        ("return 301 $uri/;", "upstream: closed"),
        ("if ($arg_a) { return 403; } return 200;", "upstream: closed"),
    ] {
        let yaml = imported(&format!("server {{ listen 80; location /a {{ {rules} }} }}")).yaml;
        // A closed route that no other takes is not written.
        let is_closed = expected == "upstream: closed" && !yaml.contains("path: /a");
        assert!(is_closed || yaml.contains(expected), "{rules}: {yaml}");
        assert!(!yaml.contains("access:") && !yaml.contains("basic_auth:"), "{rules}: {yaml}");
        loaded("response", &yaml);
    }
}

#[test]
fn path_of_proxy_pass_becomes_a_rewriting() {
    for (location, pass, expected) in [
        ("/api/", "http://a:1/", "rewrite: { strip_prefix: /api }"),
        ("/api", "http://a:1/v1", "rewrite: { strip_prefix: /api, add_prefix: /v1 }"),
        ("/", "http://a:1/v1/", "rewrite: { add_prefix: /v1 }"),
        ("= /a", "http://a:1/b", "rewrite: { strip_prefix: /a, add_prefix: /b }"),
        ("/api", "http://a:1/", "# whole segments change, nginx puts `/` in place of `/api`"),
        ("/api/", "http://a:1/v1?x=", "# the path is forwarded as received"),
        ("/api/", "http://a:1/v1/$arg_x", "# the path is forwarded as received"),
    ] {
        let text = format!("server {{ listen 80; location {location} {{ proxy_pass {pass}; }} }}");
        let yaml = imported(&text).yaml;
        assert!(yaml.contains(expected), "{location} {pass}: {yaml}");
        loaded("rewrite", &yaml);
    }
}

/// Each rule of access becomes a condition of the route, and nothing else opens it.
#[test]
fn protected_location_keeps_its_conditions() {
    for (rule, expected) in [
        ("deny all;", "access: { deny: [ \"0.0.0.0/0\", \"::/0\" ] }"),
        (
            "allow 10.1.2.3/8; allow 192.0.2.7; deny all;",
            "access: { allow: [ \"10.0.0.0/8\", \"192.0.2.7/32\" ] }",
        ),
        (
            "deny 10.1.0.0/16; allow 10.0.0.0/8; deny all;",
            "access: { allow: [ \"10.0.0.0/8\" ], deny: [ \"10.1.0.0/16\" ] }",
        ),
        ("allow 10.0.0.0/8; deny 192.0.2.0/24;", "access: { deny: [ \"192.0.2.0/24\" ] }"),
        ("deny 192.0.2.1; allow all; deny 10.0.0.0/8;", "access: { deny: [ \"192.0.2.1/32\" ] }"),
        (
            "auth_basic \"My page\"; auth_basic_user_file /etc/users;",
            "basic_auth: { file: /etc/users, realm: \"My page\" }",
        ),
        (
            "satisfy any; allow 10.0.0.0/8; deny all; auth_basic x; auth_basic_user_file u;",
            "access: { allow: [ \"10.0.0.0/8\" ], satisfy: any }",
        ),
        (
            "auth_basic x; auth_basic_user_file u; proxy_set_header X-User $remote_user;",
            "x-user: \"{user}\"",
        ),
        ("auth_request /ask;", "auth: { url: \"http://auth:9000/verify\" }"),
        (
            "auth_request /ask; auth_request_set $u $upstream_http_remote_user; proxy_set_header Remote-User $u;",
            "auth: { url: \"http://auth:9000/verify\", pass: [ remote-user ] }",
        ),
        ("try_files $uri @named;", "access: { deny: [ \"0.0.0.0/0\", \"::/0\" ] }"),
    ] {
        let pass = if rule.starts_with("try_files") { "" } else { "proxy_pass http://private:80;" };
        let text = format!(
            "server {{ listen 80; location / {{ proxy_pass http://open:80; }}\n\
             location = /ask {{ internal; proxy_pass http://auth:9000/verify; proxy_set_header X-Original-URI $request_uri; }}\n\
             location @named {{ deny all; proxy_pass http://private:80; }}\n\
             location /private {{ {rule} {pass} }} }}"
        );
        let yaml = imported(&text).yaml;
        loaded("protected", &yaml);
        let (_, route) = yaml.split_once("- path: /private").expect("a route");
        let route = route.split("\n  - ").next().expect("its lines");
        assert!(route.contains(expected) && route.contains("http://private:80"), "{rule}: {yaml}");
    }
}

/// Routes of one path by method, the first that takes a request counts.
#[test]
fn methods_of_a_location_have_routes_of_their_own() {
    for (rule, expected) in [
        (
            "limit_except GET { deny all; }",
            &["GET: http://private:80", ": http://private:80 denied"][..],
        ),
        (
            "if ($request_method !~ ^(GET|POST)$) { return 405; }",
            &["HEAD: 405", "GET POST: http://private:80", ": 405"],
        ),
        ("if ($request_method = DELETE) { return 403; }", &["DELETE: 403", ": http://private:80"]),
        ("limit_except GET { proxy_pass http://b; }", &["GET: http://private:80", ": closed"]),
    ] {
        let text = format!(
            "server {{ listen 80; location /private/ {{ {rule} proxy_pass http://private:80; }} }}"
        );
        let yaml = imported(&text).yaml;
        let loaded = loaded("methods", &yaml);
        let told =
            loaded.file.routes.iter().filter(|route| route.path_regex.is_none()).map(|route| {
                let methods = route.methods.clone().unwrap_or_default().join(" ");
                let action = match (&route.respond, &route.upstream) {
                    (Some(respond), _) => respond.status.to_string(),
                    (None, upstream) => upstream.clone().unwrap_or_default(),
                };
                format!(
                    "{methods}: {action}{}",
                    if route.access.is_some() { " denied" } else { "" }
                )
            });
        let told: Vec<String> =
            told.filter(|told| told != ": closed" || rule.contains("b;")).collect();
        assert_eq!(told, expected, "{rule}: {yaml}");
    }
}

/// What changes a path is carried over whole, or its route is closed.
#[test]
fn rewrite_that_weir_cannot_say_closes_its_route() {
    for (location, rewrite, expected) in [
        ("/a/", "^/a/(.*)$ /b/$1 break", "rewrite: { regex: '^/a/(.*)$', to: \"/b/{1}\" }"),
        ("/a/", "^/a/(x|y)$ /$1 break", "rewrite: { regex: '^/a/(x|y)$', to: \"/{1}\" }"),
        ("/a/", "^/a(/.*)$ $1 break", "rewrite: { regex: '^/a/(.*)$', to: \"/{1}\" }"),
        ("/a/", "^/a/(.*)$ /b.php?q=$1? break", "to: \"/b.php?q={1}?\" }"),
        ("/a/", "^/a/(.*)$ /b/$1 permanent", "redirect: { to: \"{scheme}://{host}{path}{query}\""),
        ("/a/", "^/a/(.*)$ https://b.test/$1", "redirect: { to: \"https://b.test{path}{query}\""),
        ("/a/", "^/a/(.*)$ /open/$1 last", "rewrite: { regex: '^/a/(.*)$', to: \"/open/{1}\" }"),
        ("/a/", "^/a/(.*)$ /elsewhere/$1 last", "upstream: closed"),
        ("/a/", "^/a/(x|y)$ /$1 last", "upstream: closed"),
        ("/a/", "^/a/(.*)$ /$arg_x break", "upstream: closed"),
        ("/a/", "^/a/(?!b)(.*)c$ /$1 break", "upstream: closed"),
        ("/a/", "^/b/x$ /c permanent", "upstream: closed"),
        ("^~ /a/", "^/a/x$ /c permanent", "upstream: closed"),
    ] {
        let text = format!(
            "server {{ listen 80; location /open/ {{ proxy_pass http://open:80; }}\n             location /elsewhere/ {{ rewrite ^ /x break; proxy_pass http://open:80; }}\n             location / {{ proxy_pass http://open:80; }}\n             location {location} {{ rewrite {rewrite}; proxy_pass http://a:80; }} }}"
        );
        let yaml = imported(&text).yaml;
        let routes: Vec<&str> = yaml.split("\n  - ").filter(|route| route.contains("/a")).collect();
        assert!(routes.iter().any(|route| route.contains(expected)), "{rewrite}: {yaml}");
        loaded("rewrite", &yaml);
    }
}

/// In nginx each socket has its own servers; in weir all routes are for all listeners.
#[test]
fn server_of_another_socket_is_left_out() {
    for narrow in ["listen 127.0.0.1:80;", "listen 9090;", "listen 80; ssl_verify_client on;"] {
        let public = if narrow.starts_with("listen 80;") { "443" } else { "80" };
        let text = format!(
            "server {{ listen {public}; location / {{ proxy_pass http://open:80; }} }}\n\
             server {{ {narrow} server_name admin.test; location / {{ proxy_pass http://private:80; }} }}"
        );
        let yaml = imported(&text).yaml;
        assert!(yaml.contains("http://open:80") && !yaml.contains("http://private:80"), "{yaml}");
    }
}

#[test]
fn optional_client_certificate_closes_its_server() {
    let yaml = imported(
        "server { listen 443 ssl; ssl_certificate a.pem; ssl_certificate_key a.key;\n\
         ssl_verify_client optional; location / { proxy_pass http://private:80; } }",
    )
    .yaml;
    assert!(!yaml.contains("http://private:80"), "{yaml}");
}

#[test]
fn error_has_its_place_and_a_hint() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("nginx.conf");
    fs::write(&path, "http {\n  server { listen 80 }\n}\n").expect("a file");
    let error: error::NginxError = files::read(&Disk, &[path]).expect_err("a fault");
    assert!(error.to_string().ends_with("nginx.conf:2: `listen` has no `;` behind it"), "{error}");
}

fn weir(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_weir")).args(arguments).output();
    let output = output.expect("the binary of this package");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn strict_import_fails_on_what_has_no_counterpart() {
    let clean = "tests/import/login_stack/nginx.conf";
    let lossy = "tests/import/protected.conf";
    assert_eq!(weir(&["import", "nginx", "--strict", clean]).0, Some(0));
    assert_eq!(weir(&["import", "nginx", lossy]).0, Some(0));
    let (code, yaml, notes) = weir(&["import", "nginx", "--strict", lossy]);
    assert_eq!(code, Some(1));
    assert!(yaml.starts_with("# Written by `weir import nginx`."), "{yaml}");
    assert!(notes.contains("unsupported: `internal`: "), "{notes}");
    let (code, _, told) = weir(&["import", "nginx", "no.conf"]);
    assert_eq!(code, Some(1));
    assert!(told.starts_with("error: `no.conf` cannot be read: "), "{told}");
}
