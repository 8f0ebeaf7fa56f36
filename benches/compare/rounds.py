"""CPU time per request, in rounds: weir between its peers, the order turned around every time (A B C, C B A ...)."""

import random
import statistics
import time
from dataclasses import asdict, dataclass

import loads
import peers
from client import BROWSER


@dataclass(frozen=True)
class Scenario:
    """One row: the load, what the responses must be, and the proxies beside the usual ones.

    `body` bytes are sent with each request; `handshakes` are `full` or `resumed`, one a connection;
    `streams` of HTTP/2 are open on each connection; `beside` clients download meanwhile. `longer`
    multiplies the time of a measurement, which is `at_least` so many seconds. `defaults` adds nginx
    at its defaults and `floor` the raw relay."""

    key: str
    title: str
    setup: peers.Setup = peers.PASSING
    path: str = "/"
    connections: int = 32
    close: bool = False
    per: str = "request"
    requests_per: float = 1.0
    defaults: bool = False
    beside: int = 0
    headers: tuple = ()
    body: int = 0
    handshakes: str = ""
    streams: int = 0
    longer: float = 1.0
    at_least: float = 0.0
    floor: bool = False


TLS = peers.PASSING_TLS
SCENARIOS = (
    Scenario("S1-1", "S1 keep-alive GET, 1 connection", connections=1),
    Scenario("S1-32", "S1 keep-alive GET, 32 connections", defaults=True),
    Scenario("S1-64", "S1 keep-alive GET, 64 connections", connections=64, floor=True),
    Scenario("S1-256", "S1 keep-alive GET, 256 connections", connections=256),
    Scenario("S1-browser", "S1 keep-alive GET, browser headers", headers=BROWSER),
    Scenario("S1-logs", "S1 keep-alive GET, default logs", setup=peers.PASSING_LOGGED),
    Scenario("S2-64k", "S2 64 KiB down", path="/64k", per="MiB", requests_per=16.0),
    Scenario("S2-1m", "S2 1 MiB down", path="/1m", connections=8, per="MiB", defaults=True),
    Scenario("S2-post", "S2 POST of 10 KiB", body=10240),
    Scenario(
        "S2-beside", "S2 GETs on 1 connection beside 64 downloads of 16 MiB",
        connections=1, beside=64, per="GET at p99", at_least=1,
    ),
    Scenario("S3", "S3 a connection per request", close=True, per="connection"),
    Scenario(
        "S3-deferred", "S3 a connection per request, `deferred`",
        setup=peers.PASSING_DEFERRED, close=True, per="connection",
    ),
    Scenario("S4-get", "S4 TLS keep-alive GET", setup=TLS, longer=2),
    Scenario(
        "S4-full", "S4 TLS full handshake",
        setup=TLS, close=True, per="handshake", handshakes="full",
    ),
    Scenario(
        "S4-resumed", "S4 TLS resumed handshake",
        setup=TLS, close=True, per="handshake", handshakes="resumed",
    ),
    Scenario("S5", "S5 HTTP/2, 10 connections x 32 streams", setup=TLS, connections=10, streams=32),
    Scenario("S6-off", "S6 reject flood, logs off", setup=peers.REJECTING, per="503"),
    Scenario("S6-logs", "S6 reject flood, default logs", setup=peers.REJECTING_LOGGED, per="503"),
)


def load(server, scenario, seconds, world):
    """One measurement: the figure of the row, and what the load generator counted."""
    seconds = max(seconds * scenario.longer, scenario.at_least)
    # On a busy machine a short load may end before its first response.
    for patience in (1, 2, 4):
        cpu, counted = once(server, scenario, seconds * patience, world)
        if counted["requests"]:
            break
    fits(server, scenario, counted)
    seconds = counted["microseconds"] / 1e6
    rest = {"name": server.name, "cpu_ns": cpu, "rps": counted["requests"] / seconds, "busy": cpu / 1e9 / seconds}
    return {**rest, "requests": counted["requests"], "ns": cost(scenario, counted, cpu)}


def once(server, scenario, seconds, world):
    """Runs the load once. Returns the CPU time of the proxy and what was counted."""
    with loads.downloads(server, scenario.beside, seconds + 2):
        before = server.cpu_ns()
        counted = loads.run(server, scenario, seconds, world)
    cpu = settled(server) - before
    server.forget_logs()
    return cpu, counted


def cost(scenario, counted, cpu):
    """The figure of a row: CPU time per request, or the 99th percentile of time beside others."""
    if not scenario.beside:
        return cpu / counted["requests"] * scenario.requests_per
    # Without any response the time that was waited in vain is the least it can be.
    return (counted["p99"] if counted["requests"] else counted["microseconds"]) * 1000


def settled(server):
    """Its CPU time once it has closed its connections and is quiet."""
    seen, now = -1, server.cpu_ns()
    while now - seen > 200_000:
        time.sleep(0.01)
        seen, now = now, server.cpu_ns()
    return now


def fits(server, scenario, counted):
    """Stops the run when the responses are not those of the scenario."""
    requests, refused, broken = counted["requests"], counted["refused"], counted["broken"]
    passed = requests - refused
    wrong = passed > requests * 0.01 + 5 if scenario.setup.burst == 0 else refused
    if not (requests or scenario.beside) or wrong or broken:
        raise SystemExit(f"{server.name}, {scenario.title}: {passed} passed, {refused} refused, {broken} broken")
    kinds = {kind: counted.get(kind, 0) for kind in ("full", "resumed")}
    # The first handshake of each connection has no session to resume.
    others = sum(kinds.values()) - kinds.get(scenario.handshakes, 0)
    if scenario.handshakes and others > scenario.connections:
        raise SystemExit(f"{server.name}, {scenario.title}: handshakes {kinds}")


def compare(scenario, names, world, rounds, seconds):
    """All rounds of one scenario; `names` has weir between its peers."""
    servers = [world.start(name, scenario.setup) for name in names]
    return measure(scenario, servers, world, rounds, seconds)


def same(world, rounds, seconds):
    """weir against itself: the ratio has to contain 1."""
    scenario = next(one for one in SCENARIOS if one.key == "S1-32")
    servers = [world.start("weir", scenario.setup), world.start("weir", scenario.setup)]
    servers[1].name = "weir again"
    done = measure(scenario, servers, world, rounds, seconds)
    done["scenario"] |= {"title": "A/A: weir against itself", "key": "A/A"}
    return done


def measure(scenario, servers, world, rounds, seconds):
    """The rounds of running servers, after one that warms up. The servers are stopped."""
    for server in servers:
        load(server, scenario, seconds, world)
    done = []
    for number in range(rounds):
        order = servers if number % 2 == 0 else servers[::-1]
        done.append([load(server, scenario, seconds, world) for server in order])
    for server in servers:
        server.stop()
    described = {**asdict(scenario), "setup": asdict(scenario.setup)}
    return {"scenario": described, "names": [server.name for server in servers], "rounds": done}


def ratios(rounds, peer, weir="weir"):
    """The peer's cost over that of a build of weir, within each round."""
    pairs = ({one["name"]: one["ns"] for one in members} for members in rounds)
    return [costs[peer] / costs[weir] for costs in pairs]


def interval(values, draws=4000):
    """The median with its 95 % bootstrap interval; the draws are the same each time."""
    source = random.Random(1)
    medians = sorted(statistics.median(source.choices(values, k=len(values))) for _ in range(draws))
    return statistics.median(values), medians[int(draws * 0.025)], medians[int(draws * 0.975)]
