#!/usr/bin/env python3
"""weir beside nginx and HAProxy: one command, one run, one report. docs/benchmarks.md says how to read it."""

import argparse
import datetime
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import chart
import counts
import gates
import memory
import peers
import programs
import proofs
import report
import rounds
from client import tls_context


class World:
    """The origin, and every proxy that is started in front of it. Leaving it ends them all."""

    def __init__(self, weir):
        self.programs, self.servers, self.configs = programs.proxies(weir), [], {}
        self.names = list(self.programs)
        self.base = Path(tempfile.mkdtemp(prefix="compare-", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None))

    def __enter__(self):
        self.home = Path.cwd()
        os.chdir(self.base)
        try:
            self.prepare()
        except BaseException:
            self.__exit__()
            raise
        return self

    def prepare(self):
        """Makes what the rows need: certificate, relay, the counter of handshakes, origin."""
        programs.certify(self.base, peers.CERTIFICATE, peers.KEY, peers.BOTH)
        self.tls = tls_context(self.base / peers.CERTIFICATE)
        self.programs["nginx at defaults"] = self.programs["nginx"]
        self.programs["relay"] = programs.compile_c("relay.c", self.base)
        self.handshakes = programs.compile_c("handshakes.c", self.base, "-shared", "-fPIC")
        self.origin = peers.start_origin(self.base, "origin", peers.FILES)
        self.downloads = peers.start_origin(self.base, "downloads", peers.DOWNLOAD, peers.YIELDING)
        self.servers += [self.origin, self.downloads]
        self.configs["origin"] = self.origin.config

    def __exit__(self, *_):
        for server in reversed(self.servers):
            if server.process.poll() is None:
                server.stop()
        os.chdir(self.home)
        shutil.rmtree(self.base, ignore_errors=True)

    def start(self, name, setup, under=(), core=peers.PROXY_CORE):
        """A proxy that responds as it should."""
        server = peers.start(name, setup, self, under, core)
        self.servers.append(server)
        self.configs.setdefault(f"{name} {setup}", server.config)
        if not under:
            proofs.prove(server, setup, self.tls if setup.tls else None)
        return server


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weir", default="target/dist/weir", help="the binary to measure")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, help="of each measurement; 0.7 or, with more than three programs, less")
    parser.add_argument("--only", default="", help="scenarios, comma-separated: " + ",".join(one.key for one in rounds.SCENARIOS))
    parser.add_argument("--quick", action="store_true", help="a smoke test: two short rounds of each scenario, fewer counts")
    parser.add_argument("--gates", action="store_true", help="count a request of weir, and fail where it costs more than gates.py allows")
    parser.add_argument("--no-counts", action="store_true")
    parser.add_argument("--no-times", action="store_true")
    parser.add_argument("--out", type=Path, default=programs.HERE / "results", help="the folder raw rounds go to")
    parser.add_argument("--markdown", type=Path, metavar="JSON", help="only print the report of an earlier run")
    parser.add_argument("--into", type=Path, metavar="FILE", help="put the report behind the heading `## Results` of this file")
    return parser.parse_args()


def scenarios(only):
    """The scenarios that were asked for, all without a word."""
    by_key = {one.key: one for one in rounds.SCENARIOS}
    wanted = only.split(",") if only else list(by_key)
    if unknown := set(wanted) - set(by_key):
        raise SystemExit(f"no such scenario: {', '.join(sorted(unknown))}, hint: there are {', '.join(by_key)}")
    return [one for one in rounds.SCENARIOS if one.key in wanted]


def measure(asked, chosen, run, world):
    """Everything that was asked for, with the times of the chosen scenarios, into `run`."""
    run["configs"] = world.configs
    if not asked.no_counts:
        say("counts")
        run["counts"] = counts.count(world.names, world, much=not asked.quick)
        say("memory")
        run["memory"] = memory.measure(world.names, world, much=not asked.quick)
    if not asked.no_times:
        say("A/A")
        run["comparisons"].append(rounds.same(world, asked.rounds, asked.seconds))
        for scenario in chosen:
            say(scenario.title)
            compared(scenario, world.names + ["relay"] * scenario.floor, asked, run, world)
            if scenario.defaults and not asked.quick:
                compared(scenario, ["nginx at defaults", "weir"], asked, run, world)


def compared(scenario, names, asked, run, world):
    """The rounds of one scenario, into `run`."""
    run["comparisons"].append(rounds.compare(scenario, names, world, asked.rounds, asked.seconds))
    run["disturbed"] += compiling()


def say(what):
    print(f"{time.strftime('%H:%M:%S')} {what}", file=sys.stderr, flush=True)


def compiling():
    """Whether somebody compiles beside us."""
    return int(subprocess.run(["pgrep", "-x", "cargo|rustc"], capture_output=True, check=False).returncode == 0)


def cpu():
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def show(run, raw, into):
    """Writes the chart beside the raw rounds, prints the report, and puts it into a document."""
    drawn = raw.with_suffix(".svg")
    if run["comparisons"]:
        drawn.write_text(chart.svg(run))
    print(report.markdown(run))
    if into:
        link = os.path.relpath(drawn, into.parent) if run["comparisons"] else ""
        kept = into.read_text().split("## Results\n", 1)[0]
        into.write_text(f"{kept}## Results\n\n{report.markdown(run, link)}")


def command():
    """This run's command, without paths."""
    words = [word for word in sys.argv[1:] if "/" not in word and word not in ("--weir", "--into", "--out")]
    return " ".join([programs.given(), "scripts/bench.sh", *words]).strip()


def default_seconds(programs_measured, quick):
    """A measurement's seconds: a run takes about as long with more programs as with three."""
    return 0.25 if quick else round(0.7 * min(1, 3 / programs_measured), 2)


def check_gates(world):
    """Counts a request of each kind, and fails where one costs more than it may."""
    with world:
        rows = gates.medians([counts.count(["weir"], world, much=True) for _ in range(gates.RUNS)])
    print(report.counts(rows))
    if found := gates.exceeded(rows):
        raise SystemExit("\n".join(found))


def main():
    asked = arguments()
    out, into = asked.out.resolve(), asked.into and asked.into.resolve()
    if asked.markdown:
        raw = asked.markdown.resolve()
        return show(json.loads(raw.read_text()), raw, into)
    chosen = scenarios(asked.only)
    world = World(asked.weir)
    if asked.gates:
        return check_gates(world)
    if asked.quick:
        asked.rounds = 2
    asked.seconds = asked.seconds or default_seconds(len(world.names), asked.quick)
    now = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
    run = {
        "date": now.isoformat(), "command": command(), "rounds": asked.rounds, "seconds": asked.seconds,
        "kernel": f"Linux {platform.release()}", "cores": os.cpu_count(), "cpu": cpu(),
        "disturbed": compiling(), "counts": [], "memory": [], "comparisons": [],
        "versions": programs.versions({name: world.programs[name] for name in world.names}),
    }
    with world:
        measure(asked, chosen, run, world)
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{now:%Y-%m-%dT%H%M%SZ}.json"
    path.write_text(json.dumps(run, indent=1))
    show(run, path, into)
    say(f"raw rounds: {path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}")
    return None


if __name__ == "__main__":
    main()
