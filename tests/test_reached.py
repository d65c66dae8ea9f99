"""Settings work however our tasks are reached: by a collection of the project's own, by name, by a call."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import Installed

_BELOW = """
from invoke import Collection
from backup_lib.tasks import ns as backups
ns = Collection()
ns.add_collection(backups, name="rb")
ns.configure({"backup": {"keep": 5}})
"""
_ONE_BY_ONE = """
from invoke import Collection
from backup_lib.tasks import backup, restore
ns = Collection()
ns.add_task(backup, name="save")
ns.add_task(restore)
"""
_NAMES = "from backup_lib.tasks import backup\n"
_CALLED = """
from invoke import task, Context
from backup_lib.tasks import backup
@task
def save(c):
    backup(c, version="1.1.0")
@task
def save_anew(c):
    backup(Context(), version="1.1.0")
"""
_CONFIGURED_BEFORE = """
from invoke import Collection
from backup_lib.tasks import ns as backups
ns = Collection(*backups.tasks.values())
ns.configure({"backup": {"hooks": {"setup": "true"}, "level": "fast"}, "backup_bucket": "a"})
"""
_WAYS = {
    "as it is": ("from backup_lib.tasks import ns\n", "backup"),
    "below": (_BELOW, "rb.backup"),
    "one by one": (_ONE_BY_ONE, "save"),
    "by names": (_NAMES, "backup"),
    "called": (_CALLED, "save"),
    "called anew": (_CALLED, "save-anew"),
    "configured": (_CONFIGURED_BEFORE, "backup"),
}


@pytest.mark.parametrize("way", _WAYS)
def test_the_environment_counts(installed: Installed, project: Path, way: str) -> None:
    """However a task of ours was reached: format, store and project name are those of the environment."""
    text, name = _WAYS[way]
    (project / "tasks.py").write_text(text)
    done = installed.invoke(
        project,
        name,
        INVOKE_BACKUP_FORMAT="zst",
        INVOKE_BACKUP_STORE="kept",
        INVOKE_BACKUP_PROJECT="other",
        INVOKE_BACKUP_EXCLUDE="*.config.js, src/none",
    )
    assert (done.returncode, done.stderr.count("Note")) == (0, 0), done
    assert len(list(project.glob("kept/v1.1.0/other_v1.1.0_*Z.tar.zst"))) == 1
    assert b"app.config.js" not in (project / "kept" / "v1.1.0" / "MANIFEST.txt").read_bytes()


@pytest.mark.parametrize("way", ["as it is", "below", "one by one", "called", "configured"])
def test_what_cannot_be_is_said(installed: Installed, project: Path, way: str) -> None:
    """A value that does not fit is refused, an unknown name reported, but not a key of the project's own."""
    text, name = _WAYS[way]
    (project / "tasks.py").write_text(text)
    wrong = installed.invoke(project, name, INVOKE_BACKUP_FORMAT="rar")
    assert wrong.returncode == 1
    assert wrong.stderr == "backup: setting backup.format takes gz or zst, not 'rar'\n"
    unknown = installed.invoke(project, name, INVOKE_BACKUP_FORMT="zst", INVOKE_BACKUP_BUCKET="b")
    assert unknown.returncode == 0, unknown
    assert "Note: INVOKE_BACKUP_FORMT names no setting, so it does nothing" in unknown.stderr
    assert ("INVOKE_BACKUP_BUCKET" in unknown.stderr) == (way != "configured")


@pytest.mark.parametrize("way", ["as it is", "below", "one by one"])
def test_flags_and_files_keep_their_place(installed: Installed, project: Path, way: str) -> None:
    """A flag counts before the environment, that before invoke.yaml, and a file given by -f before both."""
    text, name = _WAYS[way]
    (project / "tasks.py").write_text(text)
    (project / "invoke.yaml").write_text(
        "backup:\n  format: zst\n  level: fast\n  hooks:\n    test: 'true'\n"
    )
    (project / "said.yaml").write_text("backup:\n  project: said\n")
    done = installed.invoke(
        *(project, "-f", "said.yaml", name, "--format", "gz"),
        INVOKE_BACKUP_FORMAT="zst",
        INVOKE_BACKUP_PROJECT="other",
        INVOKE_BACKUP_HOOKS_SETUP="true",
    )
    assert done.returncode == 0, done
    assert len(list(project.glob("backups/v1.1.0/said_v1.1.0_*Z.tar.gz"))) == 1


@pytest.mark.parametrize("way", ["as it is", "one by one"])
def test_commands_of_the_environment_are_run(installed: Installed, project: Path, way: str) -> None:
    """A setting in a table of its own, too."""
    text, name = _WAYS[way]
    (project / "tasks.py").write_text(text)
    assert installed.invoke(project, name).returncode == 0
    done = installed.invoke(
        project, "restore", "--to", "new", "--setup", INVOKE_BACKUP_HOOKS_SETUP="touch was-set-up"
    )
    assert done.returncode == 0, done
    assert list(project.glob("new/*/was-set-up"))


@pytest.mark.parametrize(
    ("configured", "what"),
    [
        ("'s3://bucket'", "setting backup is a table"),
        ("['a']", "setting backup is a table"),
        ("7", "a table"),
    ],
)
def test_a_backup_key_of_another_kind_is_refused(
    installed: Installed, project: Path, configured: str, what: str
) -> None:
    """A project may have used the word for something of its own: that is one line."""
    (project / "tasks.py").write_text(f"{_NAMES}from invoke import Collection\nns = Collection(backup)\n")
    with (project / "tasks.py").open("a") as file:
        file.write(f"ns.configure({{'backup': {configured}}})\n")
    done = installed.invoke(project, "backup")
    assert (done.returncode, done.stdout) == (1, "")
    assert what in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_list_is_not_made_of_text(installed: Installed, project: Path) -> None:
    """Invoke cannot: it is said which variables there are to look at."""
    (project / "tasks.py").write_text("from backup_lib.tasks import ns\n")
    (project / "invoke.yaml").write_text("backup:\n  exclude: [a]\n")
    done = installed.invoke(project, "backup", INVOKE_BACKUP_EXCLUDE="b")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith("; fix invoke.yaml or the environment: INVOKE_BACKUP_EXCLUDE\n")
