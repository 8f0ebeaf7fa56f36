//! A gRPC stream on which nothing is said for longer than its server takes PINGs for: two more than
//! one in five minutes end the connection (gRPC's
//! `GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS`).

use crate::{process::Weir, programs::GRPC};

const SERVER: &str = "
import concurrent.futures, time, grpc
def watch(request, context):
    yield b'first'
    time.sleep(200)
    yield b'last'
handlers = {'Watch': grpc.unary_stream_rpc_method_handler(watch)}
server = grpc.server(concurrent.futures.ThreadPoolExecutor(4))
server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler('test.T', handlers)])
print('port', server.add_insecure_port('127.0.0.1:0'), flush=True)
server.start()
server.wait_for_termination()
";

const CLIENT: &str = "
import sys, grpc
with grpc.insecure_channel(sys.argv[1]) as channel:
    try:
        print([message for message in channel.unary_stream('/test.T/Watch')(b'')])
    except grpc.RpcError as error:
        print(error.code().name, error.details())
";

#[test]
#[ignore = "over three minutes: scripts/test.sh --slow"]
fn quiet_stream_of_a_grpc_server_is_not_ended_by_pings() {
    let server = GRPC.serves(&["-u", "-c", SERVER]);
    let weir = Weir::run(&format!(
        "upstreams: {{ app: {{ endpoints: [ 'http://{}' ], protocol: http2, timeouts: {{ idle: 10m, first_byte: 10m }} }} }}\n\
         routes: [ {{ path: /, upstream: app }} ]\n",
        server.address
    ));
    let said = GRPC.prints(&["-c", CLIENT, &weir.address.to_string()], &[]);
    assert_eq!(said, "[b'first', b'last']");
}
