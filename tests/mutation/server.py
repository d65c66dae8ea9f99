"""Runs tests again and again, each time in a fork of one process that has loaded pytest already.

Started in a copy of the project, as a script. A line on stdin says what to run, one on stdout how it ended.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import select
import signal
import sys
from typing import Any, NoReturn

_LOADED = (
    *("pytest", "hypothesis", "invoke", "git", "msgspec", "zstandard", "deflate", "isal.isal_zlib"),
    *("tqdm", "semver", "pathspec", "re2", "sqlite3", "tarfile", "concurrent.futures.thread"),
)
_MOST_MEMORY = 6 << 30
_MOST_WAIT = 240
"""Seconds by the clock, for what waits for ever and takes no processor time."""


def main() -> None:
    """Answer until stdin ends."""
    sys.path[0] = os.getcwd()
    for name in _LOADED:
        importlib.import_module(name)
    for line in sys.stdin:
        asked = json.loads(line)
        sys.stdout.flush()
        pid = os.fork()
        if not pid:
            _test(asked)
        print(json.dumps(_end(pid)), flush=True)  # noqa: T201


def _test(asked: dict[str, Any]) -> NoReturn:
    os.setsid()
    resource.setrlimit(resource.RLIMIT_CPU, (asked["seconds"], asked["seconds"] + 5))
    resource.setrlimit(resource.RLIMIT_AS, (_MOST_MEMORY, _MOST_MEMORY))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    log = os.open(asked["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    pytest = importlib.import_module("pytest")
    code = int(pytest.main(["-x", "-q", "--tb=line", "-p", "no:cacheprovider", *asked["arguments"]]))
    sys.stdout.flush()
    os._exit(code)


def _end(pid: int) -> int:
    """Return the exit code of the tests, negative for the signal that ended them; end what they left."""
    watched = os.pidfd_open(pid)
    ended = select.select([watched, sys.stdin], [], [], _MOST_WAIT)[0]  # nobody asks twice: stdin has its end
    if watched not in ended:
        os.kill(pid, signal.SIGKILL)
    os.close(watched)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    os.killpg(pid, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


if __name__ == "__main__":
    main()
