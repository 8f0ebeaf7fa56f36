#!/bin/bash
# Runs before the service. With MIGRATE=1 the database is brought up to date first, and a revision that fails keeps the service
# from starting; its file and line are the last thing in the log. The role for it comes from MIGRATIONS_PGUSER and
# MIGRATIONS_PGPASSWORD_FILE.
#
# The compose file leaves this to its own service, `migrate`. Use it where one container is all there is.
set -euo pipefail

if [ "${MIGRATE:-0}" = 1 ]; then
    migrate upgrade head --wait 60s
fi

exec "$@"
