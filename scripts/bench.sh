#!/usr/bin/env bash
# Measures weir beside nginx and HAProxy; docs/benchmarks.md says how to read what it prints.
#
# Installs what is missing, builds the release binary, and hands all arguments to benches/compare/compare.py:
#   scripts/bench.sh [--quick] [--rounds N] [--seconds N] [--only S1-32,S3] [--no-counts] [--no-times] [--into docs/benchmarks.md]
# WEIR=path measures a binary that is there already. FORCE=1 measures although something is being compiled.
set -euo pipefail
cd "$(dirname "$0")/.."

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

missing=()
need() { command -v "$1" >/dev/null 2>&1 || [ -x "/usr/sbin/$1" ] || missing+=("$2"); }
need nginx nginx-light
need haproxy haproxy
need wrk wrk
need strace strace
need valgrind valgrind
need python3 python3
need taskset util-linux
need pgrep procps

if [ "${#missing[@]}" -gt 0 ]; then
    echo "installing: ${missing[*]}" >&2
    as_root apt-get update -q >&2
    # RUNLEVEL=1 keeps what is freshly installed from being started as a service.
    as_root env RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}" >&2
fi

if pgrep -x 'cargo|rustc' >/dev/null && [ "${FORCE:-0}" != 1 ]; then
    echo "something is being compiled, which spoils every time: wait for it, or FORCE=1 for the counts alone" >&2
    exit 1
fi

if [ -z "${WEIR:-}" ]; then
    cargo build --release --bin weir
    WEIR="${CARGO_TARGET_DIR:-target}/release/weir"
fi
ulimit -n "$(ulimit -Hn)"
exec env PYTHONDONTWRITEBYTECODE=1 python3 benches/compare/compare.py --weir "$WEIR" "$@"
