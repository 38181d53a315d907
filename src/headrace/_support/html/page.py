"""An HTML page in one file: rendered from its template, and written without losing another file."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import jinja2

_MARK = b'<meta name="generator" content="headrace '


def render(
    package: str, version: str, made_at: datetime, values: Mapping[str, Any], filters: Mapping[str, Any]
) -> str:
    """Render the template ``page.html.j2`` of a package; it extends this package's ``base.html.j2``."""
    loaders = [jinja2.PackageLoader(name, "") for name in (package, __package__)]
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader(loaders),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": "{:,}".format, **filters}
    made = {"version": version, "made_at": f"{made_at:%Y-%m-%d %H:%M:%S} UTC"}
    return environment.get_template("page.html.j2").render(**made, **values)


def write(page: str, out: str | os.PathLike[str]) -> None:
    """Write a page atomically, readable by its owner only.

    Raises:
        FileExistsError: The file exists and is not a page of headrace.
        OSError: The file cannot be written.
    """
    path = Path(out)
    content = page.encode("utf-8", "replace")
    if path.exists() and not (path.is_file() and _is_headrace_page(path)):
        raise FileExistsError(errno.EEXIST, "the file is not a page of headrace; name another --out")
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        try:
            file.write(content)
            file.close()
            os.replace(file.name, path)
        except BaseException:
            os.unlink(file.name)
            raise


def _is_headrace_page(path: Path) -> bool:
    with path.open("rb") as file:
        return _MARK in file.read(1024)
