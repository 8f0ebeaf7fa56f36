#!/usr/bin/env python3
"""Drives a weir with the traffic it is made for, so that an instrumented build learns which code runs.

    scripts/train.py WEIR [--seconds 30]

Everything is on loopback: an origin, two processes of clients, and curl for HTTP/2. Half of the time
the access log is on. The load is bounded by time; nothing is measured here. scripts/release.sh calls it.
"""

import argparse
import asyncio
import contextlib
import multiprocessing
import os
import re
import select
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BODIES = {b"/": 100, b"/64k": 64 * 1024, b"/1m": 1024 * 1024}
CLIENTS = 2
SMALL = "Host: a.test\r\n"
BROWSER = (
    "Host: a.test\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n"
    "Accept: text/html,application/xhtml+xml,*/*;q=0.8\r\nAccept-Language: en-US,en;q=0.5\r\n"
    "Accept-Encoding: gzip, deflate, br, zstd\r\nReferer: https://a.test/start\r\n"
    "Cookie: session=0123456789abcdef0123456789abcdef; theme=dark\r\nSec-Fetch-Dest: document\r\n"
    "Sec-Fetch-Mode: navigate\r\nSec-Fetch-Site: same-origin\r\n"
)
CONFIG = """\
listeners:
  - { address: "127.0.0.1:0", max_connections_per_client: 10k, max_requests: 1G }
  - address: "127.0.0.2:0"
    max_connections_per_client: 10k
    max_requests: 1G
    tls: { certificates: [ { cert: cert.pem, key: key.pem } ] }
workers: 1
zones:
  free: { key: client_ip, rate: 1000000r/s }
  full: { key: client_ip, rate: 1r/m }
upstreams:
  origin: { endpoints: [ "127.0.0.1:@origin@" ], keepalive: { max_idle: 1024, idle: 60s } }
routes:
  - { path: /, upstream: origin, limits: [ { zone: free, burst: 100000, nodelay: true } ], request: { max_body: none } }
  - { path: /full, upstream: origin, limits: [ { zone: full, burst: 0 } ] }
access_log: { to: @log@ }
log: { level: info }
"""


class Origin(asyncio.Protocol):
    """One connection of the origin: bodies by path, and nothing but a length for an upload."""

    def connection_made(self, transport):
        self.transport, self.rest = transport, b""

    def data_received(self, data):
        self.rest += data
        while (end := self.rest.find(b"\r\n\r\n")) >= 0:
            head, behind = self.rest[:end], end + 4
            for line in head.split(b"\r\n")[1:]:
                name, _, value = line.lower().partition(b":")
                if name == b"content-length":
                    behind += int(value)
                elif name == b"transfer-encoding":
                    # The bodies here have no line like the last chunk's.
                    last = self.rest.find(b"0\r\n\r\n", behind)
                    behind = last + 5 if last >= 0 else len(self.rest) + 1
            if len(self.rest) < behind:
                return
            self.rest = self.rest[behind:]
            body = b"x" * BODIES.get(head.split(b" ", 2)[1], 100)
            lines = b"HTTP/1.1 200 OK\r\nServer: origin\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n"
            self.transport.write(lines % len(body) + body)


def origin(port):
    """Runs the origin, and tells its port."""

    async def run():
        server = await asyncio.get_running_loop().create_server(Origin, "127.0.0.1", 0)
        port.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(run())


def connect(port, tls):
    """A connection to weir."""
    plain = socket.create_connection(("127.0.0.2" if tls else "127.0.0.1", port), 20)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if not tls:
        return plain
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context.wrap_socket(plain, server_hostname="a.test")


def response(connection):
    """Reads one response."""
    received = b""
    while (end := received.find(b"\r\n\r\n")) < 0:
        received += piece(connection)
    head = received[:end].lower()
    left = int(head.split(b"content-length:", 1)[1].split(b"\r\n", 1)[0]) - (len(received) - end - 4)
    while left > 0:
        left -= len(piece(connection))


def piece(connection):
    """Some bytes; a connection that closes here ends the training."""
    if not (read := connection.recv(1 << 18)):
        raise SystemExit("weir closed a connection in the middle of a response")
    return read


def kept(port, until, connections, path="/", fields=SMALL, body=b"", tls=False):
    """Requests on connections that are kept, on all of them at once."""
    method = "POST" if body else "GET"
    length = f"Content-Length: {len(body)}\r\n" if body else ""
    request = f"{method} {path} HTTP/1.1\r\n{fields}{length}\r\n".encode() + body
    open_ones = [connect(port, tls) for _ in range(connections)]
    while time.monotonic() < until:
        for connection in open_ones:
            connection.sendall(request)
        for connection in open_ones:
            response(connection)
    for connection in open_ones:
        connection.close()


def single(port, until, tls=False):
    """A connection for each request."""
    while time.monotonic() < until:
        with connect(port, tls) as connection:
            connection.sendall(f"GET / HTTP/1.1\r\n{SMALL}Connection: close\r\n\r\n".encode())
            response(connection)


def http2(port, until):
    """Many streams of few connections, by curl."""
    url, config = f"https://127.0.0.2:{port}/?[1-2000]", ["curl", "-k", "--no-progress-meter", "--http2", "-Z", "--parallel-max", "32"]
    while time.monotonic() < until:
        subprocess.run([*config, "-o", os.devnull, url], check=True, timeout=60)


def chunks(port, until):
    """Uploads in chunks."""
    request = f"POST / HTTP/1.1\r\n{SMALL}Transfer-Encoding: chunked\r\n\r\n".encode()
    connection = connect(port, False)
    while time.monotonic() < until:
        connection.sendall(request + (b"400\r\n" + b"x" * 1024 + b"\r\n") * 10 + b"0\r\n\r\n")
        response(connection)
    connection.close()


def loads(plain, tls):
    """The loads, each with its share of the time."""
    yield 4, lambda until: kept(plain, until, 32)
    yield 3, lambda until: kept(plain, until, 32, fields=BROWSER)
    yield 3, lambda until: kept(plain, until, 32, "/full")
    yield 1, lambda until: kept(plain, until, 1)
    yield 2, lambda until: single(plain, until)
    yield 1, lambda until: kept(plain, until, 8, "/64k")
    yield 1, lambda until: kept(plain, until, 2, "/1m")
    yield 1, lambda until: kept(plain, until, 8, body=b"x" * 10240)
    yield 1, lambda until: chunks(plain, until)
    yield 2, lambda until: kept(tls, until, 16, fields=BROWSER, tls=True)
    yield 1, lambda until: single(tls, until, tls=True)
    yield 2, lambda until: http2(tls, until)


def run_all(plain, tls, seconds):
    """One process of clients."""
    shares = list(loads(plain, tls))
    unit = seconds / sum(share for share, _ in shares)
    for share, load in shares:
        load(time.monotonic() + share * unit)


@contextlib.contextmanager
def weir(binary, folder, origin_port, log):
    """A weir that serves, as its two ports. It ends in order, because the profile is written then."""
    config = CONFIG.replace("@origin@", str(origin_port)).replace("@log@", log)
    (folder / "weir.yaml").write_text(config)
    process = subprocess.Popen([binary, "run", "--config", "weir.yaml"], cwd=folder, stderr=subprocess.PIPE)
    try:
        ports, deadline, said = [], time.monotonic() + 30, b""
        while len(ports) < 2:
            ready, _, _ = select.select([process.stderr], [], [], max(0, deadline - time.monotonic()))
            more = os.read(process.stderr.fileno(), 1 << 16) if ready else b""
            if not more:
                raise SystemExit(f"weir does not listen:\n{said.decode()}")
            said += more
            ports = re.findall(rb'127\.0\.0\.[12]:(\d+)[],]', said)
        yield [int(port) for port in ports[:2]]
    finally:
        process.send_signal(signal.SIGTERM)
        process.stderr.close()
        if process.wait(60) != 0:
            raise SystemExit(f"weir ended with {process.returncode}")


def main():
    """Trains with and without the access log."""
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words.add_argument("weir")
    words.add_argument("--seconds", type=float, default=30)
    given = words.parse_args()
    binary = str(Path(given.weir).resolve())
    with tempfile.TemporaryDirectory(prefix="train-") as name:
        folder = Path(name)
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
            + ["-days", "2", "-subj", "/CN=a.test", "-addext", "subjectAltName=DNS:a.test,IP:127.0.0.2"]
            + ["-keyout", "key.pem", "-out", "cert.pem"],
            cwd=folder,
            check=True,
            stderr=subprocess.DEVNULL,
        )
        told, port = multiprocessing.Pipe(duplex=False)
        server = multiprocessing.Process(target=origin, args=(port,), daemon=True)
        server.start()
        origin_port = told.recv()
        for log in ("none", "./access.log"):
            with weir(binary, folder, origin_port, log) as (plain, tls):
                clients = [
                    multiprocessing.Process(target=run_all, args=(plain, tls, given.seconds / 2)) for _ in range(CLIENTS)
                ]
                for client in clients:
                    client.start()
                for client in clients:
                    client.join(given.seconds + 120)
                if any(client.exitcode != 0 for client in clients):
                    raise SystemExit("the training load failed")
        server.terminate()


if __name__ == "__main__":
    sys.exit(main())
