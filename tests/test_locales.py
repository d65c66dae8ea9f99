"""Under any locale the bytes of names are right, all can be printed, and nothing ends half-way."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from support import Installed, git

NAME = "käse-パン"
ODD = [os.fsencode("grün.txt"), b"latin-\xe4.txt", os.fsencode("Ж/深い.js"), os.fsencode("emoji-🧀.env")]
"""Names of two, three and four bytes a letter, and one that is not UTF-8."""
LOCALES = {
    "UTF-8": {"LC_ALL": "C.UTF-8"},
    "ASCII": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "POSIX, by LANG": {
        "LANG": "POSIX",
        "LC_ALL": "",
        "LC_CTYPE": "",
        "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": "0",
    },
    "ASCII streams": {"LC_ALL": "C.UTF-8", "PYTHONIOENCODING": "ascii"},
    "strict ASCII streams": {"LC_ALL": "C.UTF-8", "PYTHONIOENCODING": "ascii:strict"},
    "Latin-1 streams": {"LC_ALL": "C.UTF-8", "PYTHONIOENCODING": "latin-1"},
    "Latin-1": {"LC_ALL": "de_DE.latin1", "PYTHONUTF8": "0"},
}


@pytest.fixture(scope="session")
def locales(tmp_path_factory: pytest.TempPathFactory) -> Path | None:
    """Return a folder with a locale in Latin-1; None where none can be made."""
    made = tmp_path_factory.mktemp("locales")
    make = ["localedef", "-i", "de_DE", "-f", "ISO-8859-1", str(made / "de_DE.latin1")]
    is_made = (
        shutil.which("localedef") and not subprocess.run(make, capture_output=True, check=False).returncode
    )
    return made if is_made else None


@pytest.fixture(params=LOCALES)
def locale(request: pytest.FixtureRequest, locales: Path | None) -> dict[str, str]:
    """Return an environment that sets a locale."""
    if request.param != "Latin-1":
        return LOCALES[request.param]
    if locales is None:
        pytest.skip("needs the sources of locales")
    return {**LOCALES["Latin-1"], "LOCPATH": str(locales)}


@pytest.fixture
def foreign(project: Path) -> Path:
    """A project whose name and files are beyond ASCII, released once in UTF-8."""
    (project / "package.json").write_text(json.dumps({"name": NAME, "version": "1.1.0"}, ensure_ascii=False))
    (project / "tasks.py").write_text("from backup_lib.tasks import ns\n")
    (project / "CHANGELOG.md").write_text("# Änderungen\n\n## 1.1.0\n\n- Käse\n")
    for name in ODD:
        path = os.path.join(os.fsencode(project), name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(name)
    git(project, "checkout", "-q", "-b", "zweig-ä")
    git(project, "add", "-A")
    git(project, "commit", "-q", "-m", "Fremd")
    return project


def stored(project: Path) -> list[bytes]:
    """Return the names of the archives of releases, as bytes."""
    found = os.walk(os.fsencode(project / "backups"))
    return sorted(name for _, _, names in found for name in names if name.endswith(b"Z.tar.gz"))


def untarred(archive: bytes) -> list[bytes]:
    """Return the names of the files that stock tar finds."""
    listed = subprocess.run(
        ["tar", "--quoting-style=literal", "-tzf", archive],
        check=True,
        capture_output=True,
        env={"PATH": os.environ["PATH"]},
    )
    return sorted(line for line in listed.stdout.splitlines() if not line.endswith(b"/"))


def test_a_release_is_the_same_under_any_locale(
    foreign: Path, installed: Installed, locale: dict[str, str]
) -> None:
    """Tag, archive, manifest, sums, changelog and ledger have the same bytes, and stock tools prove them."""
    done = installed.invoke(foreign, "release", "--version", "1.1.0", **locale)
    assert done.returncode == 0, done
    [name] = stored(foreign)
    assert name.startswith(f"{NAME}_v1.1.0_".encode())
    folder = os.fsencode(foreign / "backups" / "v1.1.0")
    inside = [each.removeprefix(NAME.encode() + b"/") for each in untarred(os.path.join(folder, name))]
    assert set(ODD) < set(inside)
    manifest = (foreign / "backups" / "v1.1.0" / "MANIFEST.txt").read_bytes()
    assert re.search(b"# Branch: +zweig-\xc3\xa4\n", manifest)
    assert re.search(b"# Archive: +" + re.escape(name) + b"\n", manifest)
    assert name in (foreign / "CHANGELOG.md").read_bytes()
    assert name in (foreign / "backups" / "ledger.jsonl").read_bytes()
    (foreign / "to").mkdir()
    subprocess.run(["tar", "-xzf", os.path.join(folder, name)], cwd=foreign / "to", check=True)
    check = ["sha256sum", "--check", "--quiet", "--strict", os.fsdecode(folder) + "/MANIFEST.txt"]
    subprocess.run(check, cwd=foreign / "to", check=True)
    assert os.readlink(os.path.join(folder, NAME.encode() + b"_v1.1.0_latest.tar.gz")) == name


def test_each_task_goes_on_with_what_another_locale_made(
    foreign: Path, installed: Installed, locale: dict[str, str]
) -> None:
    """What one made in UTF-8 is found, proved, restored, kept, and taken back."""
    utf8 = LOCALES["UTF-8"]
    assert installed.invoke(foreign, "release", "--version", "1.1.0", **utf8).returncode == 0
    for arguments in (
        ["verify", "--all"],
        ["verify", "--depth", "restore"],
        ["release", "--version", "1.1.0"],
        ["backup", "--daily"],
        ["restore", "--to", "new", "--path", "Ж/", "--path", "grün.*"],
        ["clean", "--keep", "1"],
        ["backup", "--version", "2.0.0", "--note", "Grüße, 深い"],
        ["restore", "--version", "1.1.0", "--in-place"],
        ["release", "--version", "1.1.0", "--undo"],
    ):
        done = installed.invoke(foreign, *arguments, **locale)
        assert done.returncode == 0, (arguments, done)
        assert "unexpected" not in done.stderr
    restored = os.fsencode(foreign / "new" / NAME)
    assert sorted(os.listdir(restored)) == sorted([os.fsencode("grün.txt"), os.fsencode("Ж")])
    assert git(foreign, "tag") == ""
    assert (foreign / "CHANGELOG.md").read_text() == "# Änderungen\n\n## 1.1.0\n\n- Käse\n"
    manifest = (foreign / "backups" / "v2.0.0" / "MANIFEST.txt").read_bytes()
    assert re.search("# Note: +Grüße, 深い\n".encode(), manifest)
    assert installed.invoke(foreign, "verify", "--all", **utf8).returncode == 0


def test_a_program_reads_the_same_under_any_locale(
    foreign: Path, installed: Installed, locale: dict[str, str]
) -> None:
    """The object is ASCII, and says the names as they are."""
    made = installed.invoke(foreign, "backup", "--json", **locale)
    assert made.returncode == 0, made
    assert made.stdout.isascii()
    archive = json.loads(made.stdout)["result"]["archive"]
    assert archive.encode() == os.path.join(os.fsencode(foreign / "backups" / "v1.1.0"), *stored(foreign))
    listed = installed.invoke(foreign, "backup", "--dry-run", "--json", "--format", "zst", **locale)
    assert json.loads(listed.stdout)["exit"] == 0
    failed = installed.invoke(foreign, "restore", "--to", "backups/v9", "--json", **locale)
    assert json.loads(failed.stdout)["exit"] == 1


def test_settings_name_what_they_name(foreign: Path, installed: Installed, locale: dict[str, str]) -> None:
    """A store and a name of the environment, and what a file in Python says as far as the locale knows it."""
    known = "latin-1" if "LOCPATH" in locale else "utf-8"
    (foreign / "invoke.py").write_text(
        "backup = {'exclude': ['emoji-🧀*'], 'changelog': 'Änderungen.md',"
        " 'hooks': {'setup': 'touch geprüft'}}\n"
    )
    git(foreign, "rm", "-q", os.fsdecode(ODD[3]))
    git(foreign, "add", "-A")
    git(foreign, "commit", "-q", "-m", "Config")
    told = {"STORE": "läger", "PROJECT": "größe", "INCLUDE": "dist/ä"}
    given = locale | {f"INVOKE_BACKUP_{name}": value for name, value in told.items()}
    done = installed.invoke(foreign, "release", "--version", "1.1.0", **given)
    assert done.returncode == 0, done
    made = os.listdir(os.path.join(os.fsencode(foreign), "läger".encode(), b"v1.1.0"))
    assert any(name.startswith("größe_v1.1.0_".encode()) for name in made)
    assert os.path.exists(os.path.join(os.fsencode(foreign), "Änderungen.md".encode(known)))
    to = ["--archive", os.path.join("läger", "v1.1.0", "größe_v1.1.0_latest.tar.gz"), "--to", "neu-ü"]
    done = installed.invoke(foreign, "restore", *to, "--setup", **given)
    assert done.returncode == 0, done
    assert "geprüft".encode(known) in os.listdir(
        os.path.join(os.fsencode(foreign), "neu-ü".encode(), "größe".encode())
    )


@pytest.mark.parametrize(
    "place", [b"k\xc3\xa4se", b"latin-\xe4", os.fsencode("深い")], ids=["UTF-8", "Latin-1", "deep"]
)
@pytest.mark.parametrize("locale", ["UTF-8", "ASCII", "Latin-1"], indirect=True)
def test_a_project_may_lie_anywhere(
    project: Path, installed: Installed, locale: dict[str, str], place: bytes
) -> None:
    """In a folder whose name the locale does not know, and which names the project."""
    (project / "package.json").unlink()
    (project / "tasks.py").write_text("from backup_lib.tasks import ns\n")
    git(project, "add", "-A")
    git(project, "commit", "-q", "-m", "No name")
    moved = Path(os.fsdecode(os.path.join(os.fsencode(project.parent), place)))
    project.rename(moved)
    for arguments in (
        ["release", "--version", "1.1.0"],
        ["verify", "--all", "--json"],
        ["backup", "--daily"],
    ):
        done = installed.invoke(moved, *arguments, **locale)
        assert done.returncode == 0, done
    [name] = stored(moved)
    assert name.startswith({b"latin-\xe4": b"latin"}.get(place, place) + b"_v1.1.0_")


@pytest.mark.parametrize("locale_name", ["ASCII", "ASCII streams"])
def test_what_cannot_be_printed_is_escaped(foreign: Path, installed: Installed, locale_name: str) -> None:
    """Byte by byte, as a name with broken UTF-8 is; the help of each task can be read, too."""
    done = installed.invoke(foreign, "backup", **LOCALES[locale_name])
    assert done.returncode == 0, done
    assert "k\\xc3\\xa4se-\\xe3\\x83\\x91\\xe3\\x83\\xb3_v1.1.0_" in done.stdout
    for task in ("backup", "verify", "restore", "clean", "release", "tag"):
        assert installed.invoke(foreign, "--help", task, **LOCALES[locale_name]).returncode == 0
    assert installed.invoke(foreign, "--list", **LOCALES[locale_name]).returncode == 0


def test_the_bar_is_shown_under_any_locale(
    foreign: Path, installed: Installed, locale: dict[str, str]
) -> None:
    """It has the project's name in it."""
    (foreign / "tasks.py").write_text(
        "import sys\nsys.stderr.isatty = lambda: True\nfrom backup_lib.tasks import ns\n"
    )
    done = installed.invoke(foreign, "backup", "verify", **locale)
    assert done.returncode == 0, done
    assert "%|" in done.stderr
