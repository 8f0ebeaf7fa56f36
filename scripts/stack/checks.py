"""The promises of the compose stack, S1 to S11, each one a function that says what it saw or fails.

    checks.py DIRECTORY PORT PROJECT TOOL...    TOOL is `docker-compose`, or `docker compose`

Prints one line a check and ends with `N passed, N failed`. The order matters: S9 stops the stack.
"""

import concurrent.futures
import json
import os
import pathlib
import re
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback

from stack import Stack

SERVICES = ["webserver", "auth", "database", "redis"]
BROKEN = "29990101000000_broken"


def s1_up_from_a_clean_clone(s):
    """`up -d`: all healthy, migrate exited 0, only webserver publishes a port."""
    began = time.monotonic()
    s.compose("up", "-d", timeout=240)
    s.healthy(*SERVICES)
    state = s.inspect("migrate")["State"]
    assert (state["Status"], state["ExitCode"]) == ("exited", 0), state
    published = {one: s.inspect(one)["HostConfig"]["PortBindings"] or {} for one in SERVICES + ["migrate"]}
    assert [one for one, ports in published.items() if ports] == ["webserver"], published
    network = json.loads(s.docker("network", "inspect", s.network("backend")).stdout)[0]
    assert network["Internal"], network
    assert sorted(s.inspect("webserver")["NetworkSettings"]["Networks"]) == [s.network("backend"), s.network("frontend")]
    for one in ["auth", "database", "redis", "migrate", "whoami"]:
        assert list(s.inspect(one)["NetworkSettings"]["Networks"]) == [s.network("backend")], one
    return f"{time.monotonic() - began:.1f} s"


def blocks(s, heading):
    """Commands of one section of docs/stack.md, block by block, without their comments."""
    page = pathlib.Path(s.directory, "docs/stack.md").read_text()
    text = page.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    found = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    return [[line.split("  #")[0].rstrip() for line in block.splitlines()] for block in found]


def s1_page_word_for_word(s):
    """Commands of docs/stack.md, typed into a terminal: exec auth bash, cd apps, migrate init, revision, upgrade; logs; TAG."""
    start, logs = blocks(s, "Start")[0], blocks(s, "Service log")[0]
    into, create, upgrade = blocks(s, "Database migrations")
    inside = [*create, *upgrade, "exit"]
    assert start == ["scripts/secrets.sh", "docker compose build", "docker compose up"], start  # done before S1, and in S9
    assert into == ["docker compose exec auth bash"], into
    typed = s.terminal(into[0].split()[2:], inside)
    made = re.findall(r"generated \S+_create_initial_tables\.up\.sql", typed)
    assert len(made) == 2, typed  # the built-in one, and the new one
    assert "upgraded 1 revision" in typed, typed
    for line in logs:
        words = line.split()
        assert words[:4] == ["docker", "compose", "logs", "-f"], line
        s.follow(words[2:], "listening")
    tags = {}
    for tag in [None, "local"]:
        environment = {k: v for k, v in os.environ.items() if k != "TAG"} | ({"TAG": tag} if tag else {})
        shown = subprocess.run([*s.tool, "config"], cwd=s.directory, env=environment, text=True, timeout=30,
                               capture_output=True, check=True).stdout
        tags[tag] = sorted({line.split()[-1] for line in shown.splitlines() if "image: auth" in line or "image: weir" in line})
    assert tags == {None: ["auth:dev", "weir:dev"], "local": ["auth:local", "weir:local"]}, tags
    for alias, name in [("db", "database"), ("proxy", "webserver")]:
        addresses = s.bash(f"getent hosts {alias} {name} | cut -d' ' -f1 | sort -u").stdout.split()
        assert len(addresses) == 1, (alias, addresses)
    return f"{len(start + into + inside + logs)} lines, TAG, db and proxy"


def s2_roles_and_nothing_for_public(s):
    """postgres_init.sql runs twice; owner, migrator and app may do what they should; PUBLIC nothing."""
    again = s.compose("exec", "-T", "database", "psql", "-U", "postgres", "-f", "/docker-entrypoint-initdb.d/postgres_init.sql")
    assert "ERROR" not in again.stdout, again.stdout
    source = pathlib.Path(s.directory, "postgres_init.sql").read_text()
    assert sum(line.startswith("--") for line in source.splitlines()) >= 10
    roles = s.psql("SELECT rolname, rolcanlogin, rolsuper FROM pg_roles WHERE rolname LIKE 'auth%' ORDER BY 1").stdout.split()
    assert roles == ["auth_app|t|f", "auth_migrator|t|f", "auth_owner|f|f"], roles
    for ddl in ["CREATE TABLE auth.x ()", "DROP TABLE auth.users", "ALTER TABLE auth.users ADD x int", "CREATE SCHEMA x"]:
        refused = s.psql(ddl, user="auth_app", check=False)
        said = refused.stdout
        assert refused.returncode != 0 and ("permission denied" in said or "must be owner" in said), (ddl, said)
    s.psql("SELECT count(*) FROM auth.users", user="auth_app")
    s.psql("CREATE TABLE auth.x (); DROP TABLE auth.x", user="auth_migrator")
    public = ("SELECT has_database_privilege('public', 'auth', 'connect'), has_schema_privilege('public', 'public', 'usage'), "
              "has_schema_privilege('public', 'auth', 'usage'), has_table_privilege('public', 'auth.users', 'select')")
    assert s.psql(public).stdout.strip() == "f|f|f|f"
    return "twice; DDL refused to auth_app; PUBLIC has nothing"


def s3_no_password_anywhere(s):
    """No secret in a tracked file, an environment, a layer, `docker inspect` or a log; the script never overwrites."""
    directory = pathlib.Path(s.directory, "secrets")
    assert directory.stat().st_mode & 0o777 == 0o700
    files = {path.name: path.read_bytes() for path in directory.iterdir()}
    assert all(path.stat().st_mode & 0o777 == 0o444 for path in directory.iterdir())
    again = s.run("scripts/secrets.sh", check=False)
    assert again.returncode == 0 and files == {path.name: path.read_bytes() for path in directory.iterdir()}
    secret = {name: text.strip() for name, text in files.items() if name.endswith("password")}
    for name in ["auth_key.pem", "auth_key_next.pem", "auth_key_previous.pem"]:
        secret[name] = files[name].split(b"\n")[1]
    assert len(set(secret.values())) == 7 and all(len(value) >= 32 for value in secret.values())
    places = {}
    for path in pathlib.Path(s.directory).rglob("*"):
        inside = path.relative_to(s.directory).parts
        if path.is_file() and inside[0] not in ("secrets", "prebuilt", ".git"):
            places[f"file {path}"] = path.read_bytes()
    for one in SERVICES + ["migrate"]:
        found = s.containers(one)[0]
        places[f"inspect {one}"] = s.docker("inspect", found).stdout.encode()
        places[f"log {one}"] = "\n".join(s.logs(one)).encode()
    for one in ["auth", "database", "redis"]:
        places[f"environment {one}"] = s.bash("cat /proc/*/environ /proc/*/cmdline 2>&1; true", one, text=False).stdout
    for one in ["auth", "webserver"]:
        image = s.inspect(one)["Config"]["Image"]
        places[f"image {image}"] = s.docker("save", image, text=False, timeout=120).stdout
        places[f"history {image}"] = s.docker("history", "--no-trunc", image).stdout.encode()
    seen = [(name, place) for place, text in places.items() for name, value in secret.items() if value in text]
    assert not seen, seen
    return f"{len(secret)} secrets, {len(places)} places"


def s3_another_password(s):
    """A password is changed the way docs/stack.md says, and the old one is refused."""
    path = pathlib.Path(s.directory, "secrets", "auth_app_password")
    old, new = path.read_text(), secrets.token_urlsafe(24)
    path.chmod(0o644)
    path.write_text(new)  # in place: the containers have this very file mounted
    path.chmod(0o444)
    s.compose("exec", "-T", "database", "psql", "-U", "postgres", "-f", "/docker-entrypoint-initdb.d/postgres_init.sql")
    s.compose("up", "-d", "--no-deps", "--force-recreate", "auth", timeout=120)
    s.healthy("auth")
    s.psql("SELECT 1", user="auth_app")
    script = 'PGPASSWORD=$0 psql -h 127.0.0.1 -U auth_app auth -c "SELECT 1"'
    refused = s.compose("exec", "-T", "database", "bash", "-c", script, old, check=False)
    assert refused.returncode != 0 and "authentication failed" in refused.stdout, refused.stdout
    return "changed, and the old one refused"


def s4_migrations_before_serving(s):
    """migrate ended before auth began; a broken revision stops the start and names its line; MIGRATE=1 does it too."""
    ended, began = s.inspect("migrate")["State"]["FinishedAt"], s.inspect("auth")["State"]["StartedAt"]
    assert ended < began, (ended, began)
    s.bash(f"cd apps/migrations && printf 'SELECT 1;\\n\\nSELEC 2;\\n' > {BROKEN}.up.sql && echo > {BROKEN}.down.sql")
    s.compose("down", timeout=90)
    up = s.compose("up", "-d", check=False, timeout=180)
    assert up.returncode != 0, "it started in spite of the broken revision"
    said = "\n".join(s.logs("migrate"))
    assert f"{BROKEN}.up.sql:3" in said, said
    running = [one for one in s.containers("auth") if json.loads(s.docker("inspect", one).stdout)[0]["State"]["Running"]]
    assert not running, "auth serves in spite of the broken revision"
    entry = s.compose("run", "--rm", "-T", "--no-deps", "-e", "MIGRATE=1", "auth", "auth", "--version", check=False)
    assert entry.returncode != 0 and f"{BROKEN}.up.sql:3" in entry.stdout, entry.stdout
    remove = ("-c", f"rm /srv/apps/migrations/{BROKEN}.*")
    s.compose("run", "--rm", "-T", "--no-deps", "--entrypoint", "bash", "migrate", *remove)
    s.compose("up", "-d", timeout=180)
    s.healthy(*SERVICES)
    entry = s.compose("run", "--rm", "-T", "--no-deps", "-e", "MIGRATE=1", "auth", "auth", "--version")
    assert "auth 0." in entry.stdout and "using" in entry.stdout, entry.stdout
    return f"stopped at {BROKEN}.up.sql:3, started when it was gone"


def s4_eight_at_once(s):
    """8 parallel `upgrade head` all succeed and each revision runs once."""
    s.bash("cd apps; migrate downgrade base", timeout=60)
    script = ("cd apps; for i in 1 2 3 4 5 6 7 8; do migrate upgrade head > /tmp/m$i 2>&1 & pids+=($!); done; "
              "for p in ${pids[@]}; do wait $p || echo FAILED; done; cat /tmp/m?; rm /tmp/m?")
    said = s.bash(script, timeout=120).stdout
    ran = sorted(line.split()[2] for line in said.splitlines() if line.startswith("done "))
    assert "FAILED" not in said, said
    # The built-in ones, and the one that docs/stack.md makes.
    count = len(list(pathlib.Path(s.directory, "auth", "migrations").glob("*.up.sql"))) + 1
    assert len(ran) == len(set(ran)) == count, ran
    rows = s.psql("SELECT count(*), count(DISTINCT version) FROM migrations.applied").stdout.strip()
    assert rows == f"{count}|{count}", rows
    return f"8 runs, {count} revisions, each once"


def s1_development_file(s):
    """Both tools take the second file too; it opens nothing but loopback ports, and changes nothing by itself."""
    environment = os.environ | {"DEV_USER": "1234:1234"}
    files = ["-f", "docker-compose.yml", "-f", "docker-compose.dev.yml"]
    shown = subprocess.run([*s.tool, *files, "config"], cwd=s.directory, env=environment, text=True, timeout=30,
                           capture_output=True, check=True).stdout
    assert shown.count("1234:1234") == 2, shown  # auth and migrate
    for port in ["5432", "6379"]:
        short, long = f"127.0.0.1:{port}:{port}", f"host_ip: 127.0.0.1\n        target: {port}"
        assert short in shown or long in shown, shown
    return "auth and migrate as oneself, two loopback ports"


PASSWORD = "a long sentence nobody has used"


def signup(s, name):
    status, _, body = s.http("POST", "/api/v1/signup", {"username": name, "email": f"{name}@example.org", "password": PASSWORD})
    assert status == 201, (status, body)


def person(s, name):
    """Someone new, logged in; the access token."""
    signup(s, name)
    status, _, body = s.http("POST", "/api/v1/login", {"username": name, "password": PASSWORD})
    assert status == 200, (status, body)
    return json.loads(body)["access_token"]


def s1_login_by_browser(s):
    """The login page over plain HTTP, as the stack is published: the cookies are such that a browser keeps and sends them."""
    signup(s, "bob")
    page, origin = s.http("GET", "/login"), f"http://127.0.0.1:{s.port}"
    assert page[0] == 200 and "<form" in page[2], page
    login = {"username": "bob", "password": PASSWORD, "cookie": True}
    status, headers, body = s.http("POST", "/api/v1/login", login, headers={"origin": origin})
    cookies = [value for name, value in headers if name == "set-cookie"]
    assert status == 200 and "access_token" not in body and len(cookies) == 2, (status, headers, body)
    assert all("HttpOnly" in one and "Secure" not in one for one in cookies), cookies
    sent = "; ".join(one.split(";")[0] for one in cookies)
    status, _, body = s.http("GET", "/api/v1/me", headers={"cookie": sent})
    assert status == 200 and json.loads(body)["username"] == "bob", (status, body)
    status, _, _ = s.http("GET", "/whoami", headers={"remote-user": "root"})
    assert status == 401, status
    spoofed = {"cookie": sent, "remote-user": "root", "Remote_User": "root", "remote-roles": "root"}
    status, _, body = s.http("GET", "/whoami", headers=spoofed)
    assert status == 200 and body.startswith("remote-user: bob\n") and "root" not in body, (status, body)
    return "logged in, by cookie; whoami learns it from auth"


def country(s, token):
    status, _, body = s.http("GET", "/api/v1/me", token=token)
    assert status == 200, (status, body)
    return json.loads(body)["country"]


def move(s, token, to):
    status, _, body = s.http("PATCH", "/api/v1/me", {"country": to}, token=token)
    assert status == 200, (status, body)
    assert country(s, token) == to, f"the write of {to} is not visible at once"


def reads(s):
    """Cache reads by outcome."""
    sums = {}
    for name, value in s.metrics().items():
        if name.startswith("auth_cache_reads"):
            outcome = name.split('outcome="')[1].split('"')[0]
            sums[outcome] = sums.get(outcome, 0) + value
    return sums


def alembic_words(s):
    """Subcommands of Alembic that the table of docs/migrations.md has a counterpart for."""
    text = pathlib.Path(s.directory, "docs/migrations.md").read_text().split("| Alembic | here |")[1].split("\n\n")[0]
    rows = [row.split("|")[1:3] for row in text.splitlines() if row.startswith("| `alembic ")]
    names = [re.findall(r"`(?:alembic )?([a-z]+)", theirs) for theirs, ours in rows if not ours.strip().startswith("none")]
    return {name for row in names for name in row if name not in ("base", "head")}


def s4_alembic_under_its_own_name(s):
    """What Alembic's users type, in its order: a revision is run empty first, and written then. Every word of the table of docs/migrations.md."""
    typed = ['mkdir -p /tmp/fresh && cd /tmp/fresh && alembic init migrations', 'cd /srv/apps && alembic revision -m "seed flow"',
             "alembic upgrade head", "alembic current --check-heads", "alembic heads -v"]
    said = s.bash(" && ".join(typed)).stdout
    assert "has no statements yet" in said and "_seed_flow (head)" in said and "message:  seed flow" in said, said
    s.bash("cd apps/migrations; for f in *_seed_flow.up.sql; do echo 'CREATE TABLE auth.seed_flow ();' > $f; done;"
           "for f in *_seed_flow.down.sql; do echo 'DROP TABLE auth.seed_flow;' > $f; done")
    typed += ["alembic upgrade head", "alembic check", "alembic show head"]
    said = s.bash("cd apps; " + " && ".join(typed[-3:])).stdout
    assert "upgraded 1 revision" in said and s.psql("SELECT count(*) FROM auth.seed_flow").stdout.strip() == "0", said
    typed += ["alembic downgrade -1", "alembic history -r base:head", "alembic stamp head", "alembic downgrade -1"]
    said = s.bash("cd apps; " + " && ".join(typed[-4:-1])).stdout
    assert "downgraded 1 revision" in said, said
    s.psql("CREATE TABLE auth.seed_flow ()", user="auth_migrator")  # what was stamped only is there now, to be undone
    s.bash("cd apps; alembic downgrade -1 && rm migrations/*_seed_flow.*; rm -r /tmp/fresh")
    words = set(re.findall(r"alembic ([a-z]+)", " ".join(typed)))
    assert alembic_words(s) == words, (alembic_words(s), words)
    return "run empty, written, run again, undone; " + " ".join(sorted(words))


def s3_another_key(s):
    """The key is rotated the way docs/stack.md says: who is logged in stays so."""
    token = person(s, "kim")
    s.run("scripts/secrets.sh", "--rotate-key")
    s.compose("up", "-d", "--no-deps", "--force-recreate", "auth", timeout=120)
    s.healthy("auth")
    status, _, body = s.http("GET", "/api/v1/me", token=token)
    assert status == 200 and json.loads(body)["username"] == "kim", (status, body)
    status, _, body = s.http("GET", "/.well-known/jwks.json")
    assert status == 200 and len(json.loads(body)["keys"]) == 3, body
    return "who was logged in still is"


def s5_reads_through_redis(s):
    """Hits and misses counted, a write visible at once; redis paused or lost: reads answer and nothing is lost."""
    token = person(s, "ann")
    before = reads(s)
    for _ in range(4):
        assert country(s, token) is None
    after = reads(s)
    assert after.get("hit", 0) > before.get("hit", 0) and after.get("miss", 0) > 0, (before, after)
    move(s, token, "NO")
    s.compose("pause", "redis")
    try:
        assert [country(s, token) for _ in range(5)] == ["NO"] * 5
        move(s, token, "SE")
    finally:
        s.compose("unpause", "redis")
    assert [country(s, token) for _ in range(3)] == ["SE"] * 3
    s.until("redis is used again", lambda: s.metrics().get("auth_redis_up") == 1, 20)
    assert country(s, token) == "SE"
    s.compose("up", "-d", "--no-deps", "--force-recreate", "redis", timeout=90)
    assert country(s, token) == "SE"
    s.until("redis is used again", lambda: s.metrics().get("auth_redis_up") == 1, 30)
    move(s, token, "DK")
    return f"hits {after.get('hit', 0):.0f}, misses {after.get('miss', 0):.0f}; paused and lost: nothing failed, nothing stale"


def s6_one_request_id(s):
    """Both log JSON to stdout, and one id joins their lines."""
    _, headers, _ = s.http("GET", "/health/live")
    request_id = dict(headers)["x-request-id"]
    for one, key in [("webserver", "id"), ("auth", "request_id")]:
        has = lambda: any(request_id in line for line in s.logs(one))
        s.until(f"{one} logs {request_id}", has, 10)
        lines = s.logs(one)
        others = [line for line in lines if not line.startswith("{")]
        assert not others, (one, others[:3])
        assert sum(json.loads(line).get(key) == request_id for line in lines) == 1, one
    return request_id


def finished(s):
    """Requests for /health/live that reached auth."""
    return sum('"path":"/health/live"' in line for line in s.logs("auth"))


def s7_limit_per_address(s):
    """22 at once from each of three containers: 1 at once, 20 each 100 ms, one 503 each; no excess reaches auth."""
    before = finished(s)
    limit = ["--rate", "10r/s", "--burst", "20", "--expect", "pass=1 wait=20 reject=1"]
    clients = [s.burst(f"client{n}", "22 at once", *limit) for n in range(3)]
    late = 0
    for one in clients:
        out, err = one.communicate(timeout=60)
        assert one.returncode == 0, (one.returncode, err[-500:], out[:800])
        seen = json.loads(out)
        assert seen["statuses"] == {"200": 21, "503": 1} and seen["envelope"]["kept"], seen["statuses"]
        ends = sorted(r["end_ms"] - seen["requests"][0]["due_ms"] for r in seen["requests"] if r["status"] == 200)
        assert ends[0] < 100 and ends[-1] >= 2000, ends
        late = max(late, seen["lateness_ms"]["max"])
    s.until("auth logged them", lambda: finished(s) >= before + 63, 10)
    assert finished(s) == before + 63, "what was rejected reached auth"
    return f"3 clients, 63 reached auth, none later than {late:.0f} ms"


def s7_hidden_clients_are_told_of(s):
    """Who comes by the published port from this machine appears as the gateway: weir says so, once."""
    told = lambda: [line for line in s.logs("webserver") if "trusted_proxies" in line]
    with concurrent.futures.ThreadPoolExecutor(60) as pool:
        statuses = list(pool.map(lambda _: s.http("GET", "/health/live")[0], range(240)))
    s.until("weir says that clients are hidden", told, 10)
    gateway = json.loads(told()[0])["fields"]["gateway"]
    network = json.loads(s.docker("network", "inspect", s.network("frontend")).stdout)[0]
    assert gateway == network["IPAM"]["Config"][0]["Gateway"], (gateway, network["IPAM"])
    assert len(told()) == 1, told()
    assert set(statuses) == {200, 503}, statuses
    return gateway


class Traffic:
    """Light traffic through the published port, from now until it is left; what failed, and when."""

    def __init__(self, s):
        self.s, self.sent, self.failed, self.done = s, 0, [], threading.Event()
        self.thread = threading.Thread(target=self.loop)
        self.began = time.monotonic()

    def loop(self):
        while not self.done.wait(0.2):
            self.sent += 1
            at = time.monotonic() - self.began
            try:
                status = self.s.http("GET", "/health/live", timeout=30)[0]
            except OSError as error:
                status = str(error)
            if status != 200:
                self.failed.append((round(at, 1), status))

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.done.set()
        self.thread.join()


def s8_recreate_under_traffic(s):
    """`up -d --force-recreate auth` under light traffic: no request fails."""
    with Traffic(s) as traffic:
        time.sleep(1)
        s.compose("up", "-d", "--no-deps", "--force-recreate", "auth", timeout=120)
        s.healthy("auth")
        time.sleep(8)
    assert not traffic.failed, f"{len(traffic.failed)} of {traffic.sent} failed: {traffic.failed[:5]}"
    return f"{traffic.sent} requests, none failed"


def s8_scale_under_traffic(s):
    """`up -d --scale auth=3` under light traffic: no request fails, and all three get some."""
    with Traffic(s) as traffic:
        s.compose("up", "-d", "--no-deps", "--scale", "auth=3", "auth", timeout=120)
        time.sleep(20)
    try:
        assert not traffic.failed, f"{len(traffic.failed)} of {traffic.sent} failed: {traffic.failed[:5]}"
        shares = [s.docker("logs", one).stdout.count('"path":"/health/live"') for one in s.containers("auth")]
        assert len(shares) == 3 and min(shares) > 0, f"requests of each container: {shares}"
        with Traffic(s) as back:
            s.compose("up", "-d", "--no-deps", "--scale", "auth=1", "auth", timeout=120)
            time.sleep(5)
        assert not back.failed, f"{len(back.failed)} of {back.sent} failed on the way back: {back.failed[:5]}"
    finally:
        s.compose("up", "-d", "--no-deps", "--scale", "auth=1", "auth", timeout=120)
    return f"{traffic.sent} and {back.sent} requests, none failed, shares {shares}"


def s8_reload_in_place(s):
    """`exec webserver weir reload` and `weir healthcheck`, without a port, a shell or the process's number."""
    began = s.inspect("webserver")["State"]["StartedAt"]
    told = s.compose("exec", "-T", "webserver", "weir", "reload")
    assert "configuration reloaded" in told.stdout, (told.stdout, told.stderr)
    s.compose("exec", "-T", "webserver", "weir", "healthcheck")
    assert s.inspect("webserver")["State"]["StartedAt"] == began
    return told.stdout.strip()


def s9_stop(s):
    """`stop` within 10 s with exit codes 0; what was parked or under way is answered."""
    before = sum('"path":"/health/live"' in line for line in s.logs("webserver"))
    client = s.burst("parked", "21 at once")
    s.until("the burst is under way", lambda: sum('"path":"/health/live"' in line for line in s.logs("webserver")) > before, 20)
    began = time.monotonic()
    s.compose("stop", timeout=60)
    took = time.monotonic() - began
    out, err = client.communicate(timeout=60)
    seen = json.loads(out)
    ended = {one: s.inspect(one)["State"] for one in SERVICES}
    codes = {one: state["ExitCode"] for one, state in ended.items()}
    assert not seen["failures"] and set(seen["statuses"]) <= {"200", "503"}, (seen["failures"], seen["statuses"], err[-300:])
    assert codes == dict.fromkeys(SERVICES, 0), codes
    assert s.inspect("whoami")["State"]["ExitCode"] == 0
    assert took <= 10, f"{took:.1f} s, ended at { {one: state['FinishedAt'][11:23] for one, state in ended.items()} }"
    return f"{took:.1f} s, parked requests: {seen['statuses']}"


def s9_up_in_a_terminal(s):
    """`up` in the foreground: everything comes up again, its lines are shown, and Ctrl-C stops all of it."""
    up = s.start("up")
    try:
        s.healthy(*SERVICES)
        s.end(up, signal.SIGINT)
        out, _ = up.communicate(timeout=60)
    finally:
        s.end(up)
    for one in ["auth", "webserver"]:
        assert any(one in line and "listening" in line for line in out.splitlines()), (one, out[-1500:])
    running = [one for one in SERVICES if s.inspect(one)["State"]["Running"]]
    assert not running, running
    return f"{len(out.splitlines())} lines"


def s10_hardening(s):
    """Non-root, read-only, no capabilities, no new privileges, limits; health asked by the programs' own subcommands."""
    own = {"webserver": "weir", "auth": "auth", "database": "pg_isready", "redis": "redis-cli"}
    for one in [*SERVICES, "migrate", "whoami"]:
        told = s.inspect(one)
        host, config = told["HostConfig"], told["Config"]
        assert config["User"].split(":")[0] not in ("", "0", "root"), one
        assert host["ReadonlyRootfs"] and host["CapDrop"] == ["ALL"] and not host["CapAdd"], one
        assert "no-new-privileges:true" in host["SecurityOpt"] and not host["Privileged"], one
        assert host["Memory"] > 0 and host["NanoCpus"] > 0 and host["PidsLimit"] > 0, one
        test = " ".join(config.get("Healthcheck", {}).get("Test", []))
        assert one in ("migrate", "whoami") or own[one] in test, (one, test)
    root = pathlib.Path(s.directory)
    assert len(list(root.glob("*.Dockerfile"))) >= 2
    rules = [line for line in (root / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert rules[0] == "*" and all(rule.startswith("!") for rule in rules[1:]), rules
    proxy = s.inspect("webserver")["Config"]["Image"]
    for shell in ["/bin/sh", "/bin/bash"]:
        assert s.docker("run", "--rm", "--entrypoint", shell, proxy, "-c", "true", check=False).returncode != 0, shell
    for image in [proxy, s.inspect("auth")["Config"]["Image"]]:
        told = json.loads(s.docker("image", "inspect", image).stdout)[0]["Config"]
        assert told["User"] == "10001:10001" and told["StopSignal"] == "SIGTERM", image
    sizes = s.docker("images", "--format", "{{.Repository}} {{.Size}}").stdout.splitlines()
    return ", ".join(line for line in sizes if line.split()[0] in ("auth", "weir"))


def page_of_the_move(s):
    """Commands of the section of docs/from-nginx.md, without `docker compose`."""
    page = pathlib.Path(s.directory, "docs/from-nginx.md").read_text()
    text = page.split("\n## A compose file, in one command\n")[1].split("\n## ")[0]
    command, start = re.findall(r"```bash\n(.*?)\n```", text, re.DOTALL)
    assert start.startswith("docker compose "), start
    return command, start.split()[2:]


def seen(stack):
    """Status and body of a request for each part of nginx.conf; the sample upstream counts its requests."""
    password = {"authorization": "Basic YWRhOm9wZW4gc2VzYW1l"}
    asked = [("/", {}), ("/index.html", {}), ("/no", {}), ("/.git/config", {}), ("/shop/cart", {}), ("/api/whoami", {}), ("/admin/", {}),
             ("/admin/", password), ("/metrics", {}), ("/metrics/x", {}), ("/healthz", {}), *[("/login", {})] * 4]
    found = []
    for path, headers in asked:
        status, _, body = stack.http("GET", path, headers=headers)
        found.append((path, status, re.sub(r"request \d+", "request N", body) if status == 200 else ""))
    return found


def s11_move_from_nginx(s):
    """The compose file of docs/from-nginx.md with nginx, the one command, then with weir: the same responses."""
    directory = pathlib.Path(s.directory, "tests/import/compose_move")
    command, start = page_of_the_move(s)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    os.environ["HTTP_PORT"] = str(port)
    moved = Stack(s.tool, directory, s.project + "move", port)

    def responds():
        try:
            return moved.http("GET", "/healthz", timeout=2)[0] == 200
        except OSError:
            return False

    try:
        # nginx looks up its upstreams when it starts, so they come first.
        moved.compose("up", "-d", timeout=60)
        moved.until("nginx responds", responds, 20)
        assert "nginx" in moved.inspect("web")["Config"]["Image"]
        before = seen(moved)
        assert [status for _, status, _ in before] == [200, 200, 404, 404, 200, 200, 401, 200, 403, 403, 200, 200, 200, 200, 429], before
        told = moved.run("bash", "-c", command)
        assert "unsupported: `" not in told.stdout, told.stdout
        moved.compose(*start, timeout=60)
        moved.until("weir responds", responds, 20)
        assert "weir" in moved.inspect("web")["Config"]["Image"]
        after = seen(moved)
        differences = [(old, new) for old, new in zip(before, after) if old != new]
        assert not differences, differences
        return f"{len(after)} responses as before"
    except AssertionError as error:
        raise AssertionError(f"{error}\n" + "\n".join(moved.logs("web")[-5:])) from error
    finally:
        os.environ["HTTP_PORT"] = str(s.port)
        moved.compose(*start[:-2], "down", "--volumes", timeout=60, check=False)


CHECKS = [
    s1_up_from_a_clean_clone, s10_hardening, s1_page_word_for_word, s1_development_file, s2_roles_and_nothing_for_public,
    s4_migrations_before_serving, s4_eight_at_once, s4_alembic_under_its_own_name, s5_reads_through_redis, s1_login_by_browser, s6_one_request_id,
    s7_limit_per_address, s7_hidden_clients_are_told_of, s3_no_password_anywhere, s3_another_password, s3_another_key,
    s8_recreate_under_traffic, s8_scale_under_traffic, s8_reload_in_place, s11_move_from_nginx, s9_stop, s9_up_in_a_terminal,
]


def main():
    directory, port, project, *tool = sys.argv[1:]
    stack = Stack(tool, directory, project, int(port))
    only = os.environ.get("STACK_ONLY", "").split()
    passed = failed = 0
    checks = [check for check in CHECKS if not only or check is CHECKS[0] or check.__name__.split("_")[0] in only]
    for check in checks:
        number, words = check.__name__.split("_", 1)
        name = f"{number.upper()} {words.replace('_', ' ')}"
        began = time.monotonic()
        try:
            note = check(stack)
            passed += 1
            print(f"pass  {name:<34} {time.monotonic() - began:5.1f} s  {note}", flush=True)
        except Exception as error:  # whatever it is, the other checks still run
            failed += 1
            print(f"FAIL  {name:<34} {time.monotonic() - began:5.1f} s  {error}", flush=True)
            if not isinstance(error, AssertionError):
                traceback.print_exc()
        if failed and check is CHECKS[0]:
            break
    print(f"{passed} passed, {failed} failed", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
