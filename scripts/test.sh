#!/usr/bin/env bash
# Check style, types and imports, then run the tests with coverage; stops at the first that fails.
#   scripts/test.sh [arguments for pytest; with any, coverage is not asked for]
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/venv.sh"

stage() { # stage NAME COMMAND…
  echo "== $1" >&2
  "${@:2}" || fail "stopped: $1 failed (exit $?)"
}

prepare_venv requirements-dev.txt
cd "$repository"
stage "ruff check" "$python" -m ruff check
stage "ruff format" "$python" -m ruff format --check
stage "mypy --strict" "$python" -m mypy --strict
stage "lint-imports" "$python" -c 'from importlinter.cli import lint_imports_command as lint; lint()'
[[ $# -gt 0 ]] || set -- --numprocesses=auto --dist=loadfile --cov --cov-report=term-missing:skip-covered
stage "pytest" "$python" -m pytest "$@"
