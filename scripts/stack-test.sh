#!/usr/bin/env bash
# Runs the compose stack in real containers and holds it to its promises, S1 to S11, with docker-compose 1.29 and docker compose 2.
#
# Uses the Docker Engine that runs, or installs Debian's and starts it by hand in a directory of its own; uses base images that are
# there or that a registry gives, or makes stand-ins from Debian's packages. Compiles here, not in containers. At the end
# everything it made is gone but a cache of archives in ~/.cache/weir-stack.
#
#   STACK_BIN=DIR       use DIR/weir and DIR/auth instead of compiling
#   STACK_TOOLS="v1"    only one of the tools (default "v1 v2")
#   STACK_ONLY="s7 s8"  only these checks
#   STACK_KEEP=1        leave the stack up after a failure until Enter is pressed
#   STACK_PULL=0        never ask a registry
#
# Exit codes: 0 all passed, 1 a check failed, 3 the stack cannot run here (and nothing was tested).
set -euo pipefail
cd "$(dirname "$0")/.."

WORK=$(mktemp -d /tmp/weir-stack.XXXXXX)
RAN=()

say() { printf '   %s\n' "$*"; }
. scripts/lib.sh

cannot() {
    {
        echo
        echo "!!!! THE STACK WAS NOT TESTED: $1"
        echo "!!!! S1 to S11 say nothing about this machine. STACK=0 silences this."
        echo
    } >&2
    exit 3
}

cleanup() {
    local code=$? project
    trap - EXIT INT TERM
    for project in "${RAN[@]}"; do remove_project "$project"; done
    if [ -n "${ENGINE_PID:-}" ]; then engine_stop; elif [ "${#RAN[@]}" -gt 0 ]; then
        docker image rm --force "auth:$TAG" "weir:$TAG" > /dev/null 2>&1 || true
        standins_remove
    fi
    as_root rm -rf "$WORK" || true
    exit "$code"
}

# Whatever carries the project's label.
remove_project() {
    local label=label=com.docker.compose.project=$1 kind
    docker ps -aq --filter "$label" | xargs -r docker rm --force --volumes > /dev/null 2>&1 || true
    docker ps -aq --filter "name=^$1-" | xargs -r docker rm --force > /dev/null 2>&1 || true
    for kind in network volume; do
        docker "$kind" ls -q --filter "$label" | xargs -r docker "$kind" rm > /dev/null 2>&1 || true
    done
}

# What the working tree has, tracked or about to be, and nothing else: as a clone would be.
clone() {
    mkdir "$WORK/clone"
    git ls-files -co --exclude-standard -z | xargs -0 sh -c 'for f; do [ ! -e "$f" ] || printf "%s\0" "$f"; done' sh \
        | xargs -0 cp --parents -t "$WORK/clone"
}

binaries() {
    local from=${STACK_BIN:-} name
    mkdir "$WORK/clone/prebuilt"
    if [ -z "$from" ]; then
        say "compiling weir and auth"
        timeout 1500 cargo build --release --quiet --package weir --package auth || return 1
        from=${CARGO_TARGET_DIR:-target}/release
    fi
    for name in weir auth; do
        cp "$from/$name" "$WORK/clone/prebuilt/$name" && strip "$WORK/clone/prebuilt/$name" || return 1
    done
    # The images have the C library of Debian 12.
    local needs
    needs=$(grep -aoh 'GLIBC_2\.[0-9]*' "$WORK/clone/prebuilt/"* | sort -V | tail -n 1)
    [ "$(printf '%s\n' "$needs" GLIBC_2.36 | sort -V | tail -n 1)" = GLIBC_2.36 ] \
        || cannot "programs compiled here need $needs, and the images have GLIBC_2.36"
}

# Below the ports that the kernel gives to outgoing connections: one of those would be taken again before the stack is up.
free_port() {
    python3 - << 'END'
import random, socket
for port in random.sample(range(20000, 32000), 200):
    with socket.socket() as listener:
        try:
            listener.bind(("0.0.0.0", port))
        except OSError:
            continue
        print(port)
        break
END
}

build_with() {
    (cd "$WORK/clone" && timeout 300 "$@" build > "$WORK/build.log" 2>&1) || { tail -n 20 "$WORK/build.log" >&2; return 1; }
}

# run_with NAME TOOL...: every check with one compose tool, in a project of its own.
run_with() {
    local name=$1 project=weirstack$$$1
    shift
    echo "== the stack with $("$@" version --short 2> /dev/null | sed "s/^/$* /" || echo "$*")"
    RAN+=("$project")
    build_with "$@" || return 1
    HTTP_PORT=$(free_port)
    export HTTP_PORT
    local code=0
    timeout 900 python3 scripts/stack/checks.py "$WORK/clone" "$HTTP_PORT" "$project" "$@" || code=1
    if [ $code -ne 0 ] && [ "${STACK_KEEP:-0}" = 1 ]; then
        echo "kept: cd $WORK/clone; export TAG=$TAG DOCKER_HOST=${DOCKER_HOST:-}; $* -p $project ps   (Enter ends it)"
        read -r
    fi
    remove_project "$project"
    return $code
}

main() {
    # shellcheck source-path=SCRIPTDIR source=stack/images.sh
    . scripts/stack/images.sh
    # shellcheck source-path=SCRIPTDIR source=stack/engine.sh
    . scripts/stack/engine.sh
    trap cleanup EXIT
    trap 'exit 130' INT TERM
    export DOCKER_BUILDKIT=1 BIN_FROM=prebuilt TAG=stacktest$$

    echo "== engine and images for the stack"
    command -v python3 > /dev/null || cannot "python3 is missing"
    engine_start || cannot "no Docker Engine runs, and none could be started"
    clone
    (cd "$WORK/clone" && scripts/secrets.sh > /dev/null)
    local set=$WORK/clone/.env
    image gcr.io/distroless/cc-debian12 bare && image debian:bookworm-slim debian \
        && image "$(sed -n 's/^REDIS_IMAGE=//p' "$set")" redis && image "$(sed -n 's/^POSTGRES_IMAGE=//p' "$set")" postgres \
        && image nginx:1 nginx \
        || cannot "a base image is missing and no stand-in could be made"
    binaries || { echo "weir and auth cannot be compiled or copied" >&2; exit 1; }

    local tool tested=0 failed=0
    for tool in ${STACK_TOOLS:-v1 v2}; do
        case $tool in
            v1) if docker-compose version --short 2> /dev/null | grep -q '^1\.'; then
                    tested=1; run_with v1 docker-compose || failed=1
                else say "NOT TESTED with docker-compose 1.x: it is not here"; fi ;;
            v2) if compose_v2; then
                    tested=1; run_with v2 docker compose || failed=1
                else say "NOT TESTED with docker compose 2.x: it is not here and could not be fetched"; fi ;;
        esac
    done
    [ $tested = 1 ] || cannot "there is no compose tool"
    exit $failed
}

main
