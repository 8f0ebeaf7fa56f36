#!/usr/bin/env bash
# Builds weir with a profile of its own traffic: profile-guided optimization (PGO), profile `dist`.
#
#   scripts/release.sh [OUT]     the program goes to OUT, target/trained/weir if it is left out
#
# Two builds and half a minute of load on loopback between them (scripts/train.py). A build without a
# profile is the usual one; docs/benchmarks.md has both beside each other. The profile depends on the
# sources and on LLVM, so it is made anew each time and not kept.
#
# LLVM_PROFDATA names the program that merges profiles. It must be of the LLVM of rustc (`rustc -vV`):
# Debian's package llvm-22, or `rustup component add llvm-tools`.
set -euo pipefail
cd "$(dirname "$0")/.."

. scripts/lib.sh
need python3 python3
need openssl openssl
need curl curl
install_missing

out="${1:-target/trained/weir}"
target="${CARGO_TARGET_DIR:-target}"
# Named, so that the flags are not those of build scripts and macros.
host="$(rustc -vV | sed -n 's/^host: //p')"
llvm="$(rustc -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')"

profdata="${LLVM_PROFDATA:-}"
for found in "$(rustc --print sysroot)/lib/rustlib/$host/bin/llvm-profdata" \
    "$(command -v "llvm-profdata-$llvm" || true)"; do
    if [ -z "$profdata" ] && [ -x "$found" ]; then profdata="$found"; fi
done
if [ -z "$profdata" ]; then
    echo "no llvm-profdata of LLVM $llvm: install Debian's llvm-$llvm, or \`rustup component add llvm-tools\`," >&2
    echo "or set LLVM_PROFDATA" >&2
    exit 1
fi

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

build() {
    RUSTFLAGS="${RUSTFLAGS:-} $1" cargo build --profile dist --locked --package weir --bin weir --target "$host" \
        --target-dir "$target/$2"
}

build "-Cprofile-generate=$work/raw" train
# %m: one file a binary, that its runs are added to.
LLVM_PROFILE_FILE="$work/raw/weir-%m.profraw" python3 scripts/train.py "$target/train/$host/dist/weir"
"$profdata" merge --output "$work/weir.profdata" "$work/raw"
build "-Cprofile-use=$work/weir.profdata" trained
mkdir -p "$(dirname "$out")"
cp "$target/trained/$host/dist/weir" "$out"
echo "trained: $out"
