"""The version and the name come from the project's own files, and only good ones are taken."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backup_lib.errors import ProjectError, SettingsError
from backup_lib.project.git import open_repository
from backup_lib.project.version import parse_version, project_name, project_version, safe_name, tag_name

from .conftest import Tree


@pytest.mark.parametrize("text", ["1.1.0", "v1.1.0", "2.0.0-rc.1", "1.0.0+build.5", "0.0.0"])
def test_takes_semantic_versions(text: str) -> None:
    """A version may have one leading v, which is dropped."""
    assert str(parse_version(text)) == text.removeprefix("v")
    assert tag_name(text) == tag_name(parse_version(text)) == f"v{text.removeprefix('v')}"


@pytest.mark.parametrize(
    "text",
    ["", " ", "-h", "--help", "--dry", "1.1", "1.1.0 ", "1.1.0\n", "\n1.1.0", "vv1.1.0", "V1.1.0", "01.1.0",
     "latest", "1.1.0-", "1.1.0-rc..1", "../1.1.0", "1.1.0/..", "١.١.٠", "1.1.0\0", "1.1.0-\udcff"],
)  # fmt: skip
def test_refuses_anything_else(text: str) -> None:
    """A flag that Invoke swallowed, or half a version, is one line that says what a right one looks like."""
    with pytest.raises(
        SettingsError, match=r"^--version takes .* a version looks like 1\.1\.0 or 2\.0\.0-rc\.1$"
    ):
        parse_version(text)


def test_version_comes_from_the_first_file_that_states_one(repository: Tree) -> None:
    """package.json, then pyproject.toml, then VERSION, then the highest tag at HEAD."""
    repository.write("pyproject.toml", content=b'[project]\nversion = "2.0.0"\n')
    repository.write("VERSION", content=b"\xef\xbb\xbfv3.0.0\r\n")
    repository.commit()
    for tag in ("v1.9.0", "v1.10.0", "other", "v1.10.0-rc.1"):
        repository.git("tag", tag)
    repository.write("package.json", content=b'\xef\xbb\xbf{"version": "1.0.0"}')
    root, git = repository.root, open_repository(repository.root)

    found = [project_version(root, git)]
    for name in ("package.json", "pyproject.toml", "VERSION"):
        (root / name).unlink()
        found.append(project_version(root, git))

    assert found == [
        ("1.0.0", "package.json"), ("2.0.0", "pyproject.toml"), ("3.0.0", "VERSION"),
        ("1.10.0", "the tag at HEAD"),
    ]  # fmt: skip
    assert project_version(root) is None


@pytest.mark.parametrize(
    ("name", "content", "stated"),
    [
        ("pyproject.toml", '[project]\nname = "x"\ndynamic = ["version"]\n', None),
        ("pyproject.toml", '[tool.poetry]\nversion = "1.2.3"\n', ("1.2.3", "pyproject.toml")),
        ("pyproject.toml", "project = 1\ntool = 2\n", None),
        ("package.json", '{"private": true}', None),
    ],
)
def test_files_that_state_none_are_passed_over(
    tree: Tree, name: str, content: str, stated: tuple[str, str] | None
) -> None:
    """A dynamic or absent version is not an error."""
    (tree.root / name).write_text(content)

    assert project_version(tree.root) == stated


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "package.json",
            '{"version": "1.0"}',
            "package.json states the version '1.0', which is not semantic",
        ),
        ("package.json", '{"version": 1}', "package.json states the version '1', which is not semantic"),
        ("package.json", "{", "package.json is not JSON: "),
        ("package.json", "[]", "package.json is not a JSON object"),
        ("package.json", '{"version": [[]]}', "package.json states no semantic version"),
        ("package.json", '{"version": "sesame"}', "package.json states no semantic version"),
        ("pyproject.toml", "[", "pyproject.toml is not TOML: at end of document"),
        ("pyproject.toml", "\n[a]\n[a]", "pyproject.toml is not TOML: at line 3, column 3"),
        ("pyproject.toml", "[project]\nversion = 1.0", "pyproject.toml states the version '1.0'"),
        (
            "pyproject.toml",
            f"[project]\nversion = 0x{'1' * 9999}",
            "pyproject.toml states no semantic version",
        ),
        ("pyproject.toml", '[project]\nversion = "1.0rc1"', "pyproject.toml states the version '1.0rc1'"),
        ("VERSION", "", "VERSION states no semantic version"),
        ("VERSION", "1.0.0\nand more", "VERSION states no semantic version"),
        ("VERSION", "1.0.0-" + "a" * 300, "VERSION states no semantic version"),
    ],
)
def test_a_broken_file_is_named(tree: Tree, name: str, content: str, message: str) -> None:
    """A file that states a wrong version is not passed over for the next one."""
    (tree.root / name).write_text(content)

    with pytest.raises(ProjectError) as caught:
        project_version(tree.root)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_name_comes_from_the_project(tmp_path: Path) -> None:
    """package.json, then pyproject.toml, then the folder."""
    root = tmp_path / "My Project"
    root.mkdir()
    (root / "package.json").write_text('{"name": "@heymarket/endpoint"}')
    (root / "pyproject.toml").write_text('[tool.poetry]\nname = "From_Poetry"')

    assert project_name(root) == "heymarket-endpoint"
    (root / "package.json").write_text('{"name": " "}')
    assert project_name(root) == "from_poetry"
    (root / "pyproject.toml").unlink()
    assert project_name(root) == "my-project"
    (root / "package.json").write_text("nonsense")
    with pytest.raises(ProjectError, match=r"package\.json is not JSON"):
        project_name(root)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("@heymarket/endpoint", "heymarket-endpoint"),
        ("  My  App! ", "my-app"),
        ("...", "project"),
        ("", "project"),
        ("-rf", "rf"),
        (".hidden", "hidden"),
        ("Zu\u0308rich", "z\u00fcrich"),
        ("проект 5", "проект-5"),
        ("a/../b", "a-..-b"),
        ("x\udcff", "x"),
        ("ü" * 50, "ü" * 40),
    ],
)
def test_names_are_made_safe(text: str, name: str) -> None:
    """A name is one part of a file name, whatever the project calls itself."""
    assert safe_name(text) == name


@given(st.text())
def test_any_name_is_safe(text: str) -> None:
    """No text makes a name that is empty, too long, hidden, a flag or a path; a safe name stays as it is."""
    name = safe_name(text)

    assert 0 < len(name.encode()) <= 80
    assert not name.startswith((".", "-"))
    assert name.isprintable()
    assert not set(name) & set("/\\\0 :*?\"'<>|\n")
    assert safe_name(name) == name
