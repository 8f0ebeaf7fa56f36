"""The servers of the comparison: each from its template in this folder, the proxy alone on one core, the origin on the other."""

import os
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import programs

PROXY_CORE, LOAD_CORE = "0", "1"
FILES = {"64k": 64 * 1024, "1m": 1024 * 1024}
DOWNLOAD = {"16m": 16 * 1024 * 1024}
# Large downloads yield the core to small requests, so that the tail of these is the proxy's.
YIELDING = ("nice", "-n", "19")
CERTIFICATE, KEY, BOTH = "cert.pem", "key.pem", "both.pem"


@dataclass(frozen=True)
class Setup:
    """The settings that all proxies of one scenario have in common.

    `rate` is in requests a second. With `delay`, requests ahead of it wait instead of passing.
    `deferred` listeners hand a connection over when its first bytes are there."""

    rate: int = 1_000_000
    burst: int = 100_000
    logs: bool = False
    tls: bool = False
    deferred: bool = False
    delay: bool = False


PASSING = Setup()
PASSING_LOGGED = Setup(logs=True)
PASSING_TLS = Setup(tls=True)
PASSING_DEFERRED = Setup(deferred=True)
PARKING = Setup(rate=1, burst=5_000, delay=True)
REJECTING = Setup(rate=1, burst=0)
REJECTING_LOGGED = Setup(rate=1, burst=0, logs=True)


@dataclass
class Server:
    """A running server."""

    name: str
    port: int
    process: subprocess.Popen
    config: str
    folder: Path
    logs: list = field(default_factory=list)

    def pids(self):
        """Its processes: the one that was started and all below it."""
        found, left = [], [self.process.pid]
        while left:
            pid = left.pop()
            found.append(pid)
            for task in Path(f"/proc/{pid}/task").iterdir():
                left += [int(child) for child in (task / "children").read_text().split()]
        return found

    def cpu_ns(self):
        """CPU time of all its threads so far, in nanoseconds."""
        tasks = [task for pid in self.pids() for task in Path(f"/proc/{pid}/task").iterdir()]
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks)

    def rss(self):
        """Resident bytes that its processes have written.

        Pages of the program's file are left out, because other processes share them by chance."""
        total = 0
        for pid in self.pids():
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith(("Private_Dirty:", "Shared_Dirty:")):
                    total += int(line.split()[1]) * 1024
        return total

    def forget_logs(self):
        """Empties its log files: they lie in memory."""
        for log in self.logs:
            if log.exists():
                os.truncate(log, 0)

    def stop(self):
        """Ends it, and waits for that. nginx may sleep through a signal that comes just before it waits, so it is told again."""
        for _ in range(10):
            self.process.terminate()
            try:
                self.process.wait(1)
                return
            except subprocess.TimeoutExpired:
                continue
        self.process.kill()
        self.process.wait()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(name, setup, world, under=(), core=PROXY_CORE):
    """Starts the proxy `name` of this world; `under` is a command it runs under, like valgrind.

    `@dir@` in that command is the folder of the proxy."""
    folder = Path(world.base) / f"{name.replace(' ', '-')}-{time.monotonic_ns()}"
    folder.mkdir()
    port, kind, program = free_port(), programs.kind(name), world.programs[name]
    if kind == "relay":
        command, config = [program, port, world.origin.port], ""
    else:
        values = {"port": port, "origin": world.origin.port, "downloads": world.downloads.port, "dir": folder}
        values |= {"rate": setup.rate, "burst": setup.burst}
        values |= VALUES[kind](name, setup, folder, world, bool(under))
        path, config = write(TEMPLATES[kind], folder, values)
        command = {
            "weir": [program, "run", "-c", path],
            "nginx": [program, "-p", folder, "-c", path, "-e", folder / "start.log"],
            "haproxy": [program, "-db", "-f", path],
        }[kind]
    under = [word.replace("@dir@", str(folder)) for word in under]
    pinned = ["taskset", "-c", core, *under, *command]
    return launch(name, port, pinned, config, folder)


def weir_values(_name, setup, folder, world, _single):
    pair = f"{{ cert: {world.base / CERTIFICATE}, key: {world.base / KEY} }}"
    return {
        "access_log": folder / "access.log" if setup.logs else "none",
        "tls": f", tls: {{ certificates: [ {pair} ] }}" if setup.tls else "",
        "delay": "max_wait: 1h" if setup.delay else "nodelay: true",
    }


def nginx_values(name, setup, folder, world, single):
    tuned = not name.endswith("at defaults")
    old = programs.number(world.programs[name], "-v") < (1, 25, 1)
    flags = [word for word, on in (("ssl", setup.tls), ("http2", setup.tls and old)) if on]
    pair = f"ssl_certificate {world.base / CERTIFICATE}; ssl_certificate_key {world.base / KEY};"
    tls = f"{pair} ssl_protocols TLSv1.3;{'' if old else ' http2 on;'}"
    burst = f"burst={setup.burst}{'' if setup.delay else ' nodelay'}"
    return {
        "process": process_lines(single),
        "access_log": folder / "access.log" if setup.logs else "off",
        "error_log": f"{folder}/error.log" if setup.logs else "/dev/null crit",
        "burst": burst if setup.burst else "",
        "listen": " ".join(flags + ["deferred"] * setup.deferred),
        "tls": tls if setup.tls else "",
        "pool": "keepalive 1024; keepalive_requests 1000000000; keepalive_timeout 60s;" if tuned else "",
        "tuned": 'proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffer_size 16k; '
        "proxy_buffers 16 64k; proxy_busy_buffers_size 128k; proxy_max_temp_file_size 0;" if tuned else "",
    }


def haproxy_values(_name, setup, _folder, world, _single):
    logs, pair = setup.logs, world.base / BOTH
    tls = f"ssl crt {pair} alpn h2,http/1.1 ssl-min-ver TLSv1.3" if setup.tls else ""
    return {
        "log": "log stdout format raw local0" if logs else "",
        "scheme": "https" if setup.tls else "http",
        "httplog": "log global\n    option httplog" if logs else "",
        "listen": " ".join([tls, "defer-accept" if setup.deferred else ""]),
    }


VALUES = {"weir": weir_values, "nginx": nginx_values, "haproxy": haproxy_values}
TEMPLATES = {"weir": "weir.yaml", "nginx": "nginx.conf", "haproxy": "haproxy.cfg"}


def process_lines(single):
    user = "user root;" if os.geteuid() == 0 else ""
    return f"{user} master_process off;" if single else user


def start_origin(base, name, sizes, under=()):
    """Starts an origin with files of these sizes beside the load generator."""
    folder = Path(base) / name
    (folder / "files").mkdir(parents=True)
    for file, size in sizes.items():
        (folder / "files" / file).write_bytes(b"x" * size)
    port = free_port()
    path, config = write("origin.conf", folder, {"port": port, "dir": folder, "process": process_lines(False)})
    command = ["taskset", "-c", LOAD_CORE, *under, programs.find("nginx"), "-p", folder, "-c", path]
    return launch(name, port, [*command, "-e", folder / "start.log"], config, folder)


def write(template, folder, values):
    text = (programs.HERE / template).read_text()
    for key, value in values.items():
        text = text.replace(f"@{key}@", str(value))
    path = folder / template
    path.write_text(text)
    return path, text


def launch(name, port, command, config, folder):
    output = folder / "output.log"
    with open(output, "ab") as sink:
        process = subprocess.Popen([str(part) for part in command], stdout=sink, stderr=sink)
    server = Server(name, port, process, config, folder, [output, folder / "access.log", folder / "error.log"])
    deadline = time.monotonic() + 60
    while not accepts(port):
        if process.poll() is not None or time.monotonic() > deadline:
            server.stop()
            raise SystemExit(f"{name} does not start: {output.read_text()[-2000:]}")
        time.sleep(0.01)
    return server


def accepts(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
