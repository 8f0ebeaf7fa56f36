"""Resident memory per connection: idle, idle after a load, and parked with a delayed request."""

import contextlib
import resource
import time
from dataclasses import dataclass, replace

import loads
import peers
from client import Client
from rounds import Scenario

WARM_UP = 100
IDLE_SECONDS, LONG_SECONDS, LOAD_SECONDS = 3, 30, 2
FLOOD = Scenario("flood", "a flood of rejects", setup=peers.REJECTING, connections=256)
DOWNLOADS = Scenario("downloads", "64 downloads of 16 MiB", path="/16m", connections=64)


@dataclass(frozen=True)
class State:
    """What is kept open while memory is measured: connections, and the load that went before."""

    what: str
    setup: peers.Setup
    connections: int
    seconds: int
    load: Scenario | None = None


IDLE = State("idle connection", peers.PASSING, 2000, IDLE_SECONDS)
AFTER = (
    State("idle connection, 30 s after a flood", FLOOD.setup, 1000, LONG_SECONDS, FLOOD),
    State("idle connection, 30 s after downloads", DOWNLOADS.setup, 1000, LONG_SECONDS, DOWNLOADS),
)
PARKED = State("parked request", peers.PARKING, 1000, IDLE_SECONDS)


def measure(names, world, much):
    """All figures of all proxies: a list of rows. HAProxy cannot delay a request."""
    with open_files():
        rows = together([IDLE if much else replace(IDLE, connections=500)], names, world)
        able = [name for name in names if not name.startswith("haproxy")]
        rows += together([PARKED], able, world)
        return rows + (together(AFTER, names, world) if much else [])


def together(states, names, world):
    """The rows of these states of these proxies, which are all idle during the same seconds."""
    held = [Held(state, name, world) for state in states for name in names]
    # A program returns memory of its start some seconds later: it is as idle before as after.
    time.sleep(states[0].seconds)
    for one in held:
        one.fill(world)
    time.sleep(states[0].seconds)
    return [one.grown() for one in held]


class Held:
    """A proxy with its connections open."""

    def __init__(self, state, name, world):
        self.state, self.name, self.before = state, name, 0
        self.server = world.start(name, state.setup)
        self.ask = parked if state.setup.delay else used
        self.clients = [self.ask(self.server) for _ in range(WARM_UP)]

    def fill(self, world):
        """Opens the connections, and runs the load."""
        self.before = self.server.rss()
        self.clients += [self.ask(self.server) for _ in range(self.state.connections)]
        if self.state.load:
            loads.run(self.server, self.state.load, LOAD_SECONDS, world)

    def grown(self):
        """The memory that the connections added, one of them. Ends the proxy."""
        grown = self.server.rss() - self.before
        for client in self.clients:
            client.close()
        self.server.stop()
        return {"what": self.state.what, "name": self.name, "bytes": grown / self.state.connections}


@contextlib.contextmanager
def open_files():
    """Lets this process have as many open files as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65536), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def used(server):
    """A connection with one response, whatever its status."""
    client = Client(server.port)
    client.get()
    return client


def parked(server):
    """A connection whose request waits for its slot."""
    client = Client(server.port)
    client.ask()
    return client
