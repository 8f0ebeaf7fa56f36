"""Answers what it was sent, in the framing that was asked for, on Python's own http.server."""
import http.server


class Echo(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def received(self):
        if self.headers.get("Transfer-Encoding", "") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", "0")))
        pieces = []
        while size := int(self.rfile.readline(), 16):
            pieces.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(pieces)

    def answer(self):
        body = self.received()
        framing, _, size = self.path[1:].partition("/")
        body = body or b"0123456789abcdef" * (int(size or 0) // 16)
        self.send_response(204 if framing == "none" else 201)
        self.send_header("X-Method", self.command)
        self.send_header("Set-Cookie", "a=1")
        self.send_header("Set-Cookie", "b=2; Path=/")
        if framing == "length":
            self.send_header("Content-Length", str(len(body)))
        elif framing == "chunked":
            self.send_header("Transfer-Encoding", "chunked")
        elif framing == "close":
            self.send_header("Connection", "close")
        self.end_headers()
        if framing == "none" or self.command == "HEAD":
            return
        if framing != "chunked":
            self.wfile.write(body)
            return
        step = 1 + len(body) // 3
        for start in range(0, len(body), step):
            piece = body[start:start + step]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\n\r\n")

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = answer

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Echo)
print("serving on port", server.server_port, flush=True)
server.serve_forever()
