//! Files beside a real nginx that serves the same directory: status and fields are the same, but for
//! what docs/reference/files.md says.

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::symlink,
    path::Path,
    time::{Duration, SystemTime},
};

use tempfile::TempDir;

use crate::{
    http1::{Answer, Client},
    nginx::Nginx,
    process::Weir,
};

/// A directory of files that were changed at a whole second.
fn site() -> TempDir {
    let site = tempfile::tempdir().expect("a folder");
    let files = [
        ("index.html", "<p>home</p>"),
        ("app.js", "0123456789"),
        ("app.js.gz", "gzip"),
        ("caf\u{e9} b.css", "css"),
        ("data.unknown", "data"),
        ("empty.txt", ""),
        ("docs/index.html", "docs"),
        ("none/x.svg", "<svg/>"),
        (".env", "hidden"),
    ];
    for (name, content) in files {
        let path = site.path().join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        fs::write(&path, content).expect("a file");
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        fs::File::open(&path).expect("a file").set_modified(at).expect("a time");
    }
    symlink("app.js", site.path().join("link.js")).expect("a link");
    symlink("/etc/passwd", site.path().join("out.js")).expect("a link");
    site
}

fn servers(site: &Path, keys: &str, directives: &str) -> (Nginx, Weir) {
    let site = site.display();
    let nginx = Nginx::start(
        "include /etc/nginx/mime.types; default_type application/octet-stream;",
        &format!("root {site}; location / {{ {directives} }}"),
    );
    let weir = Weir::run(&format!("routes: [ {{ path: /, files: {{ root: '{site}'{keys} }} }} ]"));
    (nginx, weir)
}

fn ask(server: SocketAddr, line: &str, fields: &str) -> Answer {
    let mut client = Client::connect(server);
    let request = format!("{line} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{fields}\r\n");
    client.send(request.as_bytes()).expect("an open connection");
    client.answer(line.split(' ').next().unwrap_or_default()).expect("a response")
}

/// Response of both servers about a file. The page of an error is each server's own, and so is the form of
/// `Location`, of which the path counts.
fn told(response: &Answer) -> Vec<String> {
    let mut names = vec!["etag", "last-modified", "content-range", "cache-control", "allow"];
    if response.status < 300 {
        names.extend(["content-type", "content-length", "content-encoding"]);
    } else if response.status >= 400 {
        names = vec!["content-range"];
    }
    // nginx says nothing of ranges with a part of a file.
    names.extend((response.status == 200).then_some("accept-ranges"));
    // nginx adds its fields to the redirect to a directory too.
    names.retain(|name| *name != "cache-control" || response.status != 301);
    // Each form has a tag of its own.
    names.retain(|name| *name != "etag" || response.head.field("content-encoding").is_none());
    let field = |name: &&str| Some(format!("{name}: {}", response.head.field(name)?));
    let mut told: Vec<_> = names.iter().filter_map(field).collect();
    // RFC 9239 has one type for scripts, and nginx's list the former one.
    told.iter_mut()
        .for_each(|line| *line = line.replace("application/javascript", "text/javascript"));
    let location = response.head.field("location").and_then(|url| url.find("/docs"));
    let location = location.and_then(|at| response.head.field("location")?.get(at..));
    told.extend(location.map(str::to_owned));
    told.insert(0, response.status.to_string());
    if response.status < 300 {
        told.push(String::from_utf8_lossy(&response.body).into_owned());
    }
    told
}

#[test]
fn files_are_served_as_by_nginx() {
    let site = site();
    let (nginx, weir) = servers(site.path(), "", "");
    let since = |date: &str| format!("If-Modified-Since: {date}\r\n");
    let etag = "\"2ebc98a1-a\"";
    let date = "Sun, 06 Nov 1994 08:49:37 GMT";
    let tagged = |name: &str, value: &str| format!("{name}: {value}\r\n");
    for (line, fields) in [
        ("GET /", String::new()),
        ("GET /app.js", String::new()),
        ("HEAD /app.js", String::new()),
        ("GET /app.js?x=1", String::new()),
        ("GET //app.js", String::new()),
        ("GET /docs/../app.js", String::new()),
        ("GET /caf%C3%A9%20b.css", String::new()),
        ("GET /data.unknown", String::new()),
        ("GET /empty.txt", String::new()),
        ("GET /link.js", String::new()),
        ("GET /docs", String::new()),
        ("GET /docs?x=1", String::new()),
        ("GET /docs/", String::new()),
        ("GET /none/", String::new()),
        ("GET /none/x.svg", String::new()),
        ("GET /missing", String::new()),
        ("GET /app.js/", String::new()),
        ("POST /app.js", "Content-Length: 0\r\n".to_owned()),
        ("OPTIONS /app.js", String::new()),
        ("DELETE /app.js", String::new()),
        ("GET /app.js", since(date)),
        ("GET /app.js", since("Sun, 06 Nov 1994 08:49:36 GMT")),
        ("GET /app.js", tagged("If-None-Match", etag)),
        ("GET /app.js", tagged("If-None-Match", &format!("\"x\", W/{etag}"))),
        ("GET /app.js", tagged("If-None-Match", "*")),
        ("GET /app.js", tagged("If-None-Match", "\"x\"")),
        ("GET /app.js", tagged("If-Match", etag)),
        ("GET /app.js", tagged("If-Match", "\"x\"")),
        ("GET /app.js", tagged("If-Unmodified-Since", date)),
        ("GET /app.js", tagged("If-Unmodified-Since", "Sun, 06 Nov 1994 08:49:36 GMT")),
        ("GET /app.js", tagged("Range", "bytes=0-0")),
        ("GET /app.js", tagged("Range", "bytes=5-")),
        ("GET /app.js", tagged("Range", "bytes=-2")),
        ("GET /app.js", tagged("Range", "bytes=3-99")),
        ("GET /app.js", tagged("Range", "bytes=10-")),
        ("GET /app.js", tagged("Range", "lines=1-2")),
        ("GET /app.js", tagged("Range", "bytes=0-0") + &tagged("If-Range", etag)),
        ("GET /app.js", tagged("Range", "bytes=0-0") + &tagged("If-Range", "\"x\"")),
        ("GET /app.js", tagged("Range", "bytes=0-0") + &tagged("If-Range", date)),
    ] {
        let [expected, found] =
            [nginx.address, weir.address].map(|server| told(&ask(server, line, &fields)));
        assert_eq!(found, expected, "{line} {fields}");
    }
}

#[test]
fn files_differ_from_nginx_where_the_page_says_so() {
    let site = site();
    let (nginx, weir) = servers(site.path(), "", "");
    for (line, fields, by_nginx, by_weir) in [
        ("GET /.env", "", 200, 404),
        ("GET /out.js", "", 200, 404),
        ("GET /app.js", "Range: bytes=0-1,4-5\r\n", 206, 200),
        ("GET /app.js", "Range: bytes=x\r\n", 416, 200),
        ("HEAD /app.js", "Range: bytes=0-0\r\n", 206, 200),
        ("GET /app.js", "If-Modified-Since: Sun, 06 Nov 1994 08:49:38 GMT\r\n", 200, 304),
    ] {
        let status = |server| ask(server, line, fields).status;
        let found = (status(nginx.address), status(weir.address));
        assert_eq!(found, (by_nginx, by_weir), "{line} {fields}");
    }
}

#[test]
fn fallback_and_precompressed_files_are_served_as_by_nginx() {
    let site = site();
    let (nginx, weir) = servers(
        site.path(),
        ", fallback: /index.html, precompressed: [ gzip ], cache_control: max-age=60",
        "try_files $uri $uri/ /index.html; gzip_static on; add_header Cache-Control max-age=60;",
    );
    for (line, fields) in [
        ("GET /users/7", ""),
        ("GET /users/7/", ""),
        ("HEAD /users/7", ""),
        ("GET /docs", ""),
        ("GET /app.js", ""),
        ("GET /app.js", "Accept-Encoding: gzip\r\n"),
        ("GET /app.js", "Accept-Encoding: gzip;q=0\r\n"),
        ("GET /app.js", "If-None-Match: *\r\n"),
        ("GET /docs/", "Accept-Encoding: gzip\r\n"),
    ] {
        let [expected, found] =
            [nginx.address, weir.address].map(|server| told(&ask(server, line, fields)));
        // `Accept-Ranges` is left out by nginx for a coded file.
        let rest = |told: Vec<String>| -> Vec<_> {
            told.into_iter().filter(|line| !line.starts_with("accept-ranges")).collect()
        };
        assert_eq!(rest(found), rest(expected), "{line} {fields}");
    }
}
