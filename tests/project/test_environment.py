"""git answers the same whatever the environment and the configuration say; how people configure it stays."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from backup_lib.project.environment import is_astray, without_astray
from backup_lib.project.git import open_repository
from backup_lib.project.rules import rules_for
from backup_lib.project.selection import select
from backup_lib.project.standing import Sight, Standing, changed_submodules
from backup_lib.settings import Settings

from .conftest import Tree

_KEPT = re.compile(
    "GIT_(?:CONFIG_.*|(?:AUTHOR|COMMITTER)_(?:NAME|EMAIL|DATE)|SSH.*|ASKPASS|SSL_.*|ATTR_NOSYSTEM|ALLOW_PROTOCOL"
    "|PROTOCOL.*|PROXY_.*|HTTP_.*|CURL_FTP_NO_EPSV|LFS_.*)"
)
"""How people and CI configure git, or what it fetches: we do not fetch."""
_OF_OTHERS = frozenset(
    {
        # set by git for hooks, helpers and servers, or names of commands, placeholders and shell variables
        *("GIT_AUTHOR_IDENT", "GIT_COMMITTER_IDENT", "GIT_COMMIT", "GIT_URL", "GIT_TOKEN", "GIT_BINDIR"),
        *("GIT_EXT_SERVICE", "GIT_EXT_SERVICE_NOPREFIX", "GIT_PROJECT_ROOT", "GIT_OVERRIDE_VIRTUAL_HOST"),
        *("GIT_CHERRY_PICK_HELP", "GIT_DIFFTOOL_DIRDIFF", "GIT_DIFFTOOL_EXTCMD", "GIT_DIFF_TOOL"),
        *("GIT_DIFFTOOL_TRUST_EXIT_CODE", "GIT_MERGETOOL_GUI", "GIT_MERGE_AUTOEDIT", "GIT_GUITOOL"),
        *("GIT_MAN_VIEWER", "GIT_DEFAULT_BRANCH", "GIT_ALLOW_NULL_SHA1", "GIT_USER_AGENT", "GIT_COMMITTER"),
    }
)


def documented() -> set[str]:
    """Return the variables that the manual pages of the installed git name, and that git says are its own."""
    git = ["git", "rev-parse", "--local-env-vars"]
    names = set(subprocess.run(git, check=True, capture_output=True, text=True).stdout.split())
    for page in Path("/usr/share/man").glob("man[1-9]/git*.gz"):
        text = subprocess.run(["gzip", "-dc", page], check=True, capture_output=True).stdout.decode()
        names.update(re.findall(r"\bGIT_[A-Z0-9_]+[A-Z0-9]", text.replace("\\-", "-").replace("\\_", "_")))
    return names


def test_every_variable_of_git_is_decided() -> None:
    """Each is kept from git, or is how people configure it: a new one of a new git shows here."""
    names = documented()
    assert {"GIT_DIR", "GIT_GRAFT_FILE", "GIT_CONFIG_PARAMETERS"} <= names
    kept = {name for name in names if _KEPT.fullmatch(name)}
    pushed = {name for name in names if name.startswith("GIT_PUSH_")}
    undecided = names - kept - pushed - _OF_OTHERS
    assert [name for name in sorted(undecided) if not is_astray(name)] == ["GIT_CONFIG_"] * (
        "GIT_CONFIG_" in undecided
    )
    assert [name for name in sorted(kept | _OF_OTHERS) if is_astray(name)] == []


@pytest.fixture
def busy(repository: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tree:
    """Return a repository in which something stands in every way to the commit."""
    for name in [name for name in os.environ if name.startswith("GIT_") and is_astray(name)]:
        monkeypatch.delenv(name)
    inner = Tree(tmp_path / "inner")
    inner.root.mkdir()
    inner.git("init", "-q")
    inner.commit("in it")
    repository.write(".gitignore", content=b"*.env\n")
    for name in ("module", "taken out"):
        repository.git("submodule", "add", "-q", str(inner.root), name)
    repository.write("same", "changed", "removed", "d\xc3\xbc/\xc3\xa4", "A", ":(top)b", "unlooked")
    repository.commit()
    repository.git("tag", "-a", "-m", "One\n\nBody", "v1.0.0")
    repository.git("update-index", "--assume-unchanged", "unlooked")
    repository.write("changed", content=b"other\n")
    repository.write("new", "secret.env", "d\xc3\xbc/x.env", "module/new", "a")
    (repository.root / "removed").unlink()
    repository.git("rm", "-q", "--cached", "taken out")
    return repository


def told(root: Path) -> dict[str, Any]:
    """Return all that git is ever asked about a repository."""
    found = open_repository(root)
    assert found is not None
    assert found.commit is not None
    answers: list[Standing] = []

    def states(sights: Iterable[Sight]) -> Any:
        with found.comparing() as comparison:
            answers.append(comparison.standing(sights))
        return answers[0].states

    sources = select(root, rules_for(Settings(), root), states).sources
    return {
        "head": (found.commit, found.branch, found.is_shallow, found.tags_at_head()),
        "states": {source.path: source.state for source in sources if source.kind != "directory"},
        "standing": answers[0],
        "submodules": changed_submodules(found.tree),
        "tag": (found.tag_object("v1.0.0"), found.tag_commit("v1.0.0"), found.tag_commit("v2.0.0")),
        "blobs": found.blobs(found.commit),
        "file": found.file_at(found.commit, b"d\xc3\xbc/\xc3\xa4"),
        "known": found.has_commit(found.commit),
    }


_LEADING = {
    "another repository": {"GIT_DIR": "{other}/.git", "GIT_WORK_TREE": "{other}"},
    "another index": {"GIT_INDEX_FILE": "{other}/.git/index"},
    "another history": {
        "GIT_NAMESPACE": "other",
        "GIT_REPLACE_REF_BASE": "refs/heads/",
        "GIT_SHALLOW_FILE": "{other}/shallow",
        "GIT_GRAFT_FILE": "{other}/shallow",
    },
    "other objects": {"GIT_OBJECT_DIRECTORY": "{other}/.git/objects", "GIT_QUARANTINE_PATH": "{other}"},
    "a part of it": {"GIT_COMMON_DIR": "{other}/.git"},
    "inside a submodule": {"GIT_INTERNAL_SUPER_PREFIX": "module/", "GIT_PREFIX": "module/"},
    "another configuration": {"GIT_CONFIG": "/dev/null"},
    "other attributes": {"GIT_ATTR_SOURCE": "HEAD", "GIT_DEFAULT_HASH": "sha256"},
    "other programs": {"GIT_EXEC_PATH": "{other}", "GIT_TEMPLATE_DIR": "{other}"},
    "literal": {"GIT_LITERAL_PATHSPECS": "1"},
    "glob": {"GIT_GLOB_PATHSPECS": "1"},
    "noglob": {"GIT_NOGLOB_PATHSPECS": "1"},
    "icase": {"GIT_ICASE_PATHSPECS": "1"},
    "two at once": {"GIT_GLOB_PATHSPECS": "1", "GIT_NOGLOB_PATHSPECS": "1", "GIT_LITERAL_PATHSPECS": "1"},
    "traces": dict.fromkeys(
        (
            *("GIT_TRACE", "GIT_TRACE_SETUP", "GIT_TRACE_PERFORMANCE", "GIT_TRACE_PACKET", "GIT_TRACE_REFS"),
            *("GIT_TRACE2", "GIT_TRACE2_EVENT", "GIT_TRACE2_PERF", "GIT_CURL_VERBOSE", "GIT_PYTHON_TRACE"),
        ),
        "1",
    ),
    "traces into stdout": {"GIT_TRACE": "1", "GIT_TRACE_BARE": "1", "GIT_TRACE_REFS": "2"},
    "other words": {"GIT_DIFF_OPTS": "-u9", "GIT_EXTERNAL_DIFF": "false", "GIT_PRINT_SHA1_ELLIPSIS": "yes"},
    "a pager": {"GIT_PAGER": "false", "GIT_PAGER_IN_USE": "true", "PAGER": "false"},
    "hardly any memory": {"GIT_ALLOC_LIMIT": "1k", "GIT_MMAP_LIMIT": "1k"},
    "a test of git": {"GIT_TEST_ASSUME_DIFFERENT_OWNER": "1", "GIT_TEST_DATE_NOW": "1"},
    "no GitPython": {"GIT_PYTHON_REFRESH": "nonsense"},
}


@pytest.mark.parametrize("how", _LEADING)
def test_no_variable_leads_git_astray(
    busy: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """What git is asked it answers as without the variable, which stays for whoever asks next."""
    other = Tree(tmp_path / "other")
    other.root.mkdir()
    other.git("init", "-q")
    other.commit("else")
    right = told(busy.root)
    variables = {name: value.format(other=other.root) for name, value in _LEADING[how].items()}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    assert told(busy.root) == right
    assert {name: os.environ[name] for name in variables} == variables


def test_gitpython_is_loaded_without_them(busy: Tree) -> None:
    """It asks git for its version when it is imported, and takes what it cannot read for no git at all."""
    code = (
        "import sys; from pathlib import Path; from backup_lib.project.git import open_repository as o;"
        "print(o(Path(sys.argv[1])).commit)"
    )
    leading = {"GIT_INTERNAL_SUPER_PREFIX": "x/", "GIT_PYTHON_REFRESH": "nonsense", "GIT_ALLOC_LIMIT": "1"}
    environment = {**os.environ, **leading, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", code, str(busy.root)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == (busy.git("rev-parse", "HEAD"), "")


_CONFIGURED = {
    "colours": ["color.ui=always", "color.status=always", "color.branch=always", "column.ui=always"],
    "names": ["core.quotePath=true", "core.abbrev=4", "diff.relative=true", "status.relativePaths=true"],
    "status": [
        *("status.showUntrackedFiles=no", "status.showStash=true", "status.short=true", "status.branch=true"),
        *("status.submoduleSummary=true", "status.renames=copies", "status.aheadBehind=true"),
    ],
    "submodules": ["diff.ignoreSubmodules=all", "submodule.recurse=true", "submodule.module.ignore=all"],
    "diff": [
        *("diff.external=false", "diff.noprefix=true", "diff.mnemonicPrefix=true", "diff.renames=copies"),
        *("diff.suppressBlankEmpty=true", "diff.algorithm=patience", "diff.orderFile=/dev/null"),
    ],
    "encodings": ["i18n.logOutputEncoding=UTF-16", "i18n.commitEncoding=latin1", "log.showSignature=true"],
    "short cuts": [
        *(
            "core.fsmonitor=true",
            "core.untrackedCache=true",
            "core.trustctime=false",
            "core.checkStat=minimal",
        ),
        *("feature.manyFiles=true", "index.sparse=true", "core.preloadIndex=false", "core.ignoreStat=true"),
    ],
    "traces": ["trace2.normalTarget=1", "trace2.perfTarget=1", "trace2.eventTarget=1"],
    "pagers": [
        "core.pager=false",
        "pager.status=true",
        "pager.config=true",
        "pager.tag=true",
        "core.editor=false",
    ],
}


@pytest.mark.parametrize("how", _CONFIGURED)
def test_no_configuration_changes_what_is_read(busy: Tree, how: str) -> None:
    """A person may have git print what they like: we read the same."""
    right = told(busy.root)
    for line in _CONFIGURED[how]:
        name, _, value = line.partition("=")
        busy.git("config", "--global", name, value)

    assert told(busy.root) == right


@pytest.mark.parametrize(
    "variables",
    [
        {"GIT_COMMITTER_NAME": "CI", "GIT_COMMITTER_EMAIL": "ci@example.org"},
        {
            "GIT_CONFIG_COUNT": "2",
            "GIT_CONFIG_KEY_0": "user.name",
            "GIT_CONFIG_VALUE_0": "CI",
            "GIT_CONFIG_KEY_1": "user.email",
            "GIT_CONFIG_VALUE_1": "ci@example.org",
        },
        {"GIT_CONFIG_GLOBAL": "{ci}"},
        {"GIT_CONFIG_PARAMETERS": "'user.name'='CI' 'user.email'='ci@example.org'"},
    ],
    ids=["committer", "count", "global", "parameters"],
)
def test_how_people_configure_git_stays(
    busy: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    """Who makes a tag is told by the environment, as in CI."""
    (tmp_path / "ci").write_text("[user]\nname = CI\nemail = ci@example.org\n")
    for name, value in variables.items():
        monkeypatch.setenv(name, value.format(ci=tmp_path / "ci"))
    found = open_repository(busy.root)
    assert found is not None
    assert found.tagger("v2.0.0").startswith("CI <ci@example.org> ")
    assert found.create_tag("v2.0.0", "Two")


def test_what_is_not_of_git_stays() -> None:
    """Filters have variables of their own, which may begin like those of git."""
    for name in (
        "GIT_LFS_SKIP_SMUDGE",
        "GIT_CRYPT_KEY",
        "GIT_BRANCH",
        "GIT_SSH_COMMAND",
        "GITHUB_TOKEN",
        "HOME",
    ):
        assert not is_astray(name)


def test_the_environment_is_back_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever happens meanwhile."""
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    with pytest.raises(KeyError, match="GIT_DIR"), without_astray():
        os.environ["GIT_DIR"]
    assert os.environ["GIT_DIR"] == "/nowhere"


def test_questions_of_any_length_need_no_file(busy: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    """What git reads goes to it by a pipe, more than any pipe holds, and it may write as much meanwhile."""
    for number in range(300):
        busy.write(f"{number:0200}.env")
    monkeypatch.setenv("TMPDIR", "/nowhere")
    states = told(busy.root)["states"]
    assert sum(state == "ignored" for state in states.values()) == 302
    shutil.rmtree(busy.root / ".git")
