"""Runs every fenced block of the READMEs and of docs/. Each page runs in a separate process.

The language of a block says how it is run. A comment directly above it changes that:

    <!-- file: PATH -->         write the block to PATH, for the blocks below
    <!-- output -->             the output of the block before it; `...` matches anything
    <!-- exits: 1 -->           the exit status of the shell block
    <!-- not run: REASON -->    skip the block

`python` blocks of a page share one namespace and, if they await outside of a function, one asyncio event
loop, as in a notebook. `sh` blocks share one folder, `toml` blocks are loaded as settings, unless they are
job files, and `json` blocks are parsed. Only `pip install -e FOLDER` is not run but simulated: the folder's
sources are put on the path, with the metadata that an installer would write.

`nox -s docs` runs all pages; `python tests/docs/test_code_blocks.py PAGE` runs one in the current folder.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import inspect
import io
import json
import os
import re
import signal
import subprocess
import sys
import sysconfig
import tempfile
import tomllib
import types
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "plugins").glob("*/README.md")),
]
MOST_NOT_RUN = 18
PAGE_LIMIT = 120.0
BLOCK_LIMIT = 60.0

_FENCE = re.compile(r"^(?P<mark>```+)(?P<language>\w*)\s*$")
_COMMENT = re.compile(r"^<!--\s*(?P<word>file|output|exits|not run)(?::\s*(?P<value>.*?))?\s*-->$")
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\((?P<target>[^)\s]+)\)")
_KEY_VARIABLE = re.compile(r'^api_key_env = "(\w+)"$', re.MULTILINE)
_INSTALL = re.compile(r"^pip install -e '?(?P<folder>[^\s'\[]+)(\[\w+\])?'?$", re.MULTILINE)
_LANGUAGES = {"python", "sh", "toml", "json", "csv", "text"}


@attrs.frozen
class Block:
    """One fenced block: its language, its text, the line it begins in, and the comment above it."""

    language: str
    text: str
    line: int
    word: str = ""
    value: str = ""


def blocks_of(page: Path) -> list[Block]:
    blocks: list[Block] = []
    lines = page.read_text(encoding="utf-8").splitlines()
    number = 0
    while number < len(lines):
        fence = _FENCE.match(lines[number])
        number += 1
        if fence is None:
            continue
        begin = number
        while lines[number] != fence["mark"]:
            number += 1
        comment = _COMMENT.match(lines[begin - 2]) if begin > 1 else None
        word, value = (comment["word"], comment["value"] or "") if comment else ("", "")
        text = "".join(f"{line}\n" for line in lines[begin:number])
        blocks.append(Block(fence["language"], text, begin + 1, word, value))
        number += 1
    return blocks


# The code below runs in the process of a page.


class Runner:
    """Runs the blocks of one page, one after the other, in the current folder."""

    def __init__(self, page: Path) -> None:
        self._page = page
        self._module = types.ModuleType("page")
        self._printed = ""
        sys.modules["page"] = self._module
        self._notebook = asyncio.Runner()

    def run(self) -> None:
        with contextlib.closing(self._notebook):
            for block in blocks_of(self._page):
                try:
                    self._run(block)
                except Exception as error:
                    raise AssertionError(f"{self._page}:{block.line}: {error}") from error

    def _run(self, block: Block) -> None:
        assert block.language in _LANGUAGES, f"a block in the language {block.language!r}"
        if block.word == "not run":
            return
        if block.word == "file":
            path = Path(block.value)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, encoding="utf-8")
        if block.word == "output":
            wanted = re.escape(block.text.strip()).replace(r"\.\.\.", ".*?")
            assert re.fullmatch(wanted, self._printed.strip(), re.DOTALL), f"printed:\n{self._printed}"
        elif block.language == "toml":
            _load(block.text)
        elif block.language == "json":
            _check_json(block.text)
        elif block.word == "file":
            pass
        elif block.language == "python":
            self._python(block)
        elif block.language == "sh":
            self._shell(block)

    def _python(self, block: Block) -> None:
        text = "\n" * (block.line - 1) + block.text
        code = compile(text, str(self._page), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            if code.co_flags & inspect.CO_COROUTINE:
                self._notebook.run(eval(code, self._module.__dict__))
            else:
                exec(code, self._module.__dict__)  # noqa: S102 - the page's own code
        self._printed = printed.getvalue()

    def _shell(self, block: Block) -> None:
        script = _INSTALL.sub(_pretend_to_install, block.text)
        # A new session, so that a block that does not end can be killed with all its child processes.
        with subprocess.Popen(
            ["bash", "-euo", "pipefail", "-c", script],
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as shell:
            try:
                self._printed, _ = shell.communicate(timeout=BLOCK_LIMIT)
            except subprocess.TimeoutExpired:
                os.killpg(shell.pid, signal.SIGKILL)
                raise
        wanted = int(block.value) if block.word == "exits" else 0
        assert shell.returncode == wanted, f"exit code {shell.returncode}; printed:\n{self._printed}"


def _check_json(text: str) -> None:
    """Parse one JSON value, or one per line."""
    try:
        json.loads(text)
    except ValueError:
        for line in text.splitlines():
            json.loads(line)


def _load(text: str) -> None:
    """Load the text of a headrace.toml, or of a pyproject.toml with settings, like a client."""
    from headrace.pipeline.plugin_manager import Plugins
    from headrace.settings import load_settings

    table = tomllib.loads(text)
    if "input" in table:
        return  # a job file; a shell block runs it
    name = "pyproject.toml" if {"tool", "project"} & table.keys() else "headrace.toml"
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, name).write_text(text, encoding="utf-8")
        keys = dict.fromkeys(_KEY_VARIABLE.findall(text), "sk-of-the-reader")
        endpoint = {"OPENAI_BASE_URL": "http://127.0.0.1/v1"}
        settings = load_settings({}, environ=keys | endpoint, directory=Path(folder))
        Plugins().policies(settings)
        settings.check_claimed()


def _pretend_to_install(command: re.Match[str]) -> str:
    """Put a distribution on the path of this process and of its child processes."""
    folder = Path(command["folder"]).resolve()
    project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    source = folder / "src"
    info = source / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    metadata = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    (info / "METADATA").write_text(metadata, encoding="utf-8")
    groups = []
    for group, entries in project.get("entry-points", {}).items():
        groups += [f"[{group}]", *(f"{name} = {value}" for name, value in entries.items())]
    (info / "entry_points.txt").write_text("\n".join(groups) + "\n", encoding="utf-8")
    sys.path.append(str(source))
    os.environ["PYTHONPATH"] = os.pathsep.join([*filter(None, [os.environ.get("PYTHONPATH")]), str(source)])
    return ":"


# The tests.


@pytest.fixture(scope="module")
def base_url() -> Iterator[str]:
    """An embedded endpoint as a separate process."""
    command = [sys.executable, "-m", "headrace.testing.server", "--port=0", "--until-stdin-closes"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().removeprefix("listening at ").strip()
        process.terminate()


def _name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.mark.pages
@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_blocks_of_a_page_run(page: Path, base_url: str, tmp_path: Path) -> None:
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("HEADRACE_", "OPENAI_", "COV_")) and not name.lower().endswith("_proxy")
    }
    environment |= {
        "PATH": os.pathsep.join([sysconfig.get_path("scripts"), environment["PATH"]]),
        "OPENAI_BASE_URL": base_url,
        "OPENAI_API_KEY": "sk-simulated",
        "PYTHONUTF8": "1",
    }
    done = subprocess.run(
        [sys.executable, "-W", "error", __file__, str(page)],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PAGE_LIMIT,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_few_blocks_are_skipped_and_each_has_a_reason() -> None:
    left_out = [(_name(page), b) for page in PAGES for b in blocks_of(page) if b.word == "not run"]
    assert all(len(block.value) > 10 for _, block in left_out), left_out
    assert len(left_out) <= MOST_NOT_RUN, left_out


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_links_have_targets(page: Path) -> None:
    for target in _LINK.findall(_prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), f"{target}: no such file"
        assert ROOT in found.parents, f"{target}: outside the repository"
        if anchor and found.suffix == ".md":
            assert anchor in _anchors(found), f"{target}: no such heading; there are {_anchors(found)}"


def test_index_pages_list_every_page() -> None:
    docs = ROOT / "docs"
    listed = {
        (index.parent / target.partition("#")[0]).resolve()
        for index in docs.rglob("index.md")
        for target in _LINK.findall(_prose(index))
    }
    pages = {page.resolve() for page in PAGES if docs in page.parents} - {docs / "index.md"}
    assert pages <= listed, pages - listed


def _prose(page: Path) -> str:
    text = re.sub(r"^(```+).*?^\1$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"`[^`\n]*`", "``", text)


def _anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub creates them."""
    text = re.sub(r"^(```+).*?^\1$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


if __name__ == "__main__":
    sys.path[0] = os.getcwd()  # a page may import the modules that it writes
    Runner(Path(sys.argv[1]).resolve()).run()
