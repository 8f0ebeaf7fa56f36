"""A keep-alive client that sends one request after the other: for what is counted, never for what is timed."""

import socket
import ssl

SMALL = ("Host: a.test",)
BROWSER = (
    "Host: a.test",
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
    "Accept-Language: en-US,en;q=0.5",
    "Accept-Encoding: gzip, deflate, br, zstd",
    "Referer: http://a.test/start",
    "Cookie: session=0123456789abcdef0123456789abcdef; theme=dark",
    "Upgrade-Insecure-Requests: 1",
    "Sec-Fetch-Dest: document",
    "Sec-Fetch-Mode: navigate",
    "Sec-Fetch-Site: same-origin",
    "Priority: u=0, i",
)


class Client:
    """One connection."""

    def __init__(self, port, tls=None, session=None):
        self.socket = socket.create_connection(("127.0.0.1", port), 60)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls:
            self.socket = tls.wrap_socket(self.socket, server_hostname="a.test", session=session)
        self.rest = b""

    def get(self, path="/", headers=SMALL):
        """The status and the body of one GET."""
        self.ask(path, headers)
        return self.response()

    def post(self, path, body):
        """The status and the body of one POST."""
        self.ask(path, (*SMALL, f"Content-Length: {len(body)}"), "POST", body)
        return self.response()

    def ask(self, path="/", headers=SMALL, method="GET", body=b""):
        """Sends one request."""
        self.socket.sendall("\r\n".join((f"{method} {path} HTTP/1.1", *headers, "", "")).encode() + body)

    def response(self):
        """The status and the body of the next response."""
        while b"\r\n\r\n" not in self.rest:
            self.more()
        head, self.rest = self.rest.split(b"\r\n\r\n", 1)
        status, length = int(head.split(b" ", 2)[1]), None
        for line in head.split(b"\r\n")[1:]:
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        if length is None:
            raise SystemExit(f"a response without a length: {head!r}")
        while len(self.rest) < length:
            self.more()
        body, self.rest = self.rest[:length], self.rest[length:]
        return status, body

    def more(self):
        piece = self.socket.recv(1 << 18)
        if not piece:
            raise SystemExit("a connection was closed in the middle")
        self.rest += piece

    def close(self):
        self.socket.close()


def tls_context(certificate):
    """A client's context that trusts this certificate alone."""
    return ssl.create_default_context(cafile=str(certificate))
