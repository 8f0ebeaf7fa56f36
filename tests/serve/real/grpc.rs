//! grpcio, the gRPC of C++, Python, Ruby and PHP, before and behind weir: it grants room for each
//! small message it gets, and lives on one connection for as long as that lasts.

use crate::{
    process::Weir,
    programs::{GRPC, Running},
    real::scale,
};

const SERVER: &str = "
import concurrent.futures, sys, time, grpc
def echo(request, context):
    return request
def slow(request, context):
    time.sleep(0.4)
    return request
def chat(requests, context):
    yield from requests
def watch(request, context):
    while context.is_active():
        yield b'.'
        time.sleep(0.05)
handlers = {
    'Echo': grpc.unary_unary_rpc_method_handler(echo),
    'Slow': grpc.unary_unary_rpc_method_handler(slow),
    'Chat': grpc.stream_stream_rpc_method_handler(chat),
    'Watch': grpc.unary_stream_rpc_method_handler(watch),
}
server = grpc.server(concurrent.futures.ThreadPoolExecutor(64))
server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler('test.T', handlers)])
print('port', server.add_insecure_port('127.0.0.1:0'), flush=True)
server.start()
server.wait_for_termination()
";

/// `CALLS` calls from four threads, on one connection; how many failed, and how.
const UNARY: &str = "
import collections, concurrent.futures, sys, grpc
address, calls = sys.argv[1], int(sys.argv[2])
def some(count):
    failures = collections.Counter()
    for _ in range(count):
        try:
            assert echo(b'hi', timeout=20) == b'hi'
        except grpc.RpcError as error:
            failures[error.code().name + ' ' + error.details()] += 1
    return failures
with grpc.insecure_channel(address) as channel:
    echo = channel.unary_unary('/test.T/Echo')
    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        print(dict(sum(threads.map(some, [calls // 4] * 4), collections.Counter())))
";

/// One stream with this many messages of a byte each way; how many came back.
const CHAT: &str = "
import queue, sys, grpc
address, messages = sys.argv[1], int(sys.argv[2])
sent, back = queue.Queue(), 0
with grpc.insecure_channel(address) as channel:
    sent.put(b'x')
    try:
        for _ in channel.stream_stream('/test.T/Chat')(iter(sent.get, None)):
            back += 1
            sent.put(b'x' if back < messages else None)
    except grpc.RpcError as error:
        print(error.code().name, error.details(), end=' ')
print(back)
";

/// One stream that stays, beside this many calls that are given up; how the stream ended, and how
/// the calls did.
const DEADLINES: &str = "
import collections, concurrent.futures, sys, threading, grpc
address, calls = sys.argv[1], int(sys.argv[2])
with grpc.insecure_channel(address) as channel:
    watch = channel.unary_stream('/test.T/Watch')(b'')
    ended = []
    def follow():
        try:
            for _ in watch:
                pass
        except grpc.RpcError as error:
            ended.append(error.code().name)
    follower = threading.Thread(target=follow)
    follower.start()
    slow = channel.unary_unary('/test.T/Slow')
    def one(_):
        try:
            slow(b'', timeout=0.15)
        except grpc.RpcError as error:
            return error.code().name
    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        outcomes = collections.Counter(threads.map(one, range(calls)))
    alive = not ended
    watch.cancel()
    follower.join()
print('watched' if alive else ended, dict(outcomes))
";

fn started() -> (Running, Weir) {
    let server = GRPC.serves(&["-u", "-c", SERVER]);
    let config = format!(
        "upstreams: {{ app: {{ endpoints: [ 'http://{}' ], protocol: http2 }} }}\nroutes: [ {{ path: /, upstream: app }} ]\n\
         access_log: {{ to: none }}\n",
        server.address
    );
    let weir = Weir::run(&config);
    (server, weir)
}

fn client(script: &str, weir: &Weir, count: u32) -> String {
    GRPC.prints(&["-c", script, &weir.address.to_string(), &count.to_string()], &[])
}

#[test]
fn grpc_client_that_makes_many_small_calls_keeps_its_connection() {
    let (_server, weir) = started();
    assert_eq!(client(UNARY, &weir, 8_000 * scale()), "{}");
}

#[test]
fn grpc_client_that_sends_a_byte_at_a_time_keeps_its_stream() {
    let (_server, weir) = started();
    let messages = 6_000 * scale();
    assert_eq!(client(CHAT, &weir, messages), messages.to_string());
}

#[test]
fn grpc_stream_outlives_calls_beside_it_that_are_given_up() {
    let (_server, weir) = started();
    let calls = 500 * scale();
    assert_eq!(
        client(DEADLINES, &weir, calls),
        format!("watched {{'DEADLINE_EXCEEDED': {calls}}}")
    );
}
