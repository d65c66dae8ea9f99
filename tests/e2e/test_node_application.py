"""A real Node application, released with the built wheel, lost, and brought back.

The software is built from the checkout and installed from the lock, as a user would have it; everything goes
through ``invoke`` in processes of their own, and what it wrote is read back by other people's tools.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    not (shutil.which("node") and shutil.which("npm")), reason="node and npm are wanted"
)

CHECKOUT = Path(__file__).parents[2]
APPLICATION = Path(__file__).with_name("application")
MACHINE = Path(os.path.expanduser("~"))
FOLDER = "heymarket-endpoint"
LEFT_OUT = ("node_modules", ".git", "dist", "__pycache__")

SOURCES = {
    "tasks.py": "from backup_lib.tasks import ns\n",
    ".gitignore": "node_modules/\ndist/\n.env\nsecrets/\n",
    ".env": "GREETING=Good morning\nAPI_KEY=s3cret\n",
    "secrets/session.key": "0123456789abcdef\n",
    "README.md": "# Heymarket Endpoint\n",
    "docs/höchst wichtig.md": "Names with spaces and umlauts.\n",
    "bin/start": "#!/bin/sh\nexec node src/server.mjs\n",
    "build.mjs": (
        'import {build} from "esbuild";\n'
        'const shared = {bundle: true, jsx: "automatic", logLevel: "warning"};\n'
        'await build({...shared, entryPoints: ["src/client.jsx"], minify: true,\n'
        '  outfile: "dist/client.js"});\n'
        'await build({...shared, entryPoints: ["src/App.jsx"], outfile: "dist/App.mjs", format: "esm",\n'
        '  platform: "node", packages: "external"});\n'
    ),
    "src/App.jsx": (
        "export default function App({greeting, version}) {\n"
        "  return <main><h1>{greeting}</h1><p>{`Endpoint ${version}`}</p></main>;\n"
        "}\n"
    ),
    "src/client.jsx": (
        'import {hydrateRoot} from "react-dom/client";\n'
        'import App from "./App.jsx";\n'
        'hydrateRoot(document.getElementById("root"), <App {...window.state} />);\n'
    ),
    "src/server.mjs": (
        'import {readFileSync} from "node:fs";\n'
        'import {fileURLToPath} from "node:url";\n'
        'import express from "express";\n'
        'import {createElement} from "react";\n'
        'import {renderToString} from "react-dom/server";\n'
        'import App from "../dist/App.mjs";\n'
        'const text = (name) => readFileSync(new URL(`../${name}`, import.meta.url), "utf8");\n'
        'const {version} = JSON.parse(text("package.json"));\n'
        'const greeting = text(".env").match(/^GREETING=(.*)$/m)[1];\n'
        "export const app = express();\n"
        'app.use("/assets", express.static(fileURLToPath(new URL("../dist", import.meta.url))));\n'
        'app.get("/", (_request, response) => response.send(\n'
        '  `<div id="root">${renderToString(createElement(App, {greeting, version}))}</div>`));\n'
        'if (process.argv[1]?.endsWith("server.mjs")) app.listen(process.env.PORT ?? 3000);\n'
    ),
    "test/server.test.mjs": (
        'import assert from "node:assert/strict";\n'
        'import test from "node:test";\n'
        'import {app} from "../src/server.mjs";\n'
        'test("the page is rendered from the configuration, and its script is served", async (t) => {\n'
        "  const server = app.listen(0);\n"
        "  t.after(() => server.close());\n"
        '  await new Promise((resolve) => server.once("listening", resolve));\n'
        "  const address = `http://localhost:${server.address().port}`;\n"
        '  const page = await (await fetch(address, {headers: {connection: "close"}})).text();\n'
        "  assert.match(page, /<h1>Good morning<\\/h1><p>Endpoint 1\\.1\\.0<\\/p>/);\n"
        '  const script = await fetch(`${address}/assets/client.js`, {headers: {connection: "close"}});\n'
        "  assert.equal(script.status, 200);\n"
        "  assert.ok((await script.text()).length > 10000);\n"
        "});\n"
    ),
}

Facts = dict[str, tuple[str, int, int, str]]


@dataclass
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str


@dataclass
class Story:
    """The application, and what happened to it."""

    base: Path
    python: Path
    environment: dict[str, str]
    commits: dict[str, str] = field(default_factory=dict)
    seen: dict[str, Facts] = field(default_factory=dict)
    done: dict[str, Done] = field(default_factory=dict)

    @property
    def root(self) -> Path:
        """The application's folder; a name that is not the project's."""
        return self.base / "work tree"

    @property
    def store(self) -> Path:
        """A store outside of the application."""
        return self.base / "kept safe"

    @property
    def restored(self) -> Path:
        """Where 1.1.0 was restored to."""
        return self.base / "restored 1.1.0"

    def archive(self, version: str, suffix: str = "gz") -> Path:
        """The newest archive of a version."""
        return (self.store / f"v{version}" / f"{FOLDER}_v{version}_latest.tar.{suffix}").resolve()

    def run(self, *command: str | Path, cwd: Path | None = None, **variables: str) -> Done:
        """Run a command."""
        done = subprocess.run(
            command,
            cwd=cwd or self.root,
            env=self.environment | variables,
            umask=0o022,  # busybox obeys it whatever -p says
            capture_output=True,
            text=True,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def must(self, *command: str | Path, cwd: Path | None = None, **variables: str) -> str:
        """Run a command that must succeed, and return what it prints."""
        done = self.run(*command, cwd=cwd, **variables)
        assert done.code == 0, (command, done)
        return done.out

    def invoke(self, *arguments: str | Path, cwd: Path | None = None, **variables: str) -> Done:
        """Run ``invoke`` of the fresh virtual environment."""
        return self.run(self.python.with_name("invoke"), *arguments, cwd=cwd, **variables)

    def commit(self, version: str) -> None:
        """Commit all, and remember the commit and the tree."""
        self.must("git", "add", "--all", ".", ":(exclude)__pycache__")
        self.must("git", "commit", "--quiet", "--message", f"Make {version}")
        self.commits[version] = self.must("git", "rev-parse", "HEAD").strip()
        self.seen[version] = facts(self.root)


def facts(root: Path) -> Facts:
    """Return kind, mode, whole seconds of the time of change, and digest or target, by name."""
    found: Facts = {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root)
        if set(name.parts) & set(LEFT_OUT):
            continue
        status = path.lstat()
        mode, changed = status.st_mode & 0o7777, int(status.st_mtime)
        if path.is_symlink():
            found[str(name)] = ("link", 0, changed, os.readlink(path))
        elif path.is_dir():
            found[str(name)] = ("folder", mode, changed, "")
        else:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            found[str(name)] = (f"file of {status.st_nlink}", mode, changed, digest)
    return found


def lasting(told: Facts) -> Facts:
    """Return facts without the times of folders, which new files in them change, and of links."""
    return {
        name: (kind, mode, at if kind.startswith("file") else 0, what)
        for name, (kind, mode, at, what) in told.items()
    }


def write_application(story: Story) -> None:
    """Write, install and commit the application."""
    for name, text in SOURCES.items():
        path = story.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        os.utime(path, (1_700_000_000, 1_700_000_000))
    for name in ("package.json", "package-lock.json"):
        shutil.copy(APPLICATION / name, story.root)
    (story.root / "invoke.yaml").write_text(json.dumps({"backup": {"store": str(story.store)}}))
    (story.root / ".env").chmod(0o600)
    (story.root / "bin/start").chmod(0o755)
    (story.root / "uploads").mkdir()
    (story.root / "docs/start here").symlink_to("../README.md")
    (story.root / "secrets/again.key").hardlink_to(story.root / "secrets/session.key")
    story.must("npm", "ci", "--silent", "--no-audit", "--no-fund")
    story.must("git", "init", "--quiet")
    story.commit("1.1.0")


def install_software(base: Path, environment: dict[str, str]) -> Path:
    """Build the wheel, install it with what the lock names, and return the Python it is for."""
    wheels, python = base / "wheels", base / "venv/bin/python"

    def run(*command: str | Path) -> None:
        done = subprocess.run(
            command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done

    run(sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", wheels)
    run(sys.executable, "-m", "venv", base / "venv")
    pip = (python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet")
    run(*pip, "--require-hashes", "--only-binary", ":all:", "--requirement", CHECKOUT / "requirements.txt")
    run(*pip, "--no-deps", *wheels.glob("*.whl"))
    return python


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """Two releases, one other backup, the loss of everything but the store, and a restore."""
    base = tmp_path_factory.mktemp("node application")
    (base / "gitconfig").write_text(
        "[user]\nname = A Tester\nemail = tester@example.com\n[init]\ndefaultBranch = main\n"
    )
    dropped = ("INVOKE_", "GIT_", "SOURCE_DATE", "PYTHON", "COV_", "VIRTUAL_ENV")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(dropped)} | {
        "HOME": str(base),
        "GIT_CONFIG_GLOBAL": str(base / "gitconfig"),
        "GIT_CONFIG_NOSYSTEM": "1",
        # How this machine reaches its package indexes is its own affair.
        "XDG_CACHE_HOME": os.environ.get("XDG_CACHE_HOME", str(MACHINE / ".cache")),
        "XDG_CONFIG_HOME": os.environ.get("XDG_CONFIG_HOME", str(MACHINE / ".config")),
        "npm_config_userconfig": str(MACHINE / ".npmrc"),
        "npm_config_cache": str(MACHINE / ".npm"),
    }
    story = Story(base, install_software(base, environment), environment)
    write_application(story)
    story.done["release 1.1.0"] = story.invoke("release", "--version", "1.1.0", "--new-store")

    package = json.loads((APPLICATION / "package.json").read_text()) | {"version": "1.2.0"}
    (story.root / "package.json").write_text(json.dumps(package, indent=2) + "\n")
    (story.root / "src/App.jsx").write_text("export default function App() { return <b>changed</b>; }\n")
    (story.root / "README.md").unlink()
    (story.root / "CHANGES.md").write_text("No longer what it was.\n")
    (story.root / ".env").write_text("GREETING=Good night\n")
    story.commit("1.2.0")
    story.done["release 1.2.0"] = story.invoke("release", "--version", "1.2.0")
    story.done["backup as zst"] = story.invoke("backup", "--version", "1.2.0-rc.1", "--format", "zst")
    story.done["verify --all"] = story.invoke("verify", "--all")

    aside = base / "the store elsewhere"
    shutil.copytree(story.store, aside, symlinks=True)
    story.done["release and clean"] = story.invoke(
        "release", "--version", "1.2.0", "clean", "--keep", "1", INVOKE_BACKUP_STORE=str(aside)
    )
    for number, place in enumerate((story.root, story.root / "src")):
        story.done[f"backup in {place.name}"] = story.invoke(
            "backup",
            "--json",
            "--fresh",
            "--new-store",
            cwd=place,
            INVOKE_BACKUP_STORE=str(base / f"store {number}"),
            SOURCE_DATE_EPOCH="1800000000",
        )
    story.done["git status"] = story.run("git", "status", "--porcelain", "--", ":(exclude)__pycache__")
    story.done["changelog"] = story.run("cat", "CHANGELOG.md")
    story.done["tags"] = story.run(
        "git", "for-each-ref", "--format=%(refname:short) %(*objectname)", "refs/tags"
    )

    shutil.rmtree(story.root)
    rescue = base / "a new machine"
    rescue.mkdir()
    (rescue / "tasks.py").write_text(SOURCES["tasks.py"])
    story.done["restore"] = story.invoke(
        *("restore", "--version", "1.1.0", "--to", story.restored, "--setup", "--test"),
        cwd=rescue,
        INVOKE_BACKUP_STORE=str(story.store),
    )
    yield story
    shutil.rmtree(base, ignore_errors=True)


@pytest.mark.parametrize("version", ["1.1.0", "1.2.0"])
def test_a_release_is_tagged_backed_up_proved_and_noted(story: Story, version: str) -> None:
    """One command releases: what ran before it, and Python's own caches, do not get in its way."""
    done = story.done[f"release {version}"]
    assert done.code == 0, done
    assert f"Released v{version}: {story.store / f'v{version}'}" in done.out
    assert f"v{version} {story.commits[version]}" in story.done["tags"].out.splitlines()
    assert version in story.done["changelog"].out
    assert story.archive(version).is_file()


def test_a_release_leaves_git_as_it_was_but_for_the_changelog(story: Story) -> None:
    """Nothing else in the work tree is touched."""
    assert story.done["git status"].out.split() == ["M", "CHANGELOG.md"]


def test_every_backup_of_the_store_is_proved(story: Story) -> None:
    """`invoke verify --all` reads back gz and zst, and says so of each."""
    done = story.done["verify --all"]
    assert done.code == 0, done
    assert "3 backups verified, 0 with findings" in done.out


def test_what_was_lost_is_back_and_works(story: Story) -> None:
    """From the store alone, the application of 1.1.0 comes back, installs itself and passes its own tests."""
    done = story.done["restore"]
    assert done.code == 0, done
    assert "Ran: npm ci" in done.out
    assert "Ran: npm test" in done.out
    assert "pass 1" in done.err
    application = story.restored / FOLDER
    assert lasting(facts(application)) == lasting(story.seen["1.1.0"])
    assert (application / ".env").read_text() == SOURCES[".env"]
    assert (application / ".env").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "tool",
    [
        pytest.param(("tar", "--extract", "--preserve-permissions", "--gzip", "--file"), id="GNU tar"),
        pytest.param(("bsdtar", "-x", "-p", "-f"), id="bsdtar"),
        pytest.param(("busybox", "tar", "-x", "-p", "-z", "-f"), id="busybox"),
    ],
)
def test_stock_tools_extract_what_restore_restores(
    story: Story, tool: tuple[str, ...], tmp_path: Path
) -> None:
    """Names, modes, links, times and contents are the same, and the manifest proves them."""
    if shutil.which(tool[0]) is None:
        pytest.skip(f"{tool[0]} is wanted")
    by_tool, by_us = tmp_path / "tool", tmp_path / "us"
    by_tool.mkdir()
    story.must(*tool, story.archive("1.1.0"), cwd=by_tool)
    (tmp_path / "tasks.py").write_text(SOURCES["tasks.py"])
    done = story.invoke("restore", "--archive", story.archive("1.1.0"), "--to", by_us, cwd=tmp_path)
    assert done.code == 0, done
    same = lasting if tool[0] == "busybox" else dict  # which does not set the times of folders and links
    assert same(facts(by_tool)) == same(facts(by_us))
    assert {name.partition("/")[2] for name in facts(by_us)} - {""} == set(story.seen["1.1.0"])
    manifest = story.store / "v1.1.0" / "MANIFEST.txt"
    assert story.must("sha256sum", "--check", "--strict", "--quiet", manifest, cwd=by_tool) == ""


@pytest.mark.parametrize("suffix", ["gz", "zst"])
def test_git_tells_the_commit_of_an_archive(story: Story, suffix: str) -> None:
    """The archive itself says which commit it was made at."""
    version, unpack = ("1.1.0", "gzip") if suffix == "gz" else ("1.2.0-rc.1", "zstd")
    commit = story.commits["1.1.0" if suffix == "gz" else "1.2.0"]
    script = f'{unpack} --decompress --stdout "$1" | git get-tar-commit-id'
    assert (
        story.must("sh", "-c", script, "sh", story.archive(version, suffix), cwd=story.base).strip() == commit
    )


def test_node_and_python_read_the_same_stream_as_gzip(story: Story) -> None:
    """A reader that knows nothing of blocks sees one stream, to its end."""
    archive = story.archive("1.2.0")
    read = (
        'import {createReadStream} from "node:fs"; import {createGunzip} from "node:zlib";'
        'import {createHash} from "node:crypto"; const hash = createHash("sha256");'
        "for await (const part of createReadStream(process.argv[1]).pipe(createGunzip())) hash.update(part);"
        'console.log(hash.digest("hex"));'
    )
    by_node = story.must("node", "--input-type=module", "--eval", read, archive, cwd=story.base).strip()
    script = 'gzip --decompress --stdout "$1" | sha256sum'
    assert story.must("sh", "-c", script, "sh", archive, cwd=story.base).split()[0] == by_node
    with tarfile.open(archive) as opened:
        members = {member.name: member for member in opened}
        assert set(members) == {FOLDER} | {f"{FOLDER}/{name}" for name in story.seen["1.2.0"]}
        content = opened.extractfile(members[f"{FOLDER}/.env"])
        assert content is not None
        assert content.read() == b"GREETING=Good night\n"


@pytest.mark.skipif(shutil.which("zstd") is None, reason="zstd is wanted")
def test_zstd_archives_are_plain_too(story: Story, tmp_path: Path) -> None:
    """`zstd -t` finds them whole, `tar --zstd` extracts them, and the manifest proves what came out."""
    archive = story.archive("1.2.0-rc.1", "zst")
    assert story.done["backup as zst"].code == 0, story.done["backup as zst"]
    story.must("zstd", "--test", "--quiet", archive, cwd=tmp_path)
    story.must("tar", "--extract", "--zstd", "--file", archive, cwd=tmp_path)
    manifest = archive.parent / "MANIFEST.txt"
    assert story.must("sha256sum", "--check", "--strict", "--quiet", manifest, cwd=tmp_path) == ""


def test_release_and_clean_chain(story: Story) -> None:
    """`invoke release … clean --keep 1` is one command line: released already, then the older ones go."""
    done = story.done["release and clean"]
    assert done.code == 0, done
    assert "v1.2.0 is released already" in done.out
    left = story.base / "the store elsewhere"
    assert not (left / "v1.1.0").exists()
    assert [path.name for path in left.glob("v*")] == ["v1.2.0"]


def test_a_backup_from_a_sub_folder_is_the_same_to_the_byte(story: Story) -> None:
    """Where you stand in the project makes no difference; nor does the hour, once it is given."""
    here, below = story.done[f"backup in {story.root.name}"], story.done["backup in src"]
    assert (here.code, below.code) == (0, 0), (here, below)
    first, second = json.loads(here.out)["result"], json.loads(below.out)["result"]
    assert first["files"] == second["files"] > 10
    assert first["sha256"] == second["sha256"]
