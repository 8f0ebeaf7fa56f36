"""Before a row is measured: every proxy does the work of this comparison."""

import time

import peers
from client import Client

POST = 10240


def prove(server, setup, tls):
    """Stops the run when a proxy does not pass, tell and limit as it should."""
    client = Client(server.port, tls)
    if server.name == "relay":
        wrong = not whole(client) and "bodies"
    elif setup.burst == 0:
        statuses = [client.get()[0] for _ in range(21)]
        wrong = (statuses[0] != 200 or statuses.count(503) < 18) and f"rejects {statuses}"
    elif setup.delay:
        # Bodies and fields are those of the same configuration without a delay.
        wrong = client.get()[0] != 200 and "GET"
    else:
        wrong = passes(client, tls)
        wrong = wrong or (tls and not resumes(server, tls) and "a resumed session of TLS 1.3")
        wrong = wrong or (setup.logs and not logs(server, client) and "a line for each request")
    client.close()
    if wrong:
        raise SystemExit(f"{server.name} does not do the work of this comparison: {wrong}")


def passes(client, tls):
    """The first thing that is not passed as it should be, or nothing."""
    status, body = client.get("/told")
    address, real, _id, host, _via, scheme = fields = (body.decode().split("|") + [""] * 6)[:6]
    right = (address, real, host) == ("127.0.0.1", "127.0.0.1", "a.test")
    if status != 200 or not all(fields) or not right:
        return f"fields at the origin: {status} {fields}"
    if scheme != ("https" if tls else "http"):
        return f"X-Forwarded-Proto: {scheme}"
    if not whole(client):
        return "bodies"
    _, length = client.post("/posted", b"x" * POST)
    return "" if length.isdigit() and int(length) > POST else f"the body of a POST: {length}"


def whole(client):
    """Whether bodies arrive in their full length."""
    return {name: len(client.get(f"/{name}")[1]) for name in peers.FILES} == peers.FILES


def resumes(server, tls):
    """Whether the proxy resumes a session of TLS 1.3; tickets come with the first response."""
    first = Client(server.port, tls)
    first.get()
    second = Client(server.port, tls, first.socket.session)
    second.get()
    name, version, _ = second.socket.cipher()
    # All servers take the cipher that the client names first.
    fits = version == "TLSv1.3" and name == tls.get_ciphers()[0]["name"]
    resumed = second.socket.session_reused and not first.socket.session_reused
    first.close()
    second.close()
    return fits and resumed


def logs(server, client):
    """Whether each of some requests has a line in the logs, within two seconds."""
    server.forget_logs()
    for _ in range(20):
        client.get()
    deadline = time.monotonic() + 2
    while time.monotonic() < deadline:
        if sum(log.read_bytes().count(b"\n") for log in server.logs if log.exists()) >= 20:
            return True
        time.sleep(0.05)
    return False
