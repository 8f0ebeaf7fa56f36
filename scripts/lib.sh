# Sourced by the scripts here: collects missing programs and installs them from Debian's archive.

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

missing=()

# need PROGRAM PACKAGE
need() { command -v "$1" >/dev/null 2>&1 || [ -x "/usr/sbin/$1" ] || missing+=("$2"); }

install_missing() {
    [ "${#missing[@]}" -gt 0 ] || return 0
    echo "installing: ${missing[*]}" >&2
    as_root apt-get update -q >&2
    # RUNLEVEL=1 keeps freshly installed servers from being started as services: the tests start private ones.
    as_root env RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}" >&2
}
