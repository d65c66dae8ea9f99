"""What of the environment git does not see: all that would lead it elsewhere, or have it answer otherwise.

The source is git's documentation: "Environment Variables" in ``git(1)``, the pages of its commands, what
``git rev-parse --local-env-vars`` prints, and what git reads without a page. How people and CI configure git
stays: ``GIT_CONFIG_*``, ``GIT_AUTHOR_*``, ``GIT_COMMITTER_*``, ``GIT_SSH*``, ``GIT_ASKPASS``, ``GIT_SSL_*``,
``GIT_ATTR_NOSYSTEM``, and all names that are not git's own.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

__all__ = ["is_astray", "without_astray"]

_ASTRAY = frozenset(
    {
        # which repository, index, objects, history and programs it works with
        "GIT_ALTERNATE_OBJECT_DIRECTORIES",
        "GIT_ATTR_SOURCE",
        "GIT_CEILING_DIRECTORIES",
        "GIT_COMMON_DIR",
        "GIT_CONFIG",  # read by git config only, which then knows no other file
        "GIT_DEFAULT_HASH",
        "GIT_DEFAULT_REF_FORMAT",
        "GIT_DIR",
        "GIT_DISCOVERY_ACROSS_FILESYSTEM",
        "GIT_EXEC_PATH",
        "GIT_GRAFT_FILE",
        "GIT_IMPLICIT_WORK_TREE",
        "GIT_INDEX_FILE",
        "GIT_INDEX_VERSION",
        "GIT_INTERNAL_SUPER_PREFIX",
        "GIT_INTERNAL_TOPLEVEL",
        "GIT_NAMESPACE",
        "GIT_NO_REPLACE_OBJECTS",
        "GIT_OBJECT_DIRECTORY",
        "GIT_PREFIX",
        "GIT_QUARANTINE_PATH",
        "GIT_REFERENCE_BACKEND",
        "GIT_REF_PARANOIA",
        "GIT_REPLACE_REF_BASE",
        "GIT_SHALLOW_FILE",
        "GIT_TEMPLATE_DIR",
        "GIT_WORK_TREE",
        # how it reads its arguments
        "GIT_GLOB_PATHSPECS",
        "GIT_ICASE_PATHSPECS",
        "GIT_LITERAL_PATHSPECS",
        "GIT_NOGLOB_PATHSPECS",
        # what it prints, where to, and who prints it
        "GIT_ADVICE",
        "GIT_CURL_VERBOSE",
        "GIT_DIFF_OPTS",
        "GIT_DIFF_PATH_COUNTER",
        "GIT_DIFF_PATH_TOTAL",
        "GIT_EDITOR",
        "GIT_EXTERNAL_DIFF",
        "GIT_FLUSH",
        "GIT_MERGE_VERBOSITY",
        "GIT_NOTES_DISPLAY_REF",
        "GIT_NOTES_REF",
        "GIT_NOTES_REWRITE_MODE",
        "GIT_NOTES_REWRITE_REF",
        "GIT_PAGER",
        "GIT_PAGER_IN_USE",
        "GIT_PRINT_SHA1_ELLIPSIS",
        "GIT_PROGRESS_DELAY",
        "GIT_REDIRECT_STDERR",
        "GIT_REDIRECT_STDIN",
        "GIT_REDIRECT_STDOUT",
        "GIT_REFLOG_ACTION",
        "GIT_SEQUENCE_EDITOR",
        "GIT_TEXTDOMAINDIR",
        "GIT_TRANSLOOP_DEBUG",
        "GIT_TRANSPORT_HELPER_DEBUG",
        # how much it may do
        "GIT_ALLOC_LIMIT",
        "GIT_BASENAME_FACTOR",
        "GIT_DISABLE_UNTRACKED_CACHE",
        "GIT_FORCE_THREADS",
        "GIT_FORCE_UNTRACKED_CACHE",
        "GIT_MMAP_LIMIT",
        "GIT_NO_LAZY_FETCH",
        "GIT_OPTIONAL_LOCKS",
        "GIT_TERMINAL_PROMPT",
        # what GitPython does when git is missing, and whether it logs
        "GIT_PYTHON_REFRESH",
        "GIT_PYTHON_TRACE",
    }
)
_FAMILIES = ("GIT_TRACE", "GIT_TEST_")
"""All that begins so: where traces go, and what git's own tests switch."""
_lock = Lock()


def is_astray(name: str) -> bool:
    """Whether a variable of this name would lead git astray."""
    return name in _ASTRAY or name.startswith(_FAMILIES)


@contextmanager
def without_astray() -> Iterator[None]:
    """Let the environment of this process be without them while the body starts something.

    GitPython passes on all that is there, and can only add to it. One thread at a time is in the body.
    """
    with _lock:
        taken = {name: os.environ.pop(name) for name in list(os.environ) if is_astray(name)}
        try:
            yield
        finally:
            os.environ.update(taken)
