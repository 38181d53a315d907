"""Griffe extension: a public name in backticks in a docstring, like `Client.chat`, is a link."""

from __future__ import annotations

import re
from typing import Any

from griffe import Alias, Extension, GriffeLoader, Module, Object

_MODULES = ["bulk", "plugins", "testing", "testing.server", "testing.simulation"]
_NAME = re.compile(r"(?<!`)`(?P<name>[A-Za-z_]\w*)(?P<member>(\.\w+)*)`(?!`)")


class DocstringLinks(Extension):
    """Rewrites docstrings; names that are public in ``headrace`` go before those of its public modules."""

    def on_package(self, *, pkg: Module, loader: GriffeLoader, **kwargs: Any) -> None:
        if pkg.name != "headrace":
            return
        loader.expand_exports(pkg)
        self._public = {
            str(name): f"{module.path}.{name}"
            for module in [*(pkg[path] for path in reversed(_MODULES)), pkg]
            for name in module.exports or ()
        }
        self._visit(pkg)

    def _visit(self, parent: Object) -> None:
        if parent.docstring is not None:
            parent.docstring.value = _NAME.sub(self._link, parent.docstring.value)
        for member in parent.members.values():
            if not isinstance(member, Alias):
                self._visit(member)

    def _link(self, written: re.Match[str]) -> str:
        path = self._public.get(written["name"])
        if path is None:
            return written[0]
        shown = f"<code>{written['name']}{written['member']}</code>"
        return f'<autoref identifier="{path}{written["member"]}" optional>{shown}</autoref>'
