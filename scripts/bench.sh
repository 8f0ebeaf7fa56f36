#!/usr/bin/env bash
# Measures weir beside nginx and HAProxy; docs/benchmarks.md explains the output.
#
# Installs missing programs, builds the release binary, and hands all arguments to benches/compare/compare.py:
#   scripts/bench.sh [--quick] [--gates] [--rounds N] [--seconds N] [--only S1-32,S3] [--no-counts] [--no-times] [--into docs/benchmarks.md]
# WEIR=path measures an existing binary. TRAINED=path and RELEASE=path add other builds of weir, NGINX=path and HAPROXY=path
# a current nginx and HAProxy beside Debian's. FORCE=1 measures although something is being compiled.
set -euo pipefail
cd "$(dirname "$0")/.."

. scripts/lib.sh
need nginx nginx-light
need haproxy haproxy
need wrk wrk
need h2load nghttp2-client
need openssl openssl
need cc gcc
[ -e /usr/include/stdio.h ] || missing+=(libc6-dev)
need strace strace
need valgrind valgrind
need python3 python3
need taskset util-linux
need pgrep procps

install_missing

if pgrep -x 'cargo|rustc' >/dev/null && [ "${FORCE:-0}" != 1 ]; then
    echo "something is being compiled, which spoils every time: wait for it, or FORCE=1 for the counts alone" >&2
    exit 1
fi

if [ -z "${WEIR:-}" ]; then
    cargo build --profile dist --bin weir
    WEIR="${CARGO_TARGET_DIR:-target}/dist/weir"
fi
ulimit -n "$(ulimit -Hn)"
exec env PYTHONDONTWRITEBYTECODE=1 python3 benches/compare/compare.py --weir "$WEIR" "$@"
