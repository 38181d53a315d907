"""The steps that a change must pass: `nox --list` names them, `nox -s lint typing` runs two of them.

`.ci/run` runs all of them on a bare machine, `.github/workflows` on several systems and Pythons. The steps
run in the environment of `uv run`, so they need uv and nox, and no other environment. `UV_PYTHON=3.13 nox
-s tests` tests with another Python.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import nox

nox.needs_version = ">=2025.5.1"
nox.options.default_venv_backend = "none"
nox.options.sessions = ["lint", "typing", "changelog", "tests"]

# Without headrace-ray: Ray is large, so its plugin is tested in a session of its own.
PLUGINS = sorted(path.name for path in Path("plugins").glob("headrace-*") if path.name != "headrace-ray")
DIST = Path("dist")
WITHOUT_POSIX = [
    "tests/_support",
    "tests/settings",
    "tests/wire",
    "tests/test_endpoint.py",
    "tests/test_errors.py",
    "tests/test_keys.py",
    "tests/test_limiters.py",
    "tests/test_without_posix.py",
    "tests/transports/test_httpx.py",
    "tests/transports/test_memory.py",
]


@nox.session
def lint(session: nox.Session) -> None:
    """Style, formatting, and which module may import which."""
    session.run("uv", "run", "ruff", "check", ".")
    session.run("uv", "run", "ruff", "format", "--check", ".")
    session.run("uv", "run", "lint-imports")


@nox.session
def typing(session: nox.Session) -> None:
    """mypy for all code; pyright for code that uses headrace, and for how complete the public types are."""
    session.run("uv", "run", "mypy")
    session.run("npm", "install", "--no-audit", "--no-fund", "--silent", "--prefix", "tests/typing")
    pyright = ("uv", "run", "node", "tests/typing/node_modules/pyright/index.js")
    session.run(*pyright, "--project", "tests/typing")
    for package in ["headrace", *(name.replace("-", "_") for name in PLUGINS)]:
        session.run(*pyright, "--ignoreexternal", "--verifytypes", package)


@nox.session
def changelog(session: nox.Session) -> None:
    """A change of the sources has a news fragment; `-- BASE` compares with another branch than main."""
    session.run("uv", "run", "python", ".ci/news_fragment.py", *session.posargs)
    session.run("uv", "run", "towncrier", "build", "--draft", "--version", "next")


@nox.session
def tests(session: nox.Session) -> None:
    """The tests, as README says; arguments after `--` go to pytest."""
    session.run("uv", "run", "pytest", *session.posargs)


@nox.session
def properties(session: nox.Session) -> None:
    """The properties alone, with twenty times the examples; `-- --hypothesis-seed=7` repeats a run."""
    thorough = ("-m", "hypothesis", "--hypothesis-profile=thorough")
    session.run("uv", "run", "pytest", *thorough, "tests", *session.posargs)


@nox.session
def coverage(session: nox.Session) -> None:
    """The tests, and which branches they reach; fails below the bar in pyproject.toml."""
    session.run("uv", "run", "coverage", "erase")
    session.run("uv", "run", "coverage", "run", "-m", "pytest", *session.posargs)
    session.run("uv", "run", "coverage", "combine", "--quiet")
    session.run("uv", "run", "coverage", "report", "--skip-covered", "--show-missing")


@nox.session
def windows(session: nox.Session) -> None:
    """The tests of what works without fcntl, epoll and kqueue: calls over httpx, and all that does no I/O."""
    session.run("uv", "run", "pytest", "--numprocesses=0", *WITHOUT_POSIX, *session.posargs)


@nox.session(name="plugins-alone")
def plugins_alone(session: nox.Session) -> None:
    """Each plugin's tests, alone with headrace and pytest; `-- headrace-retry` for one plugin."""
    session.run(".ci/plugins-alone", *session.posargs)


@nox.session
def ray(session: nox.Session) -> None:
    """Bulk runs on Ray, in an environment of their own: Ray is large."""
    isolated = ("uv", "run", "--isolated", "--group", "ray")
    session.run(*isolated, "pytest", "-q", "--numprocesses=0", "plugins/headrace-ray", *session.posargs)


@nox.session(name="old-sdk")
def old_sdk(session: nox.Session) -> None:
    """The official SDK of before, which is on httpx."""
    session.run(
        *("uv", "run", "--isolated", "--with", "openai>=2,<3"),
        "pytest",
        "-q",
        "tests/integrations/test_sdks.py",
    )


@nox.session
def demo(session: nox.Session) -> None:
    """The demo, as README says."""
    session.run("uv", "run", "headrace", "demo")


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation site, into site/, and its code blocks; `-- serve` shows it while it is written."""
    mkdocs = ("uv", "run", "--isolated", "--group", "docs", "mkdocs")
    session.run(*mkdocs, *(session.posargs or ("build", "--strict")))
    if not session.posargs:
        session.run("uv", "run", "pytest", "-m", "pages", "--dist=load", "--numprocesses=2", "tests/docs")


@nox.session
def wheels(session: nox.Session) -> None:
    """All distributions, into dist/; checked, and used as a user does: in a fresh environment."""
    session.run("uv", "build", "--quiet", "--clear", "--all-packages", "--out-dir", str(DIST))
    session.run("uv", "run", "python", ".ci/check_distributions.py", str(DIST))
    headrace = Path(fresh_environment(session, "user", *standard())).with_name("headrace")
    with session.chdir(session.create_tmp()):
        session.run(str(headrace), "plugins")
        session.run(str(headrace), "demo")


@nox.session
def audit(session: nox.Session) -> None:
    """Known vulnerabilities of what a user installs from dist/, where the advisories can be reached."""
    session.run(
        "uv", "run", "--no-project", "python", ".ci/audit.py", fresh_environment(session, "user", *standard())
    )


@nox.session
def notebooks(session: nox.Session) -> None:
    """The notebooks of docs/, executed with what is in dist/, as a user does: in a fresh environment."""
    packages = (*standard("parquet"), "ipykernel", "nbconvert", "pandas")
    python, check = (
        fresh_environment(session, "notebooks", *packages),
        Path(".ci/check_notebooks.py").resolve(),
    )
    written = [path.resolve() for path in sorted(Path("docs").rglob("*.ipynb"))]
    with session.chdir(session.create_tmp()):
        executed = [shutil.copy(path, path.name) for path in written]
        session.run(python, "-m", "nbconvert", "--to=notebook", "--execute", "--inplace", *executed)
        session.run(python, str(check), *executed)


@nox.session
def benchmarks(session: nox.Session) -> None:
    """The benchmarks run: a few calls, which show that they work and not how fast."""
    session.run("uv", "run", "--group", "bench", "python", "benchmarks/all.py", "--quick")


def standard(*extras: str) -> list[str]:
    """What `headrace[standard]` and further extras are, as built distributions in dist/."""
    (core,) = DIST.glob("headrace-*.whl")
    return [
        f"headrace[{','.join(('standard', *extras))}] @ {core.resolve().as_uri()}",
        *map(str, DIST.glob("headrace_*.whl")),
    ]


def fresh_environment(session: nox.Session, name: str, *packages: str) -> str:
    """A new environment with the packages installed, and nothing editable; the path of its Python."""
    environment = Path(session.create_tmp()).resolve() / name
    python = environment / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    session.run("uv", "venv", "--quiet", "--clear", str(environment))
    session.run("uv", "pip", "install", "--quiet", "--python", str(python), *packages)
    return str(python)
