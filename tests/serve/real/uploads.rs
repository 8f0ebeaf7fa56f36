//! Uploads that are refused, or get an early response: clients that send all of a body before they
//! look for the response still find it.

use std::{
    io::{self, Write},
    net::SocketAddr,
};

use crate::{
    certificates::Authority,
    http1::{self, Head},
    process::Weir,
    programs::{NODE, PYTHON, Program},
    upstream::upstream,
};

/// What is sent: far more than the kernels keep of a connection.
const LENGTH: usize = 20 << 20;

const HTTP_CLIENT: &str = "
import http.client, ssl, sys, urllib.parse
url, length, ca = urllib.parse.urlsplit(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
if url.scheme == 'https':
    client = http.client.HTTPSConnection(url.netloc, timeout=30, context=ssl.create_default_context(cafile=ca))
else:
    client = http.client.HTTPConnection(url.netloc, timeout=30)
client.request('POST', url.path, b'x' * length)
response = client.getresponse()
response.read()
print(response.status)
";

const URLLIB: &str = "
import ssl, sys, urllib.error, urllib.request
url, length, ca = sys.argv[1], int(sys.argv[2]), sys.argv[3]
context = ssl.create_default_context(cafile=ca) if url.startswith('https') else None
try:
    print(urllib.request.urlopen(url, b'x' * length, timeout=30, context=context).status)
except urllib.error.HTTPError as response:
    response.read()
    print(response.status)
";

const FETCH: &str = "
const [url, length] = process.argv.slice(1);
fetch(url, { method: 'POST', body: Buffer.alloc(Number(length)) })
    .then(async (response) => { await response.text(); console.log(response.status); })
    .catch((error) => console.log(String(error.cause ?? error)));
";

const HTTP_REQUEST: &str = "
const [url, length] = process.argv.slice(1);
const request = require(new URL(url).protocol.slice(0, -1)).request(url, { method: 'POST' });
request.on('response', (response) => { response.resume().on('end', () => console.log(response.statusCode)); });
request.on('error', (error) => console.log(String(error)));
request.end(Buffer.alloc(Number(length)));
";

/// Programs, how they are told to run a script, and the script.
const CLIENTS: [(&str, Program, &str, &str); 4] = [
    ("http.client", PYTHON, "-c", HTTP_CLIENT),
    ("urllib", PYTHON, "-c", URLLIB),
    ("fetch", NODE, "-e", FETCH),
    ("http.request", NODE, "-e", HTTP_REQUEST),
];

/// Responds to every upload as soon as its head has come, and then reads it away.
fn impatient() -> SocketAddr {
    upstream(|mut wire| {
        while Head::read(&mut wire)?.is_some() {
            wire.get_mut().write_all(
                b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno",
            )?;
            io::copy(&mut wire, &mut io::sink())?;
        }
        Ok(())
    })
}

fn routes() -> String {
    let endpoint = impatient();
    format!(
        "zones: {{ daily: {{ key: global, rate: 1r/d }} }}\naccess_log: {{ to: none }}\nroutes:\n\
         - {{ path: /small, upstream: 'http://{endpoint}', request: {{ max_body: 1MiB }} }}\n\
         - {{ path: /early, upstream: 'http://{endpoint}', request: {{ max_body: none }} }}\n\
         - {{ path: /limited, upstream: 'http://{endpoint}', request: {{ max_body: none }}, limits: [ {{ zone: daily }} ] }}\n"
    )
}

/// What each client makes of each kind of refusal.
fn judge(base: &str, authority: &str) {
    let length = LENGTH.to_string();
    let environment = [("NODE_EXTRA_CA_CERTS", authority)];
    for (path, expected) in
        [("/small", "413"), ("/early", "401"), ("/limited", "503"), ("/nowhere", "404")]
    {
        for (name, program, flag, script) in CLIENTS {
            let url = format!("{base}{path}");
            let args = [flag, script, &url, &length, authority];
            let environment: &[_] = if authority.is_empty() { &[] } else { &environment };
            assert_eq!(program.prints(&args, environment), expected, "{name} {url}");
        }
    }
}

#[test]
fn uploads_that_are_refused_end_with_their_response() {
    let weir = Weir::run(&routes());
    assert_eq!(http1::get(weir.address, "/limited").status, 401);
    judge(&format!("http://{}", weir.address), "");
}

#[test]
fn uploads_that_are_refused_over_tls_end_with_their_response() {
    let authority = Authority::new();
    authority.issue("weir", &["127.0.0.1"]);
    let [cert, key, ca] =
        ["weir.pem", "weir.key", "ca.pem"].map(|name| authority.path(name).display().to_string());
    let listener = format!(
        "{{ address: '127.0.0.1:0', tls: {{ certificates: [ {{ cert: '{cert}', key: '{key}' }} ] }} }}"
    );
    let weir = Weir::run(&format!("listeners: [ {listener} ]\n{}", routes()));
    let base = format!("https://{}", weir.address);
    let spend = [PYTHON.prints(&["-c", HTTP_CLIENT, &format!("{base}/limited"), "0", &ca], &[])];
    assert_eq!(spend, ["401"]);
    judge(&base, &ca);
}
