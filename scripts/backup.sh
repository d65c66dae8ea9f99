#!/usr/bin/env bash
# Back up this repository: 'invoke backup', with nothing to install beforehand but Python 3.11 and git.
#   scripts/backup.sh [what 'invoke backup' takes, e.g. --version 1.1.0]
set -euo pipefail

here=${BASH_SOURCE[0]}
while [[ -L $here ]]; do
  target=$(readlink "$here")
  [[ $target == /* ]] || target=$(dirname "$here")/$target
  here=$target
done
source "$(dirname "$here")/venv.sh"

prepare_venv requirements.txt
cd "$repository"
exec "$python" -m invoke backup "$@"
