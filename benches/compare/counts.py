"""What noise cannot touch: system calls, user instructions, code lines and allocations per request.

A code line is a distinct piece of 64 bytes of machine code that a request runs through. The
first-level cache for instructions holds about a thousand of them: a program that needs more evicts
the kernel's code at every system call.

An allocation is a call of the allocator from outside of it: mimalloc's in weir, libc's in all. A
pool that a program keeps itself calls the allocator only when it is empty."""

import collections
import re
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import peers
import programs
from client import BROWSER, SMALL, Client

WARM_UP = 200
CODE_LINE = 64
CLOSE = (*SMALL, "Connection: close")
KINDS = (
    ("keep-alive GET", peers.PASSING, SMALL),
    ("keep-alive GET, browser headers", peers.PASSING, BROWSER),
    ("reject", peers.REJECTING, SMALL),
    ("keep-alive GET, default logs", peers.PASSING_LOGGED, SMALL),
    ("a connection per request", peers.PASSING, CLOSE),
)
QUICK = KINDS[:3]
# callgrind marks a recursion with `'2`.
ALLOCATOR = re.compile(
    r"_?(mi_)?(heap_)?(malloc|calloc|zalloc|realloc|posix_memalign|memalign|aligned_alloc)"
    r"(_\w+)?(@.*)?('\d+)?$"
)


@dataclass
class Profile:
    """How often each instruction was executed, by object file and address, and all allocations."""

    executed: collections.Counter = field(default_factory=collections.Counter)
    allocations: int = 0


def count(names, world, much):
    """All counts of all proxies: a list of rows."""
    rows = []
    for name in names:
        for what, setup, headers in KINDS if much else QUICK:
            calls, by_name = system_calls(world.start(name, setup), headers, 2000)
            code = code_each(name, setup, headers, world, 800 if much else 300)
            rows.append({"what": what, "name": name, "calls": calls, "by_name": by_name} | code)
    return rows


def system_calls(server, headers, requests):
    """System calls per request of a running proxy, in all and by name."""
    client, summary = connection(server, headers), server.folder / "strace.txt"
    asks(server, headers, WARM_UP, client)
    pids = [word for pid in server.pids() for word in ("-p", str(pid))]
    tracer = subprocess.Popen(
        [programs.find("strace"), "-c", "-f", "-U", "calls,name", "-o", summary, *pids], stderr=subprocess.PIPE, text=True
    )
    for _ in server.pids():
        if "attached" not in (said := tracer.stderr.readline()):
            raise SystemExit(f"strace cannot watch {server.name}: {said}")
    asks(server, headers, requests, client)
    tracer.send_signal(signal.SIGINT)
    tracer.communicate()
    server.stop()
    lines = (line.split() for line in summary.read_text().splitlines())
    calls = {words[1]: int(words[0]) for words in lines if len(words) == 2 and words[0].isdigit()}
    calls.pop("total", None)
    return sum(calls.values()) / requests, {name: number / requests for name, number in sorted(calls.items())}


def code_each(name, setup, headers, world, requests):
    """Instructions, code lines and allocations per request.

    They are the difference of two whole runs, so that start and end cancel out."""
    # Counts do not depend on a core, so that both runs go on at the same time.
    with ThreadPoolExecutor(2) as pool:
        sizes = ((peers.LOAD_CORE, WARM_UP), (peers.PROXY_CORE, WARM_UP + requests))
        runs = [pool.submit(profile, name, setup, headers, world, *size) for size in sizes]
        few, many = (run.result() for run in runs)
    executed = many.executed - few.executed
    # Code that runs for fewer than half of the requests serves timers and growth.
    hot = [place for place, times in executed.items() if times >= requests / 2]
    return {
        "instructions": (many.executed.total() - few.executed.total()) / requests,
        "lines": len({(binary, at // CODE_LINE) for binary, at in hot}),
        "allocations": (many.allocations - few.allocations) / requests,
    }


def profile(name, setup, headers, world, core, requests):
    """All that a proxy on this core executed in its whole life with so many requests."""
    under = [programs.find("valgrind"), "--tool=callgrind", "-q", "--callgrind-out-file=@dir@/callgrind.%p"]
    under += ["--dump-instr=yes", "--compress-pos=no", "--compress-strings=no"]
    server = world.start(name, setup, under, core)
    asks(server, headers, requests, connection(server, headers))
    server.stop()
    found = Profile()
    for path in server.folder.glob("callgrind.*"):
        read(path, found)
    if not found.executed:
        raise SystemExit(f"callgrind counted nothing for {name}")
    return found


def read(path, found):
    """Adds what one file of callgrind counted."""
    binary, caller, callee, is_call = "", "", "", False
    with path.open() as lines:
        for line in lines:
            if line.startswith("0x"):
                # Behind `calls=` is the cost of the callee, which is counted there.
                if not is_call:
                    address, *_, times = line.split()
                    found.executed[binary, int(address, 16)] += int(times)
                is_call = False
            elif line.startswith("ob="):
                binary = line[3:]
            elif line.startswith("fn="):
                caller = line[3:].rstrip()
            elif line.startswith("cfn="):
                callee = line[4:].rstrip()
            elif line.startswith("calls="):
                is_call = True
                if ALLOCATOR.match(callee) and not ALLOCATOR.match(caller):
                    found.allocations += int(line[6:].split()[0])


def connection(server, headers):
    """The connection of all requests, or nothing where each has its own."""
    return None if headers is CLOSE else Client(server.port)


def asks(server, headers, requests, kept):
    """Sends requests one after the other, over a connection that is kept or over one each."""
    for _ in range(requests):
        client = kept or Client(server.port)
        client.get("/", headers)
        if not kept:
            client.close()
