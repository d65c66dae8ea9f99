"""Whose modules an ``import`` finds: ours, or those of the project under backup.

Invoke puts the folder of ``tasks.py`` before all others on ``sys.path`` and leaves it there. So an import of
ours would take the project's ``secrets.py`` for Python's, and its ``git/`` for GitPython. This module needs
nothing that is not loaded before any ``tasks.py`` is.
"""

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.machinery import PathFinder
from types import ModuleType

__all__ = ["own_modules"]

_STANDARD = os.path.realpath(os.path.dirname(os.__file__))
_INSTALLED = ("site-packages", "dist-packages", "lib-dynload")
_never_theirs = {"__main__", "backup_lib"}
_ours: dict[str, ModuleType] = {}
"""Modules that we loaded, and whose names the project has for modules of its own."""


@contextmanager
def own_modules() -> Iterator[None]:
    """Let the body import the standard library and installed packages only, whatever the project is called.

    Afterwards ``sys.path`` is as before, and an import of the project finds its own modules, as if nothing of
    ours had been loaded by their names.
    """
    path = list(sys.path)
    ours = [entry for entry in path if _is_installed(entry)]
    others = [_absolute(entry) for entry in path if entry not in ours]
    theirs = _take_out({top for top in _tops(sys.modules) if _is_from(others, top) and _holds(ours, top)})
    before = _tops(sys.modules)
    sys.modules.update(_ours)
    sys.path[:] = ours
    try:
        yield
    finally:
        sys.path[:] = path
        _ours.update(_take_out({top for top in _tops(sys.modules) - before if _holds(others, top)}))
        sys.modules.update(theirs)


def _absolute(entry: str) -> str:
    """Return a place on ``sys.path`` in full; an empty one is the working folder, which may be gone."""
    try:
        return os.path.abspath(entry)
    except FileNotFoundError:
        return entry


def _is_installed(entry: str) -> bool:
    """Whether a place on ``sys.path`` has the standard library or installed packages, and is no project.

    A file is an archive with a whole program in it; what was installed by ``pip --target`` has metadata.
    """
    if os.path.basename(entry) in _INSTALLED or (entry and os.path.realpath(entry) == _STANDARD):
        return True
    try:
        return any(
            name.endswith(".dist-info") or name == "EGG-INFO" for name in os.listdir(entry or os.curdir)
        )
    except NotADirectoryError:
        return True
    except OSError:
        return False


def _tops(names: Iterable[str]) -> set[str]:
    return {name.partition(".")[0] for name in names} - _never_theirs


def _is_from(path: list[str], top: str) -> bool:
    """Whether a module that is loaded was found in one of some folders."""
    module = sys.modules.get(top)
    spec = getattr(module, "__spec__", None)
    places: list[object] = list(getattr(spec, "submodule_search_locations", None) or ())
    places.append(getattr(spec, "origin", None) or getattr(module, "__file__", None))
    told = (
        place for place in places if isinstance(place, str) and os.path.isabs(place)
    )  # else it is built in
    return any(os.path.dirname(os.path.normpath(place)) in path for place in told)


def _holds(path: list[str], top: str) -> bool:
    """Report whether an import finds a module of that name in some folders; a mere folder is none.

    A folder that cannot be listed holds none: the import itself will say so, if it needs it.
    """
    try:
        spec = PathFinder.find_spec(top, path)
    except OSError:  # importlib passes over what is not there or not allowed only; EIO goes through
        return False
    return spec is not None and spec.origin is not None


def _take_out(tops: set[str]) -> dict[str, ModuleType]:
    """Take modules out of those that are loaded, with all that is in them."""
    return {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] in tops}
