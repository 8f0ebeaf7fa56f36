#!/usr/bin/env bash
# Installs missing programs that the tests need, then runs all tests. Nothing else has to be set up.
#
#   --fast   format, lints and the tests without containers and other servers: engine, data path, configuration, house
#   --slow   the tests that take too long for every change instead: a million requests of real clients, half an hour of soak
#
# Needs: a Rust toolchain, a C compiler, python3, and Debian's package archive for the rest.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

usage() { echo "usage: $0 [--fast|--slow]" >&2; exit 2; }

case ${1:-} in
    "") parts=(format lints tests documentation stack) ;;
    --fast) parts=(format lints fast) ;;
    --slow) parts=(slow soak) ;;
    *) usage ;;
esac
[ $# -le 1 ] || usage

passed=()
left_out=()
part=installation

# The last line names the parts that ran and those that did not, however the script ends.
summary() {
    local code=$? rest=("${parts[@]:${#passed[@]} + ${#left_out[@]}}")
    if [ "$code" = 0 ] && [ "${#left_out[@]}" = 0 ]; then
        echo "all passed: ${passed[*]}"
    elif [ "$code" = 0 ]; then
        echo "passed: ${passed[*]}; NOT RUN: ${left_out[*]}"
    elif [ "$part" = installation ]; then
        echo "FAILED: installation; NOT RUN: ${parts[*]}"
    else
        echo "FAILED: $part; passed: ${passed[*]:-nothing}; NOT RUN: ${left_out[*]}${left_out:+ }${rest[*]:1}"
    fi
}
trap summary EXIT

need python3 python3
need cc gcc
if [ "${1:-}" != --fast ]; then
    need nginx nginx-light
    need node nodejs
    need haproxy haproxy
    need curl curl
    [ -n "$(find /usr/lib/uwsgi -name python3_plugin.so 2>/dev/null)" ] || missing+=(uwsgi-core uwsgi-plugin-python3)
    [ "${1:-}" != --slow ] || need h2load nghttp2-client
    /usr/bin/python3 -c 'import grpc' 2>/dev/null || missing+=(python3-grpcio)
    need strace strace
    need redis-server redis-server
    need fail2ban-regex fail2ban
    need pgbouncer pgbouncer
    need chromium chromium
    need chromedriver chromium-driver
    [ -n "$(find /usr/lib/postgresql -name initdb 2>/dev/null)" ] || missing+=(postgresql)
    [ -n "$(find /usr/lib -path '*/faketime/libfaketimeMT.so.1' 2>/dev/null)" ] || missing+=(libfaketime)
fi
install_missing

run_format() { cargo fmt --all --check; }
run_lints() { cargo clippy --workspace --all-targets -- -D warnings; }
run_tests() { cargo test --workspace --no-fail-fast; }
run_fast() { cargo test --lib --test house --test config --test edge && cargo test --package weir-limit; }
run_documentation() { RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --quiet; }
run_slow() {
    WEIR_SLOW=1 cargo test --release --test serve -- --include-ignored --test-threads 1 \
        real::grpc real::h2load real::haproxy real::node real::quiet
    scripts/bench.sh --gates
}
run_soak() { WEIR_SOAK=${WEIR_SOAK:-30m} cargo test --release --test soak -- --nocapture; }

# The compose stack in real containers, with the programs the tests above just used. It needs root and a kernel that runs
# containers. Where it cannot run, it exits with 3: STACK=1 makes that a failure, and STACK=0 leaves the stack out.
run_stack() {
    [ "${STACK:-auto}" != 0 ] || return 3
    STACK_BIN=${STACK_BIN:-${CARGO_TARGET_DIR:-target}/debug} scripts/stack-test.sh
}

for part in "${parts[@]}"; do
    echo "== $part"
    code=0
    "run_$part" || code=$?
    if [ "$code" = 3 ] && [ "$part" = stack ] && [ "${STACK:-auto}" != 1 ]; then
        left_out+=("$part")
    elif [ "$code" != 0 ]; then
        exit "$code"
    else
        passed+=("$part")
    fi
done
