"""MkDocs hook: the notebooks of the documentation are pages of the site, with their cells as written.

Links to a notebook lead to its page, and the page links to the file.
"""

from __future__ import annotations

import json
import posixpath
import re
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

_LINK = re.compile(r"(?<=\]\()(?![a-z]+:)(?P<path>[^)\s#]+)\.ipynb(?=[)#])")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    notebooks = [file for file in files if file.src_uri.endswith(".ipynb")]
    for file in notebooks:
        name = posixpath.basename(file.src_uri)
        text = _markdown(json.loads(file.content_string), name)
        files.append(File.generated(config, f"{file.src_uri.removesuffix('.ipynb')}.md", content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let links lead to the page; a notebook's own page keeps the link to the file."""
    if files.get_file_from_path(f"{page.file.src_uri.removesuffix('.md')}.ipynb"):
        return markdown
    return _LINK.sub(r"\g<path>.md", markdown)


def _markdown(notebook: dict[str, Any], name: str) -> str:
    parts = [_cell("".join(cell["source"]), cell["cell_type"]) for cell in notebook["cells"]]
    download = f"This page is [a notebook]({name}){{ download }}: save it to run it."
    return "\n\n".join([parts[0], download, *parts[1:]]) + "\n"


def _cell(source: str, kind: str) -> str:
    return f"```python\n{source}\n```" if kind == "code" else source
