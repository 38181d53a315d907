"""An HTML page in one file: rendered from its template, and written without losing another file."""

from __future__ import annotations

import errno
import os
import re
import tempfile
from collections.abc import Callable, Mapping
from datetime import datetime
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import jinja2

_MARK = b'<meta name="generator" content="headrace '
_INVISIBLE = re.compile(
    r"\r(?!\n)|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff"
    r"\U000e0000-\U000e007f]"
)
"""Control characters, those that reverse text, and those without width: they could hide something."""


def page_style() -> str:
    """The style sheet of all pages, which ``base.html.j2`` contains.

    Its colours are variables with values for light and dark: ``--ground``, ``--ink``, ``--quiet``,
    ``--line``, ``--faint``, ``--done``, ``--failed``, and ``--v0`` to ``--v5`` for series of a chart.
    """
    return resources.files(__package__).joinpath("style.css").read_text(encoding="utf-8")


def page_templates(
    package: str, filters: Mapping[str, Callable[..., Any]] | None = None
) -> jinja2.Environment:
    """The templates of a package, which may extend ``base.html.j2`` and import from ``macros.html.j2``.

    All values are escaped, control characters and those that reverse text are shown by their numbers, like
    U+202E, a name without a value is an error, and there is a filter ``number``: 1,234.

    Args:
        package: The package whose folder has the templates.
        filters: More filters, by name.

    Example:
        ```python
        templates = page_templates("my_plugin")
        html = templates.get_template("status.html.j2").render(version="0.1", made_at="today", rows=[])
        ```
    """
    import jinja2  # in the extra "cli"; charts and the style need none

    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader([jinja2.PackageLoader(name, "") for name in (package, __package__)]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_visible,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": "{:,}".format, **(filters or {})}
    return environment


def _visible(value: Any) -> Any:
    """A text with its invisible characters by their numbers; what is HTML already stays."""
    return _INVISIBLE.sub(_number_of, value) if type(value) is str else value


def _number_of(found: re.Match[str]) -> str:
    return f"U+{ord(found[0]):04X}"


def render_page(
    package: str,
    values: Mapping[str, Any],
    *,
    version: str,
    made_at: datetime,
    filters: Mapping[str, Callable[..., Any]] | None = None,
) -> str:
    """Render the template ``page.html.j2`` of a package; it extends ``base.html.j2``.

    Args:
        package: The package whose folder has the template.
        values: What the template shows, by name.
        version: The version that made the page; the foot of the page shows it.
        made_at: When the page is made, in UTC.
        filters: More filters, by name; see `page_templates`.

    Returns:
        The page: one file that needs nothing else.
    """
    made = {"version": version, "made_at": f"{made_at:%Y-%m-%d %H:%M:%S} UTC"}
    return page_templates(package, filters).get_template("page.html.j2").render(**made, **values)


def write_page(page: str, out: str | os.PathLike[str]) -> None:
    """Write a page atomically, readable by its owner only.

    Args:
        page: The page, which extends ``base.html.j2``.
        out: The file. An older page of headrace is replaced.

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
