#!/usr/bin/env bash
# Makes the secrets of the compose stack, all random, as files in `secrets/` (or in the directory named as the argument).
#
# The directory is 0700: on this machine only its owner gets to the files. The files are 0444, because compose mounts each of
# them by itself into containers whose users are others: there the mode of the file is all that counts.
#
# Never overwrites: new passwords would lock a running database out. To start afresh, remove the directory and the volumes.
set -euo pipefail

directory=${1:-"$(dirname "$0")/../secrets"}

if [ -e "$directory" ]; then
    echo "$directory is there already: nothing was changed" >&2
    echo "hint: docker-compose down --volumes && rm -r $directory, then again; the database is lost with it" >&2
    exit 1
fi

umask 077
fresh=$(mktemp -d "$directory.XXXXXX")
trap 'rm -rf "$fresh"' EXIT

# 24 random bytes, in letters, digits, `-` and `_` only: good in a URL as it stands.
random() { head -c 24 /dev/urandom | base64 | tr -d '\n' | tr '+/' '-_'; }

put() { cat > "$fresh/$1"; }

for name in postgres_password auth_migrator_password auth_app_password redis_password; do
    random | put "$name"
done

redis_password=$(cat "$fresh/redis_password")
printf 'redis://:%s@redis:6379/0' "$redis_password" | put redis_url

# Redis itself only gets the hash, and its one user may not administer it.
hash=$(printf %s "$redis_password" | sha256sum | cut -d' ' -f1)
printf 'user default on #%s ~* &* +@all -@admin -@dangerous +info\n' "$hash" | put redis_users

# An Ed25519 key in PKCS#8: sixteen fixed bytes, then the 32 random ones.
{
    echo '-----BEGIN PRIVATE KEY-----'
    { printf '\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20'; head -c 32 /dev/urandom; } | base64
    echo '-----END PRIVATE KEY-----'
} | put auth_key.pem

chmod 0444 "$fresh"/*
chmod 0700 "$fresh"
mv -T "$fresh" "$directory"
trap - EXIT
echo "made: $(cd "$directory" && echo *)"
