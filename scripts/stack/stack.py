"""The compose stack from outside: one compose tool, one directory, one project; every command has a time-out."""

import http.client
import json
import os
import pty
import signal
import subprocess
import threading
import time
import urllib.parse


class Stack:
    """A project of one compose tool. `tool` is the command as a list."""

    def __init__(self, tool, directory, project, port):
        self.tool, self.directory, self.project, self.port = tool, directory, project, port

    def run(self, *command, timeout=60, check=True, text=True):
        """Runs a command in the stack's directory; its output and errors together."""
        done = subprocess.run(command, cwd=self.directory, timeout=timeout, text=text,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if check and done.returncode != 0:
            tail = done.stdout[-1500:] if text else done.stdout[-1500:].decode(errors="replace")
            raise AssertionError(f"`{' '.join(command)}` ended with {done.returncode}:\n{tail}")
        return done

    def compose(self, *words, **how):
        return self.run(*self.tool, "-p", self.project, *words, **how)

    def docker(self, *words, **how):
        return self.run("docker", *words, **how)

    def bash(self, script, service="auth", **how):
        """A script inside a running container, as `exec SERVICE bash` runs it."""
        return self.compose("exec", "-T", service, "bash", "-c", script, **how)

    def start(self, *words):
        """A command that goes on, in a group of its own with what it starts; its output and errors together."""
        command = [*self.tool, "-p", self.project, *words]
        return subprocess.Popen(command, cwd=self.directory, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, text=True, start_new_session=True)

    def end(self, command, number=signal.SIGKILL):
        """Sends a whole group a signal, as a terminal does."""
        if command.poll() is None:
            os.killpg(command.pid, number)

    def follow(self, words, until, seconds=20):
        """A command that never ends by itself, until a line of it has this word."""
        command = self.start(*words)
        watch = threading.Timer(seconds, self.end, [command])
        watch.start()
        try:
            assert any(until in line for line in command.stdout), f"`{' '.join(words)}` never said `{until}`"
        finally:
            watch.cancel()
            self.end(command)
            command.wait()

    def terminal(self, words, lines, seconds=60):
        """A command in a terminal, where somebody types these lines; what the terminal shows."""
        ours, theirs = pty.openpty()
        command = subprocess.Popen([*self.tool, "-p", self.project, *words], cwd=self.directory, stdin=theirs,
                                   stdout=theirs, stderr=theirs, start_new_session=True)
        os.close(theirs)
        watch = threading.Timer(seconds, self.end, [command])
        watch.start()
        os.write(ours, "".join(f"{line}\n" for line in lines).encode())
        shown = b""
        try:
            while part := os.read(ours, 65536):
                shown += part
        except OSError:  # the other side is closed: it ended
            pass
        watch.cancel()
        os.close(ours)
        text = shown.decode(errors="replace")
        assert command.wait() == 0, f"`{' '.join(words)}` ended with {command.returncode}:\n{text[-1500:]}"
        return text

    def psql(self, sql, user="postgres", database="auth", **how):
        """One answer of the database, as a role that came in by its password."""
        secret = {"postgres": "postgres_password"}.get(user, f"{user}_password")
        script = f'PGPASSWORD=$(cat /run/secrets/{secret}) psql -X -At -h 127.0.0.1 -U {user} {database} -c "$0"'
        return self.compose("exec", "-T", "database", "bash", "-c", script, sql, **how)

    def containers(self, service=None):
        """Their full numbers, those that ended too."""
        # Images that compose 2 builds have its labels, and so has everything that is run from them: only its own have the second.
        labels = ["--filter", f"label=com.docker.compose.project={self.project}", "--filter", "label=com.docker.compose.oneoff=False"]
        if service:
            labels += ["--filter", f"label=com.docker.compose.service={service}"]
        return self.docker("ps", "-aq", "--no-trunc", *labels).stdout.split()

    def inspect(self, service):
        """What the engine knows about a service's one container."""
        found = self.containers(service)
        assert len(found) == 1, f"{service}: {len(found)} containers"
        return json.loads(self.docker("inspect", found[0]).stdout)[0]

    def logs(self, service):
        """Every line of a service, of all its containers."""
        return [line for one in self.containers(service) for line in self.docker("logs", one).stdout.splitlines()]

    def network(self, name):
        return f"{self.project}_{name}"

    def until(self, what, true, seconds=60):
        """Asks again and again."""
        deadline = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
            time.sleep(0.2)

    def healthy(self, *services, seconds=90):
        """Waits until each has one container, and that is healthy; while one is replaced there are two for a moment."""
        for service in services:
            self.until(f"{service} is healthy", lambda: self.health(service) == "healthy", seconds)

    def health(self, service):
        """The health of a service's one container, or nothing while it has none or two. They are listed once: one more may appear meanwhile."""
        found = self.containers(service)
        told = self.docker("inspect", *found, check=False) if len(found) == 1 else None
        if told is None or told.returncode != 0:  # gone since it was listed
            return None
        return json.loads(told.stdout)[0]["State"].get("Health", {}).get("Status")

    def burst(self, name, send, *options):
        """Starts a client in a container of its own, with an address of its own, on the published side."""
        image = self.inspect("webserver")["Config"]["Image"]
        command = ["docker", "run", "--rm", "--name", f"{self.project}-{name}", "--network", self.network("frontend"), image,
                   "bench", "burst", "http://webserver:8080/health/live", "--send", send, *options, "-o", "json"]
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def http(self, method, path, body=None, token=None, headers=None, timeout=15):
        """One request through the published port, on a connection of its own: status, header lines in lower case, body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        headers = dict(headers or {})
        if body is not None:
            headers["content-type"] = "application/json"
        if token:
            headers["authorization"] = f"Bearer {token}"
        try:
            connection.request(method, urllib.parse.quote(path), json.dumps(body) if body is not None else None, headers)
            answer = connection.getresponse()
            return answer.status, [(name.lower(), value) for name, value in answer.getheaders()], answer.read().decode()
        finally:
            connection.close()

    def metrics(self):
        """Auth's counters by name and labels, read inside: they are not published."""
        script = r'exec 3<>/dev/tcp/127.0.0.1/9100; printf "GET /metrics HTTP/1.0\r\n\r\n" >&3; cat <&3'
        lines = self.bash(script).stdout.splitlines()
        pairs = (line.rsplit(" ", 1) for line in lines if line.startswith("auth_"))
        return {name: float(value) for name, value in pairs}
