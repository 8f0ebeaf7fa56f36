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

import counts
import peers
import report
import rounds
from client import Client


class World:
    """The origin, and every proxy that is started in front of it. Leaving it ends them all."""

    def __init__(self, weir):
        self.weir, self.servers, self.configs = str(Path(weir).resolve()), [], {}
        self.base = Path(tempfile.mkdtemp(prefix="compare-", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None))

    def __enter__(self):
        self.home = Path.cwd()
        os.chdir(self.base)
        self.origin = peers.start_origin(self.base)
        self.servers.append(self.origin)
        self.configs["origin"] = self.origin.config
        return self

    def __exit__(self, *_):
        for server in reversed(self.servers):
            if server.process.poll() is None:
                server.stop()
        os.chdir(self.home)
        shutil.rmtree(self.base, ignore_errors=True)

    def start(self, name, setup, under=()):
        """A proxy that answers as it should."""
        server = peers.start(name, setup, self.origin.port, self.base, self.weir, under)
        self.servers.append(server)
        self.configs.setdefault(f"{name} {setup}", server.config)
        if not under:
            prove(server, setup)
        return server


def prove(server, setup):
    """The proxy passes bodies whole, tells the origin who asks, and limits where it is to limit."""
    client = Client(server.port)
    told = client.get("/told")
    if setup.burst:
        fields = told[1].decode().split("|")
        wrong = told[0] != 200 or fields[:2] != ["127.0.0.1"] * 2 or fields[3] != "a.test" or not all(fields)
        sizes = {name: len(client.get(f"/{name}")[1]) for name in peers.FILES}
        wrong = wrong or sizes != peers.FILES
    else:
        statuses = [client.get()[0] for _ in range(20)]
        wrong = told[0] != 200 or statuses.count(503) < 18
    client.close()
    if wrong:
        raise SystemExit(f"{server.name} does not do the work of this comparison: {told}")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weir", default="target/dist/weir", help="the binary to measure")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=int, default=1, help="of each measurement")
    parser.add_argument("--only", default="", help="scenarios, comma-separated: " + ",".join(one.key for one in rounds.SCENARIOS))
    parser.add_argument("--quick", action="store_true", help="a smoke test: two rounds of four scenarios")
    parser.add_argument("--no-counts", action="store_true")
    parser.add_argument("--no-times", action="store_true")
    parser.add_argument("--out", type=Path, default=peers.HERE / "results", help="the folder raw rounds go to")
    parser.add_argument("--markdown", type=Path, metavar="JSON", help="only print the report of an earlier run")
    parser.add_argument("--into", type=Path, metavar="FILE", help="put the report behind the heading `## Results` of this file")
    return parser.parse_args()


def measure(asked, run):
    """Everything that was asked for, into `run`."""
    peer_names = [name for name in ("nginx", "haproxy") if name == "nginx" or shutil.which("haproxy", path="/usr/sbin:/usr/bin")]
    run["versions"] = {"weir": peers.version(asked.weir, "version"), "nginx": peers.version(peers.find("nginx"), "-v")}
    run["versions"]["wrk"] = peers.version(peers.find("wrk"), "-v").split(" [")[0]
    if "haproxy" in peer_names:
        run["versions"]["haproxy"] = peers.version(peers.find("haproxy"), "-v")
    wanted = asked.only.split(",") if asked.only else rounds.QUICK if asked.quick else [one.key for one in rounds.SCENARIOS]
    with World(asked.weir) as world:
        run["configs"] = world.configs
        if not asked.no_counts:
            say("counts")
            run["counts"] = counts.count(["weir", *peer_names], world, much=not asked.quick)
        if not asked.no_times:
            say("A/A")
            run["comparisons"].append(rounds.same(world, asked.rounds, asked.seconds))
            for scenario in (one for one in rounds.SCENARIOS if one.key in wanted):
                say(scenario.title)
                run["comparisons"].append(rounds.compare(scenario, ["nginx", "weir", *peer_names[1:]], world, asked.rounds, asked.seconds))
                if scenario.defaults and not asked.quick:
                    run["comparisons"].append(rounds.compare(scenario, ["nginx at defaults", "weir"], world, asked.rounds, asked.seconds))
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


def show(run, into):
    text = report.markdown(run)
    print(text)
    if into:
        kept = into.read_text().split("## Results\n", 1)[0]
        into.write_text(f"{kept}## Results\n\n{text}")


def main():
    asked = arguments()
    if asked.markdown:
        return show(json.loads(asked.markdown.read_text()), asked.into)
    if asked.quick:
        asked.rounds = 2
    now = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
    command = " ".join(["scripts/bench.sh", *(word for word in sys.argv[1:] if "/" not in word and word not in ("--weir", "--into", "--out"))])
    run = {
        "date": now.isoformat(), "kernel": f"Linux {platform.release()}", "cores": os.cpu_count(), "cpu": cpu(), "command": command,
        "rounds": asked.rounds, "seconds": asked.seconds, "disturbed": compiling(), "counts": [], "comparisons": [],
    }
    out, into = asked.out.resolve(), asked.into and asked.into.resolve()
    measure(asked, run)
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{now:%Y-%m-%dT%H%M%SZ}.json"
    path.write_text(json.dumps(run, indent=1))
    show(run, into)
    say(f"raw rounds: {path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}")
    return None


if __name__ == "__main__":
    main()
