#!/usr/bin/env bash
# Installs what the tests need and is missing, then runs all of them. Nothing else has to be set up.
#
#   --slow   run what takes too long for every change instead: a million requests of real clients, and half an hour of soak
#
# Needs: a Rust toolchain, a C compiler, python3, and Debian's package archive for the rest.
set -euo pipefail
cd "$(dirname "$0")/.."

slow=0
case ${1:-} in
    "") ;;
    --slow) slow=1 ;;
    *) echo "usage: $0 [--slow]" >&2; exit 2 ;;
esac

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

missing=()
need() { command -v "$1" >/dev/null 2>&1 || [ -x "/usr/sbin/$1" ] || missing+=("$2"); }
need nginx nginx-light
need python3 python3
need node nodejs
need haproxy haproxy
need curl curl
[ -n "$(find /usr/lib/uwsgi -name python3_plugin.so 2>/dev/null)" ] || missing+=(uwsgi-core uwsgi-plugin-python3)
[ "$slow" = 0 ] || need h2load nghttp2-client
/usr/bin/python3 -c 'import grpc' 2>/dev/null || missing+=(python3-grpcio)
need strace strace
need redis-server redis-server
need cc gcc
need fail2ban-regex fail2ban
need pgbouncer pgbouncer
need chromium chromium
[ -n "$(find /usr/lib/postgresql -name initdb 2>/dev/null)" ] || missing+=(postgresql)
[ -n "$(find /usr/lib -path '*/faketime/libfaketimeMT.so.1' 2>/dev/null)" ] || missing+=(libfaketime)

if [ "${#missing[@]}" -gt 0 ]; then
    echo "installing: ${missing[*]}"
    as_root apt-get update -q
    # RUNLEVEL=1 keeps freshly installed servers from being started as services: the tests start private ones.
    as_root env RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}"
fi

if [ "$slow" = 1 ]; then
    echo "== slow tests"
    cargo test --release --test slow -- --test-threads 1
    echo "== soak"
    WEIR_SOAK=${WEIR_SOAK:-30m} cargo test --release --test soak -- --nocapture
    echo "all passed"
    exit
fi

echo "== format"
cargo fmt --all --check
echo "== lints"
cargo clippy --workspace --all-targets -- -D warnings
echo "== tests"
cargo test --workspace --no-fail-fast
echo "== documentation"
RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --quiet

# The compose stack in real containers, with the programs the tests above just used. It needs root and a kernel that lets containers
# run: where it cannot, the end says so, and STACK=1 makes that a failure. STACK=0 leaves it out.
stack=0
if [ "${STACK:-auto}" = 0 ]; then
    echo "== stack: left out"
else
    echo "== stack"
    STACK_BIN=${STACK_BIN:-${CARGO_TARGET_DIR:-target}/debug} scripts/stack-test.sh || stack=$?
fi
case $stack in
    0) echo "all passed" ;;
    3) echo "all passed BUT THE STACK, WHICH WAS NOT TESTED: containers cannot run here (see above)"
       [ "${STACK:-auto}" != 1 ] || exit 3 ;;
    *) exit "$stack" ;;
esac
