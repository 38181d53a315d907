"""`headrace plugin new`: the new plugin installs in a fresh environment, and passes its own tests."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from headrace import Stage
from headrace.cli.main import cli

ROOT = Path(__file__).parents[2]
FILES = [
    "headrace-rate-guard/README.md",
    "headrace-rate-guard/pyproject.toml",
    "headrace-rate-guard/src/headrace_rate_guard/__init__.py",
    "headrace-rate-guard/src/headrace_rate_guard/policy.py",
    "headrace-rate-guard/src/headrace_rate_guard/py.typed",
    "headrace-rate-guard/tests/test_rate_guard.py",
]


def run(*command: object, cwd: Path, **environment: str) -> str:
    """Run a program that must succeed; return its output."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HEADRACE_")}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=kept | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_a_new_plugin_installs_and_passes_its_tests(headrace: Any, tmp_path: Path) -> None:
    uv = shutil.which("uv")
    assert uv, "uv, with which this project is installed, is on the path"
    result = headrace.run("plugin", "new", "rate-guard", "--stage", "protect")
    assert (result.code, result.err) == (0, "")
    assert sorted(result.out.partition("\n\n")[0].splitlines()) == FILES
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert sorted(str(path.relative_to(tmp_path)) for path in files) == FILES

    run(uv, "venv", "-q", "--python", sys.executable, "env", cwd=tmp_path)
    env = tmp_path / "env"
    run(uv, "build", "-q", "--wheel", "-o", tmp_path / "dist", "--package", "headrace", cwd=ROOT)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    run(
        *(uv, "pip", "install", "-q", "--python", env),
        *(f"headrace[cli] @ file://{wheel}", "-e", "headrace-rate-guard[test]"),
        cwd=tmp_path,
    )
    assert "6 passed" in run(env / "bin/pytest", "-q", "headrace-rate-guard", cwd=tmp_path)
    listed = run(env / "bin/headrace", "plugins", cwd=tmp_path, HEADRACE_RATE_GUARD_SLOW="2.5").splitlines()
    assert listed[:3] == [
        "rate_guard  headrace-rate-guard 0.1.0",
        "  policy rate_guard, stage PROTECT",
        "    slow = 2.5",
    ]
    # The templates are in the wheel: the installed headrace writes another plugin, and rejects this name.
    run(env / "bin/headrace", "plugin", "new", "another", cwd=tmp_path)
    again = subprocess.run(
        [env / "bin/headrace", "plugin", "new", "rate-guard", "--into", "elsewhere"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert again.returncode == 2
    assert "is installed already" in again.stderr


@pytest.fixture
def new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Runs `headrace plugin new` in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    arguments = ["plugin", "new"]
    return lambda *more: CliRunner().invoke(cli, [*arguments, *more], prog_name="headrace")


def test_new_plugins_pass_ruff_and_mypy(new: Callable[..., Result], tmp_path: Path) -> None:
    scripts = Path(sysconfig.get_path("scripts"))
    folders = [f"headrace-{name}" for name in ("x", "a-name-of-thirty-characters-30")]
    for folder in folders:
        assert new(folder).exit_code == 0
        run(scripts / "ruff", "check", "--no-cache", ".", cwd=tmp_path / folder)
        run(scripts / "ruff", "format", "--no-cache", "--check", ".", cwd=tmp_path / folder)
    # Both in one go: most of the time is for what they import.
    checked = [f"{folder}/{part}" for folder in folders for part in ("src", "tests")]
    mypy = (sys.executable, "-m", "mypy", "--strict", "--cache-dir", os.devnull)
    run(*mypy, *checked, cwd=tmp_path, MYPYPATH=":".join(f"{folder}/src" for folder in folders))


@pytest.mark.parametrize("stage", [stage.name for stage in Stage])
def test_a_new_policy_has_the_given_stage(new: Callable[..., Result], tmp_path: Path, stage: str) -> None:
    assert new("headrace-foo", "--stage", stage, "--into", "deep/er").exit_code == 0
    path = tmp_path / "deep/er/headrace-foo/src/headrace_foo/policy.py"
    specification = importlib.util.spec_from_file_location("foo_policy", path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    assert module.Foo().stage is Stage[stage]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Foo", "not a valid name for a plugin"),
        ("3d", "not a valid name for a plugin"),
        ("a--b", "not a valid name for a plugin"),
        ("a/../b", "not a valid name for a plugin"),
        ("a" * 31, "not a valid name for a plugin"),
        ("headrace-", "not a valid name for a plugin"),
        ("class", "is a keyword of Python"),
        ("none", "is a keyword of Python"),
        ("timeout", "is a setting of headrace"),
        ("policies", "is a setting of headrace"),
        ("retry", "plugin 'retry' (headrace-retry 0.1.0) is installed already"),
    ],
)
def test_an_invalid_plugin_name_is_rejected(
    new: Callable[..., Result], tmp_path: Path, name: str, message: str
) -> None:
    result = new(name)
    assert result.exit_code == 2
    assert message in result.output
    assert len(result.output.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_is_not_changed(new: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "headrace-foo").mkdir()
    (tmp_path / "file").touch()
    for options, message in (
        ((), "headrace-foo: exists already, and nothing is overwritten"),
        (("--into", "file"), "file/headrace-foo: cannot be written: Not a directory"),
    ):
        result = new("foo", *options)
        assert result.exit_code == 2
        assert message in result.output
    assert list((tmp_path / "headrace-foo").iterdir()) == []
