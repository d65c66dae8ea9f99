"""No module of the project under backup is imported but its tasks.py and what that imports."""

from __future__ import annotations

import errno
import os
import posix
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from support import Installed, git

import tasks
from backup_lib.imports import own_modules

PACKAGES = Path(sysconfig.get_paths()["purelib"])
_NOT_OURS = {"tasks", "backup_lib", "invoke", "pip", "test", "tests", "benchmarks"}
"""invoke.py is Invoke's own configuration, in Python."""


def every_name() -> list[str]:
    """Return the names of all modules of the standard library and the packages, and of what they look for."""
    installed = {path.name.split(".")[0] for path in PACKAGES.iterdir() if path.suffix in ("", ".py", ".so")}
    looked_for = {"gitdb_speedups", "typing_extensions", "colorama", "cffi", "sitecustomize", "usercustomize"}
    names = {*sys.stdlib_module_names, *installed, *looked_for} - _NOT_OURS
    return sorted(name for name in names if name.isidentifier())


@pytest.fixture(params=["module", "package"])
def hostile(request: pytest.FixtureRequest, project: Path) -> Path:
    """A project that has a module of every name there is; each leaves a mark when it is imported."""
    mark = str(project.parent / "mark")
    own = f"import os\nopen({mark!r}, 'a').write(__name__ + ' ')\nraise SystemExit(99)\n"
    for name in every_name():
        path = project / f"{name}.py" if request.param == "module" else project / name / "__init__.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(own)
    return project


def own_tasks(project: Path, text: str) -> None:
    """Give the project tasks of its own."""
    (project / "tasks.py").write_text(text)
    git(project, "add", "-A")
    git(project, "commit", "-q", "-m", "Tasks")


_CHAINS = [
    ["release", "--version", "2.0.0"],
    ["verify", "--all", "--depth", "restore"],
    ["backup", "--daily", "--format", "zst"],
    ["backup", "--fresh", "--level", "fast"],
    ["verify", "--json"],
    ["restore", "--path", "src/", "--to", "restored/new"],
    ["clean", "--keep", "1"],
    ["release", "--version", "2.0.0", "--undo"],
    ["tag", "--version", "3.0.0"],
]


def test_no_module_of_the_project_is_imported(hostile: Path, installed: Installed) -> None:
    """Whatever it calls its modules: each task works, and none of them is run."""
    own_tasks(hostile, "from backup_lib.tasks import ns\n")
    for arguments in _CHAINS:
        done = installed.invoke(hostile, *arguments)
        assert done.returncode == 0, done
        assert not (hostile.parent / "mark").exists(), (arguments, (hostile.parent / "mark").read_text())


def test_the_bar_of_a_terminal_imports_none_either(hostile: Path, installed: Installed) -> None:
    """What shows it is loaded only where there is a terminal."""
    own_tasks(hostile, "import os, sys\nsys.stderr.isatty = lambda: True\nfrom backup_lib.tasks import ns\n")
    done = installed.invoke(hostile, "backup", "verify")
    assert done.returncode == 0, done
    assert "%|" in done.stderr
    assert not (hostile.parent / "mark").exists()


def test_nothing_that_the_environment_names_is_imported(hostile: Path, installed: Installed) -> None:
    """Where the project is on the path of Python itself: that of its environment, last, from below."""
    own_tasks(hostile, "import sys\nsys.path.append(sys.path[0] + '/src')\nfrom backup_lib.tasks import ns\n")
    shutil.copy(
        next(hostile.glob("secrets*/__init__.py"), hostile / "secrets.py"), hostile / "src" / "git.py"
    )
    path = os.pathsep.join([str(installed.place), str(hostile / "src")])
    done = installed.invoke(hostile, "backup", "verify", PYTHONPATH=path)
    assert done.returncode == 0, done
    assert not (hostile.parent / "mark").exists()


_LATE = """
import sys
from invoke import task, Collection
from backup_lib import tasks as backups
{first}
path = list(sys.path)

@task
def late(c):
    assert sys.path == path, sys.path
    import secrets, git, semver, queue, zipfile
    print([module.OWN for module in (secrets, git, semver, queue)], zipfile.is_zipfile(__file__))
    from git.deep import THING
    print(THING)

ns = Collection(late, *backups.ns.tasks.values())
"""


@pytest.mark.parametrize("first", ["", "import secrets, git.deep, semver, queue"])
def test_the_own_tasks_of_the_project_import_its_own(project: Path, installed: Installed, first: str) -> None:
    """Late, after a task of ours and before another one, the project finds its modules, and we find ours."""
    for name in ("secrets.py", "git/__init__.py", "semver/__init__.py", "queue.py"):
        (project / name).parent.mkdir(exist_ok=True)
        (project / name).write_text("OWN = __name__\n")
    (project / "git" / "deep.py").write_text("THING = 'deep'\n")
    own_tasks(project, _LATE.format(first=first))
    done = installed.invoke(
        project,
        *(
            "--no-dedupe",
            "backup",
            "late",
            "release",
            "--version",
            "2.0.0",
            "late",
            "verify",
            "--all",
            "late",
        ),
    )
    assert done.returncode == 0, done
    assert done.stdout.count("['secrets', 'git', 'semver', 'queue'] False\ndeep\n") == 3


@pytest.mark.parametrize("entry", ["", ".", "ROOT", "ROOT/", "LINK"])
def test_the_project_is_known_by_any_name(project: Path, installed: Installed, entry: str) -> None:
    """Relative, with a slash, by a link: what was loaded from there before us is not taken for ours."""
    (project / "semver.py").write_text("OWN = 1\n")
    (project.parent / "link").symlink_to(project)
    named = entry.replace("ROOT", str(project)).replace("LINK", str(project.parent / "link"))
    own_tasks(
        project,
        f"import sys\nsys.path[0] = {named!r}\nimport semver\nfrom backup_lib.tasks import ns\n"
        "from invoke import task\n@task\ndef late(c):\n    import semver\n    print(semver.OWN)\n"
        "ns.add_task(late)\n",
    )
    done = installed.invoke(project, "release", "--version", "2.0.0", "late")
    assert done.returncode == 0, done
    assert done.stdout.endswith("\n1\n")


def test_after_a_failure_the_path_is_as_before(project: Path, installed: Installed) -> None:
    """An own task that catches how ours ended goes on as if it had not been called."""
    own_tasks(
        project,
        "import sys\nfrom invoke import task, Exit\nfrom backup_lib.tasks import verify\n"
        "path = list(sys.path)\n"
        "@task\ndef late(c):\n    try:\n        verify(c, version='9.9.9')\n    except Exit as ended:\n"
        "        import secrets\n        print(ended.code, sys.path == path, secrets.__file__)\n",
    )
    (project / "secrets.py").write_text("")
    done = installed.invoke(project, "late")
    assert done.returncode == 0, done
    assert done.stdout == f"10 True {project / 'secrets.py'}\n"


def test_the_version_is_told_without_them(hostile: Path) -> None:
    """What our package looks up late, outside of any task, comes from where we come from."""
    code = "import invoke, sys; sys.path.insert(0, '.'); import backup_lib; print(backup_lib.__version__)"
    environment = os.environ | {"PYTHONPATH": str(Path(tasks.__file__).parent), "PYTHONSAFEPATH": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=hostile,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done
    assert not (hostile.parent / "mark").exists()


def test_a_folder_that_cannot_be_listed_holds_no_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that fails to list the project is no matter of an import that needs nothing of it."""
    really, asked = posix.listdir, []

    def failing(path: str = ".") -> list[str]:
        if path == str(tmp_path):
            asked.append(path)
            raise OSError(errno.EIO, os.strerror(errno.EIO), path)
        return really(path)

    monkeypatch.setattr(posix, "listdir", failing)  # importlib asks this one
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "quopri", raising=False)
    before = list(sys.path)
    with own_modules():
        import quopri
    assert asked
    assert quopri.__name__ == "quopri"
    assert sys.path == before
