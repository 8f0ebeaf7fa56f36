# shellcheck shell=bash
# The images the stack's own are made from. One that is there, or that a registry gives, is used as it is; otherwise a stand-in
# of the same name is made from Debian's packages, labelled, and taken away at the end. Needs: docker, mmdebstrap, `as_root`.

STANDIN_LABEL=weir.stand-in
STANDIN_CACHE=${STACK_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/weir-stack}
STANDINS_MADE=()

# image NAME WHAT: sees to it that an image called NAME is there.
image() {
    local name=$1 what=$2
    if docker image inspect "$name" > /dev/null 2>&1; then
        say "image $name: is there"
    elif [ "${STACK_PULL:-1}" = 1 ] && timeout 20 docker pull --quiet "$name" > /dev/null 2>&1; then
        say "image $name: pulled"
    else
        standin_archive "$what" || return 1
        "import_$what" "$name" > /dev/null || return 1
        STANDINS_MADE+=("$name")
        say "image $name: no registry gave it; a STAND-IN made of Debian's packages is used"
    fi
}

standins_remove() {
    local name
    for name in "${STANDINS_MADE[@]}"; do docker image rm --force "$name" > /dev/null 2>&1 || true; done
}

# The file tree of a stand-in, kept for the next run.
standin_archive() {
    local what=$1 archive=$STANDIN_CACHE/$1.tar suite include
    [ ! -s "$archive" ] || return 0
    mkdir -p "$STANDIN_CACHE"
    command -v mmdebstrap > /dev/null \
        || as_root timeout 200 apt-get install -y -q --no-install-recommends mmdebstrap > "$STANDIN_CACHE/apt.log" 2>&1 || return 1
    local shell=base-files,bash,dash,coreutils,sed,grep,libc-bin,findutils
    case $what in
        bare)     suite=bookworm include=base-files,libc6,libgcc-s1 ;;
        debian)   suite=bookworm include=$shell,libgcc-s1 ;;
        redis)    suite=trixie include=$shell,redis-server,redis-tools ;;
        postgres) suite=trixie include=$shell,postgresql-17 ;;
        nginx)    suite=bookworm include=base-files,nginx-light ;;
    esac
    say "making the stand-in \`$what\` ($suite)"
    local merged=()
    [ "$suite" = trixie ] || merged=(--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr)
    # `extract` unpacks and configures nothing: the little that is missing, import_* adds.
    as_root timeout 300 mmdebstrap --quiet --mode=root --format=tar --variant=extract "${merged[@]}" \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' --include="$include" \
        --extract-hook='ln -sfn ../proc/self/mounts "$1/etc/mtab"; rm -rf "$1/var/run"; ln -s /run "$1/var/run"; chmod 1777 "$1/tmp"' \
        --extract-hook='printf "root:x:0:0:root:/root:/bin/sh\nredis:x:999:999::/data:/bin/sh\n" > "$1/etc/passwd"' \
        --extract-hook='printf "root:x:0:\nredis:x:999:\n" > "$1/etc/group"' \
        --extract-hook='[ '"$what"' != postgres ] || sed -i s/^redis/postgres/ "$1/etc/passwd" "$1/etc/group"' \
        --extract-hook='[ '"$what"' != nginx ] || sed -i s/^redis/nobody/ "$1/etc/passwd"' \
        --extract-hook='[ '"$what"' != nginx ] || sed -i s/^redis/nogroup/ "$1/etc/group"' \
        --extract-hook='install -d -o 999 -g 999 "$1/data" "$1/var/lib/postgresql/data"; rm -rf "$1/docker-entrypoint-initdb.d"' \
        "$suite" "$archive.new" "$(debian_archive)" > "$STANDIN_CACHE/$what.log" 2>&1 \
        || { tail -5 "$STANDIN_CACHE/$what.log" >&2; as_root rm -f "$archive.new"; return 1; }
    as_root chmod 0644 "$archive.new"
    as_root mv "$archive.new" "$archive"
}

# Debian's archive as this machine is set up to reach it.
debian_archive() {
    { sed -n 's/^URIs: *//p' /etc/apt/sources.list.d/*.sources; sed -n 's/^deb  *\(\[[^]]*\] *\)\{0,1\}\([^ ]*\).*/\2/p' /etc/apt/sources.list; } \
        2> /dev/null | grep '/debian/*$' | head -n 1
}

import_bare() { docker import --change "LABEL $STANDIN_LABEL=1" "$STANDIN_CACHE/bare.tar" "$1"; }

import_debian() {
    docker import --change "LABEL $STANDIN_LABEL=1" --change 'CMD ["bash"]' "$STANDIN_CACHE/debian.tar" "$1"
}

import_redis() {
    docker import --change "LABEL $STANDIN_LABEL=1" --change 'WORKDIR /data' --change 'EXPOSE 6379' \
        --change 'CMD ["redis-server"]' "$STANDIN_CACHE/redis.tar" "$1"
}

import_nginx() {
    docker import --change "LABEL $STANDIN_LABEL=1" \
        --change 'CMD ["nginx", "-g", "daemon off;"]' "$STANDIN_CACHE/nginx.tar" "$1"
}

# The entrypoint is the one file that is ours: a layer on top.
import_postgres() {
    docker import --change "LABEL $STANDIN_LABEL=1" "$STANDIN_CACHE/postgres.tar" "$1.files" \
        && STANDINS_MADE+=("$1.files") \
        && docker build --quiet --tag "$1" --file - scripts/stack << EOF
FROM $1.files
COPY postgres-entrypoint.sh /usr/local/bin/docker-entrypoint.sh
ENV PATH=/usr/lib/postgresql/17/bin:/usr/local/bin:/usr/bin:/bin PGDATA=/var/lib/postgresql/data
VOLUME /var/lib/postgresql/data
EXPOSE 5432
STOPSIGNAL SIGINT
LABEL $STANDIN_LABEL=1
ENTRYPOINT ["docker-entrypoint.sh"]
CMD ["postgres"]
EOF
}
