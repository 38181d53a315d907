"""The API reference names each public name once; the site generates the rest from docstrings."""

from __future__ import annotations

import importlib
import re
from collections import Counter

import pytest
from tests.docs.test_code_blocks import ROOT

# A heading names a function whose module has the same name.
DIRECTIVE = re.compile(r"^::: (\S+)\n(?: +options:\n +heading: (\S+)\n)?", re.MULTILINE)
PAGES = sorted((ROOT / "docs" / "reference" / "api").glob("*.md"))
DOCUMENTED = Counter(
    heading or path for page in PAGES for path, heading in DIRECTIVE.findall(page.read_text(encoding="utf-8"))
)
MODULES = [
    "headrace",
    "headrace.blocking",
    "headrace.plugins",
    "headrace.pages",
    "headrace.bulk",
    "headrace.testing",
    "headrace.testing.server",
    "headrace.testing.simulation",
]
OTHER_NAMES = {"headrace.bulk.run"}
"""Second names of objects that are documented under their first."""

WITHOUT_ALL = {
    "headrace.testing.fixtures": ["anyio_backend", "fake_endpoint"],
    "headrace.integrations.httpx": ["HeadraceTransport", "async_client"],
    "headrace.integrations.httpx2": ["HeadraceTransport", "async_client"],
}


def public_names(module: str) -> set[str]:
    names = WITHOUT_ALL.get(module) or importlib.import_module(module).__all__
    return {f"{module}.{name}" for name in names} - OTHER_NAMES


@pytest.mark.parametrize("module", [*MODULES, *WITHOUT_ALL])
def test_every_public_name_is_in_the_reference(module: str) -> None:
    assert public_names(module) <= DOCUMENTED.keys(), public_names(module) - DOCUMENTED.keys()


def test_reference_has_each_public_name_once_and_no_others() -> None:
    public = set().union(*map(public_names, [*MODULES, *WITHOUT_ALL]))
    assert Counter(dict.fromkeys(public, 1)) == DOCUMENTED
