"""A page in one file: made of its template, and written where no other file is lost by it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import jinja2

import headrace
from headrace.errors import InputError

_MARK = b'<meta name="generator" content="headrace '


def render(package: str, made_at: datetime, values: Mapping[str, Any], filters: Mapping[str, Any]) -> str:
    """The page whose template, ``page.html.j2``, is in a package; it extends ``base.html.j2`` of this one."""
    loaders = [jinja2.PackageLoader(name, "") for name in (package, __package__)]
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader(loaders),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": "{:,}".format, **filters}
    made = {"version": headrace.__version__, "made_at": f"{made_at:%Y-%m-%d %H:%M:%S} UTC"}
    return environment.get_template("page.html.j2").render(**made, **values)


def write(page: str, out: str | os.PathLike[str]) -> None:
    """Write a page in one step, for its owner's eyes alone.

    Raises `InputError` where it cannot be written, or where something else than a page of headrace is there.
    """
    path = Path(out)
    content = page.encode("utf-8", "replace")
    try:
        if path.exists() and not (path.is_file() and _is_ours(path)):
            raise InputError(f"{path}: is there, and no page of headrace; name another --out")
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            try:
                file.write(content)
                file.close()
                os.replace(file.name, path)
            except BaseException:
                os.unlink(file.name)
                raise
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from error


def _is_ours(path: Path) -> bool:
    with path.open("rb") as file:
        return _MARK in file.read(1024)
