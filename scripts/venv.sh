# Sourced by backup.sh and test.sh: a virtual environment that holds exactly what a lock names.
# shellcheck shell=bash

repository=$(cd -P "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$repository/.venv
python=$venv/bin/python
pythons=(python3.14 python3.13 python3.12 python3.11 python3) # the first of them that will do is used

fail() {
  printf '%s: %s\n' "${0##*/}" "$*" >&2
  exit 1
}

# Make $venv hold what LOCK names, or end with one line that says what is missing.
# What is ready is found so without starting pip; of several at once, one makes it and the others wait.
prepare_venv() { # prepare_venv LOCK
  venv_is_ready "$1" && return
  (
    flock 9 2>/dev/null || true # macOS has no flock
    venv_is_ready "$1" || make_venv "$1"
  ) 9<"$repository/requirements.txt"
}

# The stamp of an environment is written last: the Python it was made for, and the lock it was made from.
stamp() { # stamp LOCK
  "$python" -IS -c 'import sys; print("Python", *sys.version_info[:2])' 2>/dev/null && cat "$repository/$1"
}

venv_is_ready() { # venv_is_ready LOCK
  [[ -x $python && -f $venv/.stamp-$1 && $(stamp "$1") == "$(<"$venv/.stamp-$1")" ]]
}

make_venv() { # make_venv LOCK
  # One that we made before is made anew; one that somebody else made is theirs, and only added to.
  [[ ! -e $venv/.made-by-scripts ]] || rm -rf "$venv"
  if [[ -e $venv || -L $venv ]]; then
    [[ -x $python ]] || fail "$venv is no virtual environment of this computer; remove it and try again"
    echo "Installing what $1 names into $venv …" >&2
    rm -f "$venv"/.stamp-*
  else
    local base
    base=$(find_python) || exit
    echo "Preparing the virtual environment (first use only) …" >&2
    mkdir "$venv" 2>/dev/null || fail "cannot make the folder $venv"
    trap 'rm -rf "$venv"' EXIT
    touch "$venv/.made-by-scripts"
    if has_uv; then
      run "uv cannot make a virtual environment" uv venv --quiet --allow-existing --python "$base" "$venv"
    else
      run "$base cannot make a virtual environment" "$base" -m venv "$venv"
    fi
  fi
  if has_uv; then
    set -- "$1" uv pip install --python "$python"
  else
    set -- "$1" "$python" -m pip --disable-pip-version-check install
  fi
  # Wheels only: what a build would want is in no lock, and would be another thing each day.
  run "what $1 names could not be installed" \
    "${@:2}" --quiet --require-hashes --only-binary :all: --requirement "$repository/$1"
  stamp requirements.txt >"$venv/.stamp-requirements.txt" # requirements-dev.txt names all of it
  stamp "$1" >"$venv/.stamp-$1"
  trap - EXIT
}

has_uv() {
  command -v uv >/dev/null
}

# Run a command unseen; if it fails, show what it said, and end with one line that repeats its last error.
run() { # run LINE COMMAND…
  local said status=0
  said=$(
    unset FORCE_COLOR CLICOLOR_FORCE # pip heeds them before NO_COLOR
    NO_COLOR=1 "${@:2}" 2>&1 </dev/null
  ) || status=$?
  [[ $status -ne 0 ]] || return 0
  [[ -z $said ]] || printf '%s\n' "$said" >&2
  said=$(last_error "$said")
  fail "$1: ${said:-exit $status without a word}"
}

# Print the last error in TEXT and the lines below it, which hold its cause, as one line of at most 430 characters.
# Where pip or uv marked none (a traceback, no pip at all), it is the last line that is no notice.
last_error() { # last_error TEXT
  local line said='' is_error='' words=()
  while IFS= read -r line; do
    case $line in
      '' | '[notice]'* | [Ww]arning:* | WARNING:* | DEPRECATION:*) ;;
      ERROR:* | [Ee]rror:* | '× '* | '  × '*) said=$line is_error=yes ;;
      *) said=${is_error:+$said }$line ;;
    esac
  done <<<"$1"
  read -r -d '' -a words <<<"$said" || true # at the end of what is read, read fails
  said="${words[*]-}"
  [[ ${#said} -le 430 ]] || said="${said:0:280} … ${said: -140}"
  printf '%s' "$said"
}

# Print the first of $pythons that will do; else end with one line that says what to install.
find_python() {
  local name version reason="Python 3.11 or newer is needed, and there is none; install it, e.g. python3"
  for name in "${pythons[@]}"; do
    version=$("$name" -IS -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])' 2>/dev/null) || continue
    if ! "$name" -IS -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
      reason="Python 3.11 or newer is needed, and $name is $version; install a newer one, e.g. python3.12"
    elif ! has_uv && ! "$name" -IS -c 'import ensurepip, venv' 2>/dev/null; then
      reason="$name has no module venv; install it: apt install ${name%.*}-venv (or python${version%.*}-venv)"
    else
      command -v "$name"
      return
    fi
  done
  fail "$reason"
}
