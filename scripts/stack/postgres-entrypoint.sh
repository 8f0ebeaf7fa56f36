#!/bin/bash
# The stand-in for the database image's own entrypoint, as far as the stack needs it: an empty volume is filled, the scripts in
# /docker-entrypoint-initdb.d run by psql against a server that only listens on its socket, then the real one starts.
set -euo pipefail
export PATH=/usr/lib/postgresql/17/bin:$PATH
if [ "$1" = postgres ] && [ ! -s "$PGDATA/PG_VERSION" ]; then
    password=$(cat "$POSTGRES_PASSWORD_FILE")
    # The initdb arguments are several words.
    # shellcheck disable=SC2086
    initdb --username=postgres --pwfile=<(printf '%s\n' "$password") ${POSTGRES_INITDB_ARGS:-}
    printf 'host all all all scram-sha-256\n' >> "$PGDATA/pg_hba.conf"
    printf "listen_addresses = '*'\n" >> "$PGDATA/postgresql.conf"
    pg_ctl -D "$PGDATA" -o "-c listen_addresses=''" -w start
    for script in /docker-entrypoint-initdb.d/*.sql; do
        PGPASSWORD=$password psql -v ON_ERROR_STOP=1 --no-password --no-psqlrc -U postgres -f "$script"
    done
    pg_ctl -D "$PGDATA" -m fast -w stop
    unset password
fi
exec "$@"
