"""What noise cannot touch: system calls and user instructions per request, memory per idle connection."""

import re
import resource
import signal
import subprocess
import time
from pathlib import Path

import peers
from client import BROWSER, SMALL, Client

WARM_UP = 200
IDLE_SECONDS = 3
KINDS = (
    ("keep-alive GET", peers.PASSING, SMALL),
    ("keep-alive GET, browser headers", peers.PASSING, BROWSER),
    ("reject", peers.REJECTING, SMALL),
)


def count(names, world, much):
    """All counts of all proxies: a list of rows."""
    rows = []
    for name in names:
        for what, setup, headers in KINDS:
            calls, by_name = system_calls(world.start(name, setup), headers, 2000)
            instructions = instructions_each(name, setup, headers, world, 2000 if much else 500)
            rows.append({"what": what, "name": name, "calls": calls, "by_name": by_name, "instructions": instructions})
        idle = idle_bytes(world.start(name, peers.PASSING), 2000 if much else 500)
        rows.append({"what": "idle connection", "name": name, "bytes": idle})
    return rows


def system_calls(server, headers, requests):
    """System calls per request of a running proxy, in all and by name."""
    client, summary = Client(server.port), server.folder / "strace.txt"
    asks(client, headers, WARM_UP)
    pids = [word for pid in server.pids() for word in ("-p", str(pid))]
    tracer = subprocess.Popen(
        [peers.find("strace"), "-c", "-f", "-U", "calls,name", "-o", summary, *pids], stderr=subprocess.PIPE, text=True
    )
    for _ in server.pids():
        if "attached" not in (said := tracer.stderr.readline()):
            raise SystemExit(f"strace cannot watch {server.name}: {said}")
    asks(client, headers, requests)
    tracer.send_signal(signal.SIGINT)
    tracer.communicate()
    client.close()
    server.stop()
    lines = (line.split() for line in summary.read_text().splitlines())
    calls = {words[1]: int(words[0]) for words in lines if len(words) == 2 and words[0].isdigit()}
    calls.pop("total", None)
    return sum(calls.values()) / requests, {name: number / requests for name, number in sorted(calls.items())}


def instructions_each(name, setup, headers, world, requests):
    """User instructions per request: the difference of two whole runs, so that start and end cancel out."""
    few, many = (instructions(name, setup, headers, world, number) for number in (WARM_UP, WARM_UP + requests))
    return (many - few) / requests


def instructions(name, setup, headers, world, requests):
    """User instructions of a proxy's whole life with so many requests."""
    under = [peers.find("valgrind"), "--tool=callgrind", "--callgrind-out-file=callgrind.%p", "-q"]
    server = world.start(name, setup, under)
    asks(client := Client(server.port), headers, requests)
    client.close()
    server.stop()
    files = [path for path in Path(".").glob("callgrind.*") if path.stat().st_size]
    totals = [re.search(r"^(?:summary|totals): (\d+)", path.read_text(), re.MULTILINE) for path in files]
    for path in files:
        path.rename(server.folder / path.name)
    if not totals or None in totals:
        raise SystemExit(f"callgrind counted nothing for {name}")
    return sum(int(total.group(1)) for total in totals)


def idle_bytes(server, connections):
    """Resident bytes per connection that was used once and has been idle for some seconds."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65536), hard))
    warm = [used(server) for _ in range(100)]
    time.sleep(IDLE_SECONDS)
    before = server.rss()
    idle = [used(server) for _ in range(connections)]
    time.sleep(IDLE_SECONDS)
    grown = server.rss() - before
    for client in warm + idle:
        client.close()
    server.stop()
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return grown / connections


def used(server):
    client = Client(server.port)
    client.get()
    return client


def asks(client, headers, requests):
    for _ in range(requests):
        client.get("/", headers)
