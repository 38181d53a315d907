"""MkDocs hook: pages outside of ``docs`` are pages of the site as well, at their paths in the repository.

Links are written as they work in the repository. Those across the edge of ``docs`` are rewritten.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

_LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#|/)(?P<path>[^)\s#]+)")
_OUTSIDE_DOCS = ["CHANGELOG.md", "benchmarks/README.md", "plugins/*/README.md"]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    root = Path(config.config_file_path).parent
    for pattern in _OUTSIDE_DOCS:
        for path in sorted(root.glob(pattern)):
            files.append(File.generated(config, path.relative_to(root).as_posix(), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Rewrite the links of a page; what is not a page of the site stays as it is, and the build fails."""
    docs = Path(config.docs_dir).name
    folder = posixpath.dirname(page.file.src_uri)

    def rewritten(link: re.Match[str]) -> str:
        in_docs = page.file.generated_by is None
        in_repository = posixpath.normpath(posixpath.join(docs if in_docs else "", folder, link["path"]))
        on_site = in_repository.removeprefix(f"{docs}/")
        return (
            posixpath.relpath(on_site, folder or ".") if files.get_file_from_path(on_site) else link["path"]
        )

    return _LINK.sub(rewritten, markdown)
