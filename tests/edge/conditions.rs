//! Rules that apply to some requests only: `when` and `unless`, and what a client cannot do about
//! them.

use tokio::io::AsyncWriteExt;
use weir::config::Config;

use crate::{
    frames::{self, END_HEADERS, END_STREAM, HEADERS},
    harness::{on_edge_of, parsed, status},
};

fn rule(conditions: &str) -> Config {
    let file = format!(
        "listeners: [ ':1' ]\nupstreams: {{ app: {{ endpoints: [ 'http://10.0.0.1:80' ] }} }}\n\
         zones: {{ z: {{ key: global, rate: 1r/h }} }}\n\
         routes: [ {{ path: /, upstream: app, limits: [ {{ zone: z, {conditions} }} ] }} ]"
    );
    parsed(&file)
}

/// Returns true if the second of two such requests is rejected.
async fn is_counted(conditions: &str, target: &str, fields: &str) -> bool {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let request = format!("GET {target} HTTP/1.1\r\nhost: a\r\n{fields}connection: close\r\n\r\n");
    on_edge_of(rule(conditions), |edge| async move {
        assert_eq!(status(&edge.exchange(&request).await), 200);
        sender.send(status(&edge.exchange(&request).await)).expect("a test that waits");
    })
    .await;
    receiver.await.expect("a status") == 503
}

#[tokio::test(start_paused = true)]
async fn when_counts_what_it_holds_for_alone() {
    for (when, target, fields, counted) in [
        ("headers: { user-agent: '~*bot' }", "/", "User-Agent: a BOT\r\n", true),
        ("headers: { user-agent: '~*bot' }", "/", "user-agent: a\r\n", false),
        ("headers: { user-agent: '~*bot' }", "/", "", false),
        ("headers: { host: a }", "/", "", true),
        ("headers: { x-a: false }", "/", "", true),
        ("headers: { x-a: false }", "/", "x-a:\r\n", false),
        ("cookies: { sid: true }", "/", "cookie: a=b; sid=1\r\n", true),
        ("cookies: { sid: true }", "/", "cookie: a=b; asid=1\r\n", false),
        ("query: { export: true }", "/?export", "", true),
        ("query: { export: [ all, 'a b' ] }", "/?e%78port=a+b", "", true),
        ("query: { export: all }", "/?export=al", "", false),
        ("methods: [ POST ]", "/", "", false),
        ("clients: [ 192.0.2.0/24 ]", "/", "", true),
        ("clients: [ 198.51.100.0/24 ]", "/", "", false),
        ("clients: [ 192.0.2.0/24 ], methods: [ POST ]", "/", "", false),
    ] {
        let case = format!("{when} {target} {fields:?}");
        assert_eq!(
            is_counted(&format!("when: {{ {when} }}"), target, fields).await,
            counted,
            "{case}"
        );
        let unless = format!("unless: {{ {when} }}");
        assert_eq!(is_counted(&unless, target, fields).await, !counted, "unless {case}");
    }
}

#[tokio::test(start_paused = true)]
async fn field_sent_twice_neither_escapes_when_nor_earns_unless() {
    let twice = [
        ("headers: { x-plan: free }", "/", "x-plan: free\r\nx-plan: gold\r\n"),
        ("headers: { x-plan: free }", "/", "x-plan: gold\r\nX-Plan: free\r\n"),
        ("cookies: { plan: free }", "/", "cookie: plan=free; plan=gold\r\n"),
        ("cookies: { plan: free }", "/", "cookie: plan=gold\r\ncookie: plan=free\r\n"),
        ("query: { plan: free }", "/?plan=free&plan=gold", ""),
        ("query: { plan: free }", "/?plan=gold&pl%61n=free", ""),
    ];
    for (condition, target, fields) in twice {
        for key in ["when", "unless"] {
            let rule = format!("{key}: {{ {condition} }}");
            assert!(is_counted(&rule, target, fields).await, "{rule} {target} {fields:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn value_too_long_to_be_searched_is_counted() {
    let long = format!("user-agent: {}\r\n", "good".repeat(1_025));
    assert!(is_counted("when: { headers: { user-agent: '~bot' } }", "/", &long).await);
    assert!(is_counted("unless: { headers: { user-agent: '~good' } }", "/", &long).await);
}

#[tokio::test(start_paused = true)]
async fn other_spelling_of_a_field_does_not_earn_unless() {
    let rule = "unless: { headers: { x-token: a-long-and-secret-value } }";
    for name in ["x_token", "x.token", "X-Tokem"] {
        assert!(is_counted(rule, "/", &format!("{name}: a-long-and-secret-value\r\n")).await);
    }
    assert!(!is_counted(rule, "/", "X-Token:   a-long-and-secret-value \r\n").await);
}

#[tokio::test(start_paused = true)]
async fn conditions_hold_over_http_2_as_over_http_1() {
    let rule = rule("when: { headers: { host: a, user-agent: '~*bot' }, cookies: { a: '1' } }");
    on_edge_of(rule, |edge| async move {
        let get = [(":method", "GET"), (":scheme", "http"), (":authority", "A:80"), (":path", "/")];
        let more = [("user-agent", "robot"), ("cookie", "b=2"), ("cookie", "a=1")];
        let fields = frames::fields(&[&get[..], &more].concat());
        let ask = |stream| frames::frame(HEADERS, END_HEADERS | END_STREAM, stream, &fields);
        let mut client = edge.connect();
        let asked = [frames::hello(&[]), ask(1), ask(3), ask(5)].concat();
        client.write_all(&asked).await.expect("an open pipe");
        for _ in 0..3 {
            frames::until(&mut client, HEADERS).await.expect("a response");
        }
        assert_eq!(edge.seen.borrow().len(), 1, "the others were rejected");
    })
    .await;
}
