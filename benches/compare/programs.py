"""The programs of a run: the packaged ones, those given by path, and those compiled here."""

import os
import re
import shutil
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent
PACKAGES = {
    "nginx": "nginx-light", "haproxy": "haproxy", "wrk": "wrk", "h2load": "nghttp2-client",
    "openssl": "openssl", "strace": "strace", "valgrind": "valgrind", "taskset": "util-linux",
    "pgrep": "procps", "cc": "gcc libc6-dev",
}
# Variables that add a program, and its name in the report.
GIVEN = {
    "NGINX": "nginx current",
    "TRAINED": "weir trained",
    "RELEASE": "weir release",
    "HAPROXY": "haproxy current",
}
# The order within a round: weir's builds stand in the middle of their peers.
ORDER = (
    "nginx current", "nginx", "weir", "weir trained", "weir release", "haproxy", "haproxy current",
)
VERSION = {
    "weir": "version", "nginx": "-v", "haproxy": "-v", "h2load": "--version", "openssl": "version",
}


def find(program):
    """The path of a packaged program."""
    found = shutil.which(program) or shutil.which(program, path="/usr/sbin:/usr/local/sbin")
    if not found:
        package = PACKAGES.get(program, program)
        raise SystemExit(f"`{program}` is not installed, hint: apt-get install {package}")
    return found


def proxies(weir):
    """The proxies of this run by name, in the order of a round. weir is the program at `weir`."""
    for program in PACKAGES:
        find(program)
    found = {name: find(name) for name in ("nginx", "haproxy")}
    found["weir"] = existing("WEIR", weir, "weir")
    for variable, name in GIVEN.items():
        if path := os.environ.get(variable):
            found[name] = existing(variable, path, name)
    return {name: found[name] for name in ORDER if name in found}


def existing(variable, path, name):
    """The full path of a program that was given, once it has said that it is one of these."""
    full, word = Path(path).resolve(), kind(name)
    if not os.access(full, os.X_OK):
        raise SystemExit(f"`{path}` is not a program, hint: {variable}=path names a {word}")
    if word not in version(full, VERSION[word]).lower():
        raise SystemExit(f"`{path}` is not a {word}, hint: {variable}=path names one")
    return str(full)


def kind(name):
    """The program that a name in the report is one of."""
    return name.split()[0]


def given():
    """The variables that add programs to this run, as they stand before the command."""
    return " ".join(f"{variable}=path" for variable in GIVEN if os.environ.get(variable))


def version(program, flag):
    """The first line a program says about its version."""
    said = subprocess.run([program, flag], capture_output=True, text=True, check=False)
    return (said.stdout + said.stderr).strip().split("\n")[0]


def versions(programs):
    """The versions of all programs that take part, by name."""
    found = {name: version(path, VERSION[kind(name)]) for name, path in programs.items()}
    found = {name: text if name in VERSION else f"{name}: {text}" for name, text in found.items()}
    found["wrk"] = version(find("wrk"), "-v").split(" [")[0]
    return found | {name: version(find(name), VERSION[name]) for name in ("h2load", "openssl")}


def number(program, flag):
    """The version of a program in numbers."""
    found = re.search(r"(\d+)\.(\d+)\.(\d+)", version(program, flag))
    return tuple(int(part) for part in found.groups())


def compile_c(source, folder, *flags):
    """Compiles one C file of this folder into `folder`."""
    program = Path(folder) / Path(source).stem
    command = [find("cc"), "-O2", "-Wall", "-Werror", "-o", program, HERE / source, *flags]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    if built.returncode:
        hint = f"hint: apt-get install {PACKAGES['cc']}"
        raise SystemExit(f"cc cannot compile {source}, {hint}\n{built.stderr}")
    return str(program)


def certify(folder, certificate, key, both):
    """Makes a certificate with a key on P-256, as two files and as one."""
    subprocess.run(
        [find("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
        + ["-nodes", "-days", "2", "-subj", "/CN=a.test", "-addext", "subjectAltName=DNS:a.test"]
        + ["-keyout", key, "-out", certificate],
        cwd=folder, check=True, stderr=subprocess.DEVNULL,
    )
    (folder / both).write_text((folder / certificate).read_text() + (folder / key).read_text())
