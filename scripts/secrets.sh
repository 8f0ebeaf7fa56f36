#!/usr/bin/env bash
# Makes the secrets of the compose stack, all random, as files in `secrets/` (or in the directory named as the argument).
#
#   scripts/secrets.sh                       make them; where they are already, add only those that are missing
#   scripts/secrets.sh --rotate-key [DIR]    sign with the next key from now on; then start auth again:
#                                            docker-compose up -d --force-recreate --no-deps auth
#
# The directory is 0700: on this machine only its owner gets to the files. The files are 0444, because compose mounts each of
# them by itself into containers whose users are others: there the mode of the file is all that counts.
#
# Never overwrites a password: new ones would lock a running database out. To start afresh, remove the directory and the volumes.
set -euo pipefail

rotate=0
if [ "${1:-}" = --rotate-key ]; then
    rotate=1
    shift
fi
directory=${1:-"$(dirname "$(dirname "$0")")/secrets"}

umask 077
# 24 random bytes, in letters, digits, `-` and `_` only: good in a URL as it stands.
random() { head -c 24 /dev/urandom | base64 | tr -d '\n' | tr '+/' '-_'; }

# The SHA-256 of standard input: one of these is on every system.
digest() { if command -v sha256sum > /dev/null; then sha256sum; else shasum -a 256; fi | cut -d' ' -f1; }

# An Ed25519 key in PKCS#8: sixteen fixed bytes, then the 32 random ones.
key() {
    echo '-----BEGIN PRIVATE KEY-----'
    { printf '\060\056\002\001\000\060\005\006\003\053\145\160\004\042\004\040'; head -c 32 /dev/urandom; } | base64
    echo '-----END PRIVATE KEY-----'
}

# Makes a file of what comes in, whole or not at all, unless it is there.
put() {
    local fresh
    if [ -e "$directory/$1" ]; then
        cat > /dev/null
        return
    fi
    fresh=$(mktemp "$directory/.$1.XXXXXX")
    cat > "$fresh"
    chmod 0444 "$fresh"
    mv "$fresh" "$directory/$1"
}

if [ "$rotate" = 1 ]; then
    for name in auth_key auth_key_next; do
        if [ ! -e "$directory/$name.pem" ]; then
            echo "$directory/$name.pem is not there" >&2
            echo "hint: scripts/secrets.sh adds what is missing; start auth again before the key is rotated" >&2
            exit 1
        fi
    done
    # In this order: whatever step is the last, no key that has signed is gone.
    cp "$directory/auth_key.pem" "$directory/.previous" && chmod 0444 "$directory/.previous"
    mv -f "$directory/.previous" "$directory/auth_key_previous.pem"
    mv -f "$directory/auth_key_next.pem" "$directory/auth_key.pem"
    key | put auth_key_next.pem
    echo "rotated: start auth again, docker-compose up -d --force-recreate --no-deps auth"
    exit
fi

mkdir -p "$directory"
before=$(ls "$directory")
chmod 0700 "$directory"
for name in postgres_password auth_migrator_password auth_app_password redis_password; do
    random | put "$name"
done

redis_password=$(cat "$directory/redis_password")
printf 'redis://:%s@redis:6379/0' "$redis_password" | put redis_url

# Redis itself only gets the hash, and its one user may not administer it.
hash=$(printf %s "$redis_password" | digest)
printf 'user default on #%s ~* &* +@all -@admin -@dangerous +info\n' "$hash" | put redis_users

# The next key is published before it signs, and the previous one after: at first it is one that never signed.
for name in auth_key auth_key_next auth_key_previous; do
    key | put "$name.pem"
done

if [ "$(ls "$directory")" = "$before" ]; then
    echo "$directory has all of them already: nothing was changed" >&2
    echo "hint: to start afresh, docker-compose down --volumes && rm -r $directory, then again; the database is lost with it" >&2
    exit
fi
echo "made what was missing: $(cd "$directory" && echo *)"
