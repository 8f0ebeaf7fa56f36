# shellcheck shell=bash
# A Docker Engine: the one that runs, or one of our own from Debian's `docker.io`, started by hand in a directory of its own and
# ended, with what it left in the kernel, by engine_stop. And the two compose tools. Needs: `as_root`, `say`, $WORK.

ENGINE_PID=

engine_start() {
    # Debian's client: others in /usr/local may miss the plugins that `docker build` needs.
    export PATH=/usr/bin:/usr/sbin:$PATH
    if timeout 10 docker info > /dev/null 2>&1; then
        say "engine: one is running; it is used and left running"
        return 0
    fi
    engine_install || return 1
    [ "$(id -u)" -eq 0 ] || { say "engine: only root can start one by hand"; return 1; }
    engine_before
    setsid dockerd --data-root "$WORK/engine" --exec-root "$WORK/exec" --pidfile "$WORK/dockerd.pid" \
        --host "unix://$WORK/docker.sock" > "$WORK/dockerd.log" 2>&1 < /dev/null &
    ENGINE_PID=$!
    export DOCKER_HOST=unix://$WORK/docker.sock
    local deadline=$((SECONDS + 40))
    until timeout 5 docker info > /dev/null 2>&1; do
        if [ $SECONDS -ge $deadline ] || ! kill -0 "$ENGINE_PID" 2> /dev/null; then
            say "engine: dockerd does not come up; the end of its log:"
            tail -n 5 "$WORK/dockerd.log" >&2
            return 1
        fi
        sleep 0.3
    done
    say "engine: $(docker version --format '{{.Server.Version}}'), started by hand"
}

engine_install() {
    local missing=()
    command -v dockerd > /dev/null || missing+=(docker.io)
    command -v iptables > /dev/null || missing+=(iptables)
    command -v mmdebstrap > /dev/null || missing+=(mmdebstrap)
    [ -x /usr/bin/docker-compose ] || missing+=(docker-compose)
    [ "${#missing[@]}" -gt 0 ] || return 0
    command -v apt-get > /dev/null || { say "engine: needs ${missing[*]}, and this is no Debian"; return 1; }
    say "installing: ${missing[*]}"
    as_root timeout 120 apt-get update -q > "$WORK/apt.log" 2>&1 || true # an old list may do
    as_root env RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive timeout 400 \
        apt-get install -y -q --no-install-recommends "${missing[@]}" >> "$WORK/apt.log" 2>&1 \
        || { say "engine: cannot install ${missing[*]}"; tail -n 3 "$WORK/apt.log" >&2; return 1; }
}

# What the kernel has before our engine changes it.
engine_before() {
    FORWARD_BEFORE=$(iptables -S FORWARD 2> /dev/null | head -n 1)
    IP_FORWARD_BEFORE=$(cat /proc/sys/net/ipv4/ip_forward)
    RUN_BEFORE=$(ls -d /run/docker 2> /dev/null || true)
    CHAINS_BEFORE=$(iptables-save 2> /dev/null | grep -c '^:DOCKER' || true)
}

# Ends our own engine, by its number, and takes back its bridge, its chains and its settings.
engine_stop() {
    [ -n "$ENGINE_PID" ] || return 0
    kill "$ENGINE_PID" 2> /dev/null || true
    local deadline=$((SECONDS + 20))
    while kill -0 "$ENGINE_PID" 2> /dev/null && [ $SECONDS -lt $deadline ]; do sleep 0.2; done
    kill -9 "$ENGINE_PID" 2> /dev/null || true
    ENGINE_PID=
    [ -n "$RUN_BEFORE" ] || rm -rf /run/docker
    [ "$CHAINS_BEFORE" = 0 ] || return 0
    ip link delete docker0 2> /dev/null || true
    for table in iptables ip6tables; do
        "$table-save" 2> /dev/null | grep -vE 'DOCKER|docker0|-s 172\.17\.0\.0/16' | "$table-restore" 2> /dev/null || true
    done
    case $FORWARD_BEFORE in *ACCEPT) iptables -P FORWARD ACCEPT ;; esac
    echo "$IP_FORWARD_BEFORE" > /proc/sys/net/ipv4/ip_forward
}

# Puts `docker compose` and buildx into a configuration of our own, from the next Debian's packages, if they are not there.
compose_v2() {
    if docker compose version > /dev/null 2>&1; then return 0; fi
    local cache=$STANDIN_CACHE/plugins plugins
    plugins=$cache/tree/usr/libexec/docker/cli-plugins
    [ -x "$plugins/docker-compose" ] || compose_v2_unpack "$cache" || return 1
    export DOCKER_CONFIG=$WORK/docker-config
    mkdir -p "$DOCKER_CONFIG"
    ln -sfn "$plugins" "$DOCKER_CONFIG/cli-plugins"
    docker compose version > /dev/null 2>&1
}

compose_v2_unpack() {
    local cache=$1 source
    mkdir -p "$cache/parts" "$cache/lists/partial" "$cache/archives/partial"
    source=$(debian_archive)
    [ -n "$source" ] || return 1
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $source trixie main" > "$cache/parts/next.list"
    cat > "$cache/apt.conf" << EOF
Dir::Etc::sourcelist "/dev/null";
Dir::Etc::sourceparts "$cache/parts";
Dir::State::lists "$cache/lists";
Dir::Cache "$cache";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
EOF
    (
        cd "$cache" || exit 1
        export APT_CONFIG=$cache/apt.conf
        timeout 120 apt-get update -q && timeout 120 apt-get download -q docker-compose docker-buildx \
            && for package in ./*.deb; do dpkg-deb -x "$package" tree || exit 1; done
    ) > "$cache/log" 2>&1
}
