"""A change of the sources needs a news fragment; a change of anything else does not."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

CHECK = Path(__file__).parents[2] / ".ci" / "news_fragment.py"

Check = Callable[[dict[str, str | None]], "subprocess.CompletedProcess[str]"]


@pytest.fixture
def check(tmp_path: Path) -> Check:
    """Commits the files to a branch of a small repository (None deletes one), and runs the check there."""

    def git(*arguments: str) -> None:
        identity = ("-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
        subprocess.run(["git", *identity, *arguments], cwd=tmp_path, check=True, capture_output=True)

    def write(files: dict[str, str | None]) -> None:
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink() if text is None else path.write_text(text, encoding="utf-8")

    def check(files: dict[str, str | None]) -> subprocess.CompletedProcess[str]:
        write(files)
        git("add", "--all")
        git("commit", "--allow-empty", "--message", "A change")
        return subprocess.run([sys.executable, str(CHECK)], cwd=tmp_path, capture_output=True, text=True)

    git("init", "--initial-branch=main")
    write({"src/headrace/a.py": "", "CHANGELOG.md": "", "docs/changes/+old.fixed": "Fixed.\n"})
    git("add", "--all")
    git("commit", "--message", "Start")
    git("switch", "--create", "change")
    return check


@pytest.mark.parametrize(
    "source", ["src/headrace/a.py", "src/headrace/b.py", "plugins/headrace-x/src/x/b.py"]
)
def test_changed_sources_without_a_fragment_are_refused(check: Check, source: str) -> None:
    done = check({source: "new = 1\n"})

    assert done.returncode == 1
    assert source in done.stderr
    assert "add docs/changes/+WORDS.KIND" in done.stderr


@pytest.mark.parametrize("fragment", ["docs/changes/+new-thing.added", "docs/changes/17.internal"])
def test_changed_sources_with_a_new_fragment_pass(check: Check, fragment: str) -> None:
    done = check({"src/headrace/a.py": "new = 1\n", fragment: "A new thing.\n"})

    assert (done.returncode, done.stderr) == (0, "")


def test_an_old_fragment_does_not_count(check: Check) -> None:
    assert (
        check({"src/headrace/a.py": "new = 1\n", "docs/changes/+old.fixed": "Other words.\n"}).returncode == 1
    )


@pytest.mark.parametrize("path", ["tests/test_a.py", "plugins/headrace-x/tests/test_x.py", "docs/page.md"])
def test_tests_and_pages_need_no_fragment(check: Check, path: str) -> None:
    assert check({path: "new = 1\n"}).returncode == 0


@pytest.mark.parametrize("name", ["+new.feature", "new.added", "+new.added.md"])
def test_a_misnamed_fragment_is_refused(check: Check, name: str) -> None:
    done = check({f"docs/changes/{name}": "A new thing.\n"})

    assert done.returncode == 1
    assert f"docs/changes/{name}: must be named docs/changes/+WORDS.KIND" in done.stderr


def test_a_release_passes(check: Check) -> None:
    release = {"src/headrace/a.py": "v = 2\n", "CHANGELOG.md": "Fixed.\n", "docs/changes/+old.fixed": None}

    assert check(release).returncode == 0


def test_without_a_repository_nothing_is_checked(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, str(CHECK)], cwd=tmp_path, capture_output=True, text=True)

    assert (done.returncode, done.stdout) == (0, "not checked: there is no branch main to compare with\n")


def test_an_unknown_base_is_an_error(check: Check, tmp_path: Path) -> None:
    check({})
    done = subprocess.run(
        [sys.executable, str(CHECK), "nowhere"], cwd=tmp_path, capture_output=True, text=True
    )

    assert done.returncode == 1
    assert "git merge-base" in done.stderr
