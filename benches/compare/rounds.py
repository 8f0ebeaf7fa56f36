"""CPU time per request, in rounds: weir between two peers, the order turned around every time (A B C, C B A ...)."""

import contextlib
import json
import random
import statistics
import subprocess
import time
from dataclasses import asdict, dataclass

import peers


@dataclass(frozen=True)
class Scenario:
    """One row: what is asked for, over how many connections, what the answers must be, and how many clients download beside it."""

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


SCENARIOS = (
    Scenario("S1-1", "S1 keep-alive GET, 1 connection", connections=1),
    Scenario("S1-32", "S1 keep-alive GET, 32 connections", defaults=True),
    Scenario("S1-256", "S1 keep-alive GET, 256 connections", connections=256),
    Scenario("S2-64k", "S2 64 KiB down", path="/64k", per="MiB", requests_per=16.0),
    Scenario("S2-1m", "S2 1 MiB down", path="/1m", connections=8, per="MiB", defaults=True),
    Scenario("S2-beside", "S2 GETs on 1 connection beside 64 downloads of 16 MiB", connections=1, beside=64, per="GET at p99"),
    Scenario("S3", "S3 a connection per request", close=True, per="connection"),
    Scenario("S6-off", "S6 reject flood, logs off", setup=peers.REJECTING, per="503"),
    Scenario("S6-logs", "S6 reject flood, default logs", setup=peers.REJECTING_LOGGED, per="503"),
)
QUICK = ("S1-32", "S2-64k", "S3", "S6-off")


def load(server, scenario, seconds):
    """One measurement: CPU time of the proxy, or the 99th percentile beside others, and what the load generator counted."""
    command = wrk(scenario.connections, seconds, "-s", str(peers.HERE / "count.lua"))
    command += ["-H", "Connection: close"] if scenario.close else []
    with downloads(server, scenario.beside, seconds + 2):
        before = server.cpu_ns()
        answer = subprocess.run([*command, url(server, scenario.path)], capture_output=True, text=True, check=True)
    cpu = settled(server) - before
    server.forget_logs()
    counted = json.loads(answer.stdout.splitlines()[-1])
    fits(server, scenario, counted)
    seconds = counted["microseconds"] / 1e6
    rest = {"name": server.name, "cpu_ns": cpu, "rps": counted["requests"] / seconds, "busy": cpu / 1e9 / seconds}
    cost = counted["p99"] * 1000 if scenario.beside else cpu / counted["requests"] * scenario.requests_per
    return {**rest, "requests": counted["requests"], "ns": cost}


def wrk(connections, seconds, *more):
    return ["taskset", "-c", peers.LOAD_CORE, peers.find("wrk"), "-t1", f"-c{connections}", f"-d{seconds}s", *more]


def url(server, path):
    return f"http://127.0.0.1:{server.port}{path}"


@contextlib.contextmanager
def downloads(server, count, seconds):
    """So many clients that download meanwhile, at full speed by the time this begins."""
    if not count:
        yield
        return
    with subprocess.Popen([*wrk(count, seconds), url(server, "/16m")], stdout=subprocess.DEVNULL) as others:
        time.sleep(0.5)
        yield
        others.terminate()


def settled(server):
    """Its CPU time once it has closed its connections and is quiet."""
    seen, now = -1, server.cpu_ns()
    while now - seen > 200_000:
        time.sleep(0.01)
        seen, now = now, server.cpu_ns()
    return now


def fits(server, scenario, counted):
    """Stops everything when the answers are not those of the scenario: then nothing was compared."""
    requests, refused, broken = counted["requests"], counted["refused"], counted["broken"]
    passed = requests - refused
    wrong = passed > requests * 0.01 + 5 if scenario.setup.burst == 0 else refused
    if not requests or wrong or broken:
        raise SystemExit(f"{server.name}, {scenario.title}: {passed} passed, {refused} refused, {broken} broken")


def compare(scenario, names, world, rounds, seconds):
    """All rounds of one scenario; `names` has weir between its peers."""
    servers = [world.start(name, scenario.setup) for name in names]
    for server in servers:
        load(server, scenario, 1)
    done = []
    for number in range(rounds):
        order = servers if number % 2 == 0 else servers[::-1]
        done.append([load(server, scenario, seconds) for server in order])
    for server in servers:
        server.stop()
    return {"scenario": {**asdict(scenario), "setup": asdict(scenario.setup)}, "names": list(names), "rounds": done}


def same(world, rounds, seconds):
    """weir against itself: the ratio has to contain 1."""
    scenario = next(one for one in SCENARIOS if one.key == "S1-32")
    one, other = world.start("weir", scenario.setup), world.start("weir", scenario.setup)
    other.name = "weir again"
    for server in (one, other):
        load(server, scenario, 1)
    done = []
    for number in range(rounds):
        order = (one, other) if number % 2 == 0 else (other, one)
        done.append([load(server, scenario, seconds) for server in order])
    for server in (one, other):
        server.stop()
    return {"scenario": {**asdict(scenario), "title": "A/A: weir against itself"}, "names": ["weir", "weir again"], "rounds": done}


def ratios(rounds, peer):
    """The peer's cost over weir's, within each round."""
    pairs = ({one["name"]: one["ns"] for one in members} for members in rounds)
    return [costs[peer] / costs["weir"] for costs in pairs]


def interval(values, draws=4000):
    """The median with its 95 % bootstrap interval; the draws are the same each time."""
    source = random.Random(1)
    medians = sorted(statistics.median(source.choices(values, k=len(values))) for _ in range(draws))
    return statistics.median(values), medians[int(draws * 0.025)], medians[int(draws * 0.975)]
