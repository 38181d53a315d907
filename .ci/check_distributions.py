"""Fail when a built distribution is missing or incomplete: `python .ci/check_distributions.py FOLDER`.

Each project of the workspace must have one wheel and one source distribution in FOLDER. Both must contain
the licence and every file of the project's packages, such as py.typed and templates. The wheel must contain
nothing else, and its metadata must have links and classifiers.
"""

from __future__ import annotations

import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from email import message_from_bytes
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LINKS = {"Homepage", "Documentation", "Changelog", "Issues"}


def packages(project: Path) -> set[str]:
    """The files of a project's packages, relative to its src."""
    source = project / "src"
    files = (path for path in source.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(source).as_posix() for path in files}


def faults_of_wheel(wheel: Path, expected: set[str]) -> Iterator[str]:
    """What is wrong with a wheel."""
    info = "-".join(wheel.name.split("-")[:2]) + ".dist-info/"
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        metadata = message_from_bytes(archive.read(info + "METADATA"))
    yield from (f"{name} is missing" for name in sorted(expected - names))
    yield from (f"{name} is too much" for name in sorted(names - expected) if not name.startswith(info))
    if info + "licenses/LICENSE" not in names:
        yield "the licence is missing"
    for package in {name.partition("/")[0] for name in expected}:
        if f"{package}/py.typed" not in names:
            yield f"{package}/py.typed is missing"
    links = {link.partition(",")[0] for link in metadata.get_all("Project-URL", [])}
    yield from (f"the link {link} is missing" for link in sorted(LINKS - links))
    if not any(each.startswith("Operating System ::") for each in metadata.get_all("Classifier", [])):
        yield "classifiers are missing"


def faults_of_source(source: Path, expected: set[str]) -> Iterator[str]:
    """What is wrong with a source distribution."""
    with tarfile.open(source) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    needed = {f"src/{name}" for name in expected} | {"LICENSE", "README.md", "pyproject.toml"}
    yield from (f"{name} is missing" for name in sorted(needed - names))


def main() -> int:
    """Check all, print the faults, and return the exit code."""
    folder, faults, checked = Path(sys.argv[1]), [], set()
    for project in [ROOT, *sorted((ROOT / "plugins").glob("headrace-*"))]:
        about = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        stem = f"{about['name'].replace('-', '_')}-{about['version']}"
        expected = packages(project)
        for path, check in (
            (folder / f"{stem}-py3-none-any.whl", faults_of_wheel),
            (folder / f"{stem}.tar.gz", faults_of_source),
        ):
            checked.add(path)
            found = check(path, expected) if path.exists() else ["it is missing"]
            faults += [f"{path.name}: {fault}" for fault in found]
    built = {path for path in folder.iterdir() if path.suffix in {".whl", ".gz"}}
    faults += [f"{path.name}: no project of the workspace" for path in sorted(built - checked)]
    print("\n".join(faults) or f"{len(checked)} distributions are complete")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
