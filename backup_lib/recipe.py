"""What every recipe has in common: its flags, its answer on stdout, and how it ends."""

from __future__ import annotations

import functools
import gc
import inspect
import math
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any

from invoke import Config, Context, Exit, Task

from backup_lib.errors import BackupError, SettingsError, printable, reason_of, shortened
from backup_lib.imports import own_modules
from backup_lib.progress import Terminal, write_lines
from backup_lib.settings import configured, settings_from

if TYPE_CHECKING:
    from backup_lib.workplace import Workplace

__all__ = ["Call", "recipe"]

_COMMON = {
    "root": "folder of the project (default: the git work tree around you, else the folder of tasks.py)",
    "dry_run": "say what would be done, and do nothing",
    "json": "print one JSON object instead of text",
}


_IMPATIENCE = 2.0
"""Seconds within which more signals mean the same one."""
_LONGEST = 500
"""Bytes of an error line, its end included."""


class _Terminated(BaseException):
    """The process was asked to end, by a signal other than Ctrl-C, or its terminal is gone."""

    def __init__(self, number: int) -> None:
        self.signal = number


@dataclass(frozen=True, slots=True)
class Call:
    """One run of a recipe."""

    config: Config
    root: str | None
    dry_run: bool

    def place(self, new_store: bool = False, **flags: object) -> Workplace:
        """Return what the verbs work with; a flag that is not None goes before the configuration.

        Raises `SettingsError`, `ProjectError`.
        """
        from backup_lib.workplace import Workplace

        console = Terminal()
        settings = settings_from(configured(self.config, console.say), **flags)
        return Workplace(self._root(), settings, console, self.dry_run, new_store=new_store)

    def _root(self) -> Path:
        from backup_lib.project.git import find_root

        if self.root is not None:
            root = Path(self.root).expanduser()
            if not root.is_dir():
                raise SettingsError(f"--root {printable(self.root)} is not a folder")
            return root.resolve()
        tasks_folder = getattr(self.config, "_project_prefix", None)
        return find_root(Path.cwd()) or Path(tasks_folder or ".").resolve()


@dataclass(frozen=True, slots=True)
class _Telling:
    """What the answer of a run says of the run itself, whatever came of it."""

    task: str
    dry_run: bool
    as_json: bool


def recipe(iterable: tuple[str, ...] = (), **help_texts: str) -> Callable[[Callable[..., object]], Task[Any]]:
    """Make an Invoke task of a function of a `Call` and flags, which returns a result to report.

    An error of this package becomes one line on stderr and its exit code, whatever happens no traceback.
    """

    def decorate(body: Callable[..., object]) -> Task[Any]:
        parameters = list(inspect.signature(body).parameters.values())
        common = [
            inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default)
            for name, default in (("root", None), ("dry_run", False), ("json", False))
        ]
        signature = inspect.Signature([*parameters, *common])

        @functools.wraps(body)
        def run(c: Context, *given: object, **named: object) -> None:
            bound = signature.bind(c, *given, **named)  # the project's own tasks may call it, and say less
            bound.apply_defaults()
            _, *others = bound.arguments.items()
            flags = dict(others)
            with own_modules():
                _run(body, c, flags.pop("root"), flags.pop("dry_run"), flags.pop("json"), flags)

        run.__signature__ = signature  # type: ignore[attr-defined]
        del run.__wrapped__
        return Task(
            run,
            name=body.__name__,
            help=help_texts | _COMMON,
            iterable=list(iterable),
            auto_shortflags=False,
        )

    return decorate


def _run(
    body: Callable[..., object],
    context: Context,
    root: str | None,
    dry_run: bool,
    json: bool,
    flags: dict[str, object],
) -> None:
    call = Call(context.config, root, dry_run or bool(context.config.run.dry))
    telling = _Telling(body.__name__, call.dry_run, json)
    with _ending(telling), _uncollected():
        _refuse_empty(flags)
        _answer(telling, body(call, **flags))


@contextmanager
def _uncollected() -> Iterator[None]:
    """Let Python look for no reference cycles meanwhile: among many files that takes long, and finds none."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _refuse_empty(flags: dict[str, object]) -> None:
    """Refuse a flag without its value; a note may be empty."""
    for name, value in flags.items():
        if name != "note" and (value == "" or (isinstance(value, list) and "" in value)):
            raise SettingsError(f"--{name.replace('_', '-')} needs a value")


def _answer(telling: _Telling, result: object) -> None:
    """Write the result to stdout, and end with its exit code where that is not 0."""
    from backup_lib import report

    if telling.as_json:
        write_lines(sys.stdout, [report.json_object(telling.task, result, telling.dry_run).decode()])
    else:
        write_lines(sys.stdout, list(report.lines(result, telling.dry_run)))
    if code := report.exit_code(result):
        raise Exit(code=code)


@contextmanager
def _ending(telling: _Telling) -> Iterator[None]:
    """Turn whatever ends a recipe early into one line and an exit code."""
    try:
        with _terminable():
            yield
    except BackupError as error:
        raise _failed(telling, str(error), error.exit_code) from error
    except KeyboardInterrupt as error:
        raise _failed(telling, "interrupted", 130) from error
    except _Terminated as error:
        raise _failed(telling, "terminated", 128 + error.signal) from error
    except MemoryError as error:
        raise _failed(telling, "out of memory", 1) from error
    except Exit:
        raise
    except Exception as error:
        if os.environ.get("INVOKE_DEBUG"):
            raise
        unexpected = f"unexpected {type(error).__name__}: {error}"
        what = reason_of(error) if isinstance(error, OSError) else unexpected
        raise _failed(telling, f"{what}; 'invoke --debug {telling.task} …' shows where", 1) from error


def _failed(telling: _Telling, what: str, code: int) -> Exit:
    """Tell what failed, however long the names in it are, on stderr and in the JSON object alike."""
    told = shortened(what, _LONGEST - len(f"{telling.task}: \n"))
    if telling.as_json:
        from backup_lib import report

        write_lines(sys.stdout, [report.json_error(telling.task, told, telling.dry_run, code).decode()])
    write_lines(sys.stderr, [f"{telling.task}: {told}"])
    return Exit(code=code)


@contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the body like Ctrl-C does: everything it began is taken back.

    Another signal right after the first does not disturb that.
    """
    last = -math.inf

    def end(number: int, _frame: FrameType | None) -> None:
        nonlocal last
        last, before = time.monotonic(), last
        if last - before > _IMPATIENCE:
            raise KeyboardInterrupt if number == signal.SIGINT else _Terminated(number)

    known = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    taken = [each for each in known if signal.getsignal(each) != signal.SIG_IGN]
    handlers = [(each, signal.signal(each, end)) for each in taken]
    try:
        yield
    finally:
        for each, handler in handlers:
            signal.signal(each, handler)


def _told_configuration_error(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """Say in one line what Invoke could not take of its configuration; leave all else to Python."""
    if kind is BrokenPipeError:
        return
    frames = [frame.f_code.co_filename for frame, _ in traceback.walk_tb(trace)]
    if os.environ.get("INVOKE_DEBUG") or not any(name.endswith("invoke/config.py") for name in frames):
        sys.__excepthook__(kind, error, trace)
        return
    what = " ".join(line.strip() for line in str(error).splitlines())
    ours = [name for name in os.environ if name.startswith("INVOKE_")]
    where = " or ".join(["invoke.yaml", *(["the environment: " + ", ".join(sorted(ours))] if ours else [])])
    told = f"invoke: the configuration cannot be used: {what}; fix {where}"
    write_lines(sys.stderr, [shortened(told, _LONGEST - 1)])


sys.excepthook = _told_configuration_error
