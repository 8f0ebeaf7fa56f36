"""What noise cannot touch: system calls, user instructions and code lines per request, memory per idle connection.

A code line is a distinct piece of 64 bytes of machine code that a request runs through. The first-level cache for
instructions holds about a thousand of them: a program that needs more evicts the kernel's code at every system call."""

import collections
import resource
import signal
import subprocess
import time
from pathlib import Path

import peers
import programs
from client import BROWSER, SMALL, Client

WARM_UP = 200
CODE_LINE = 64
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
            instructions, lines = code_each(name, setup, headers, world, 2000 if much else 500)
            row = {"what": what, "name": name, "calls": calls, "by_name": by_name}
            rows.append(row | {"instructions": instructions, "lines": lines})
        idle = idle_bytes(world.start(name, peers.PASSING), 2000 if much else 500)
        rows.append({"what": "idle connection", "name": name, "bytes": idle})
    return rows


def system_calls(server, headers, requests):
    """System calls per request of a running proxy, in all and by name."""
    client, summary = Client(server.port), server.folder / "strace.txt"
    asks(client, headers, WARM_UP)
    pids = [word for pid in server.pids() for word in ("-p", str(pid))]
    tracer = subprocess.Popen(
        [programs.find("strace"), "-c", "-f", "-U", "calls,name", "-o", summary, *pids], stderr=subprocess.PIPE, text=True
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


def code_each(name, setup, headers, world, requests):
    """User instructions and code lines per request: the difference of two whole runs, so that start and end cancel out."""
    few, many = (executed(name, setup, headers, world, number) for number in (WARM_UP, WARM_UP + requests))
    # Code that runs for fewer than half of the requests serves timers and growth.
    lines = {(binary, at // CODE_LINE) for (binary, at), times in (many - few).items() if times >= requests / 2}
    return (many.total() - few.total()) / requests, len(lines)


def executed(name, setup, headers, world, requests):
    """How often each instruction was executed in a proxy's whole life with so many requests."""
    under = [programs.find("valgrind"), "--tool=callgrind", "--callgrind-out-file=callgrind.%p", "-q"]
    under += ["--dump-instr=yes", "--compress-pos=no", "--compress-strings=no"]
    server = world.start(name, setup, under)
    asks(client := Client(server.port), headers, requests)
    client.close()
    server.stop()
    files = [path for path in Path(".").glob("callgrind.*") if path.stat().st_size]
    times = collections.Counter()
    for path in files:
        times.update(counted(path))
        path.rename(server.folder / path.name)
    if not times:
        raise SystemExit(f"callgrind counted nothing for {name}")
    return times


def counted(path):
    """How often callgrind saw each instruction executed, by object file and address."""
    counts, binary, is_call = collections.Counter(), "", False
    for line in path.read_text().splitlines():
        if line.startswith("ob="):
            binary = line[3:]
        elif line.startswith("calls="):
            # The cost that follows is the callee's, which is counted there.
            is_call = True
        elif line.startswith("0x"):
            if not is_call:
                address, *_, times = line.split()
                counts[binary, int(address, 16)] += int(times)
            is_call = False
    return counts


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
