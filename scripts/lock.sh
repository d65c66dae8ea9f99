#!/usr/bin/env bash
# Make requirements.txt and requirements-dev.txt again from pyproject.toml. Needs uv.
# Versions that still fit stay as they are; scripts/lock.sh --upgrade takes the newest.
set -euo pipefail
cd -P "$(dirname "$0")/.."

lock() { # lock OUTPUT WHAT [OPTION…]
  local output=$1 what=$2 lines
  shift 2
  uv pip compile --quiet --no-config --universal --python-version 3.11 --generate-hashes \
    --no-emit-index-url --no-emit-find-links --no-header "$@" pyproject.toml --output-file "$output"
  lines=$(grep -v '^# ' "$output" || true)
  if grep -nE '://|(^|[ =])(/|~|file:)' <<<"$lines"; then
    echo "lock.sh: $output would hold an address, see above" >&2
    exit 1
  fi
  {
    echo "# $what: exact versions and their SHA-256, for Python 3.11 to 3.14 on Linux and macOS."
    echo "# It names no index: yours is used. Made from pyproject.toml by scripts/lock.sh; do not edit."
    echo "$lines"
  } >"$output.new"
  mv "$output.new" "$output"
}

lock requirements.txt "What the software needs to run" "$@"
lock requirements-dev.txt "What its tests and builds need as well" --group dev --constraint requirements.txt "$@"
