#!/usr/bin/env bash
# Make requirements.txt and requirements-dev.txt again from pyproject.toml, and the lock of the application that the
# tests release from its package.json. Needs uv and npm.
# Versions that still fit stay as they are; scripts/lock.sh --upgrade takes the newest.
set -euo pipefail
cd -P "$(dirname "$0")/.."
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

put() { # put OUTPUT LINES: write them there, unless they hold an address
  if grep -nE '://|(^|[ =])(/|~|file:)' <<<"$2"; then
    echo "lock.sh: $1 would hold an address, see above; it stays as it was" >&2
    exit 1
  fi
  printf '%s\n' "$2" >"$1"
}

# Extras are not stripped: pip takes coverage[toml] for pinned only if the lock says coverage[toml]==….
lock() { # lock OUTPUT WHAT [OPTION…]
  local output=$1 what=$2 new=$scratch/$1
  shift 2
  cp "$output" "$new" # whose versions uv keeps
  uv pip compile --quiet --no-config --universal --python-version 3.11 --generate-hashes --no-strip-extras \
    --no-emit-index-url --no-emit-find-links --no-header "$@" pyproject.toml --output-file "$new"
  put "$output" "# $what: exact versions and their SHA-256, for Python 3.11 to 3.14 on Linux and macOS.
# It names no index: yours is used. Made from pyproject.toml by scripts/lock.sh; do not edit.
$(grep -v '^# ' "$new")"
}

lock_application() { # lock_application [--upgrade]
  local folder=tests/e2e/application
  cp "$folder"/*.json "$scratch"
  [[ ${1-} != --upgrade ]] || rm "$scratch/package-lock.json"
  npm install --prefix "$scratch" --package-lock-only --silent --no-audit --no-fund
  put "$folder/package-lock.json" "$(node -e '
    const lock = JSON.parse(require("fs").readFileSync(process.argv[1]));
    for (const entry of Object.values(lock.packages)) { delete entry.resolved; delete entry.funding; }
    console.log(JSON.stringify(lock, null, 2));
  ' "$scratch/package-lock.json")"
}

lock requirements.txt "What the software needs to run" "$@"
lock requirements-dev.txt "What its tests and builds need as well" --group dev --constraint requirements.txt "$@"
lock_application "$@"
