"""The load generators: each runs for a given time against one proxy and says what it counted."""

import contextlib
import json
import math
import re
import signal
import subprocess
import time

import peers
import programs

NOTHING = {"requests": 0, "refused": 0, "broken": 0, "p99": 0}


def run(server, scenario, seconds, world):
    """The load of a scenario, as a dictionary of what was counted."""
    if scenario.streams:
        return h2load(server, scenario, seconds)
    return wrk(server, scenario, seconds, world)


def wrk(server, scenario, seconds, world):
    """Requests of HTTP/1.1 over many connections, one after the other on each."""
    headers = [*scenario.headers, *(["Connection: close"] if scenario.close else [])]
    under = []
    if scenario.handshakes:
        under = ["env", f"LD_PRELOAD={world.handshakes}", f"HANDSHAKES={scenario.handshakes}"]
    script = programs.HERE / "count.lua"
    command = wrk_command(scenario.connections, seconds, "-s", script, under=under)
    command += [word for header in headers for word in ("-H", header)] + [url(server, scenario)]
    command += ["--", str(scenario.body)] if scenario.body else []
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    # wrk takes whole seconds. It ends in order on an interrupt, and counts the time itself.
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    if process.returncode == -signal.SIGINT:
        # It had not even begun.
        return NOTHING | {"microseconds": round(seconds * 1e6)}
    if process.returncode:
        raise SystemExit(f"wrk failed at {server.name}: {errors}{output}")
    counted = json.loads(output.splitlines()[-1])
    return counted | json.loads(errors.splitlines()[-1]) if scenario.handshakes else counted


def wrk_command(connections, seconds, *more, under=()):
    program = ["taskset", "-c", peers.LOAD_CORE, *under, programs.find("wrk")]
    return [*program, "-t1", f"-c{connections}", f"-d{math.ceil(seconds) + 1}s", *map(str, more)]


def url(server, scenario):
    """The scenario's URL. With TLS it has a name: an address is no server name."""
    origin = "https://localhost" if scenario.setup.tls else "http://127.0.0.1"
    return f"{origin}:{server.port}{scenario.path}"


@contextlib.contextmanager
def downloads(server, count, seconds):
    """So many clients that download meanwhile, at full speed by the time this begins."""
    if not count:
        yield
        return
    command = [*peers.YIELDING, *wrk_command(count, seconds), f"http://127.0.0.1:{server.port}/16m"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as others:
        time.sleep(0.5)
        yield
        others.terminate()


def h2load(server, scenario, seconds):
    """Requests of HTTP/2 over TLS, many at the same time on each connection."""
    command = ["taskset", "-c", peers.LOAD_CORE, programs.find("h2load"), "-t1"]
    command += [f"-c{scenario.connections}", f"-m{scenario.streams}", "-D", f"{seconds * 1000:.0f}ms"]
    command += [f"--connect-to=127.0.0.1:{server.port}", f"https://a.test{scenario.path}"]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    needed = ("TLS Protocol: TLSv1.3", "Application protocol: h2\n")
    if any(line not in output for line in needed):
        raise SystemExit(f"{server.name} speaks no HTTP/2 over TLS 1.3:\n{output}")
    (done,) = numbers(r"(\d+) done", output)
    broken = numbers(r"(\d+) failed, (\d+) errored, (\d+) timeout", output)
    (passed,) = numbers(r"codes: (\d+) 2xx", output)
    # Requests without a response as the time ended are neither done nor broken.
    return {
        "requests": done, "microseconds": round(elapsed(output) * 1e6),
        "refused": done - passed, "broken": sum(broken),
    }


def elapsed(output):
    """The seconds of a run of h2load."""
    number, unit = re.search(r"finished in ([\d.]+)(us|ms|s|m)", output).groups()
    return float(number) * {"us": 1e-6, "ms": 1e-3, "s": 1, "m": 60}[unit]


def numbers(pattern, output):
    return [int(group) for group in re.search(pattern, output).groups()]
