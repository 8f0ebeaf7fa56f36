#!/usr/bin/env bash
# Installs what the tests need and is missing, then runs all of them. Nothing else has to be set up.
#
# Needs: a Rust toolchain, a C compiler, python3, and Debian's package archive for the rest.
set -euo pipefail
cd "$(dirname "$0")/.."

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

missing=()
need() { command -v "$1" >/dev/null 2>&1 || [ -x "/usr/sbin/$1" ] || missing+=("$2"); }
need nginx nginx-light
need python3 python3
need strace strace
need redis-server redis-server
need cc gcc
[ -n "$(find /usr/lib/postgresql -name initdb 2>/dev/null)" ] || missing+=(postgresql)

if [ "${#missing[@]}" -gt 0 ]; then
    echo "installing: ${missing[*]}"
    as_root apt-get update -q
    # RUNLEVEL=1 keeps freshly installed servers from being started as services: the tests start private ones.
    as_root env RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}"
fi

echo "== format"
cargo fmt --all --check
echo "== lints"
cargo clippy --workspace --all-targets -- -D warnings
echo "== tests"
cargo test --workspace --no-fail-fast
echo "== documentation"
RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --quiet

# The compose stack in real containers takes minutes and root: STACK=1 runs it and insists on it, STACK=auto runs it where it can.
if [ "${STACK:-0}" = 0 ]; then
    echo "== stack: left out (STACK=1 runs it)"
else
    echo "== stack"
    stack=0
    scripts/stack-test.sh || stack=$?
    if [ "$stack" -eq 3 ] && [ "${STACK:-0}" != 1 ]; then
        echo "the stack was NOT tested here; everything else was"
    elif [ "$stack" -ne 0 ]; then
        exit "$stack"
    fi
fi
echo "all passed"
