"""The public names, the module that they report, and what `import headrace` imports."""

from __future__ import annotations

import importlib.metadata
import inspect
import json
import pickle
import pkgutil
import subprocess
import sys
from types import ModuleType
from typing import get_type_hints

import attrs
import pytest

import headrace
import headrace.blocking
import headrace.bulk
import headrace.plugins
from headrace import errors
from headrace.settings import load_settings

PUBLIC = {
    "ParsedReply",
    "Body",
    "Call",
    "Client",
    "Embeddings",
    "StreamResult",
    "Endpoint",
    "Event",
    "Headers",
    "Observer",
    "Outcome",
    "OutcomeStream",
    "Chunk",
    "Policy",
    "PriorityCapacityLimiter",
    "RateLimits",
    "Reply",
    "Request",
    "RequestLike",
    "Secret",
    "Send",
    "Settings",
    "Stage",
    "Stream",
    "Timeout",
    "ToolCall",
    "Tools",
    "Transport",
    "Usage",
    "hookimpl",
    "Step",
    "__version__",
    "audio",
    "file",
    "image",
    "run",
}


def test_the_exports_are_exactly_these() -> None:
    assert set(headrace.__all__) == PUBLIC | set(errors.__all__)
    assert len(headrace.__all__) == len(set(headrace.__all__))


def test_only_exports_and_modules_are_public() -> None:
    modules = {name for name, member in vars(headrace).items() if inspect.ismodule(member)}
    public = {name for name in vars(headrace) if not name.startswith("_")}
    assert public - modules <= set(headrace.__all__)


NOT_CLASSES = {"RequestLike", "Send", "audio", "file", "hookimpl", "image", "run", "__version__"}
"""Type aliases, functions and other objects that cannot report a module."""


@pytest.mark.parametrize("name", sorted({*PUBLIC, *errors.__all__} - NOT_CLASSES))
def test_a_public_class_is_documented_and_reports_headrace_as_its_module(name: str) -> None:
    member = getattr(headrace, name)
    assert isinstance(member, type)
    assert (member.__module__, member.__qualname__) == ("headrace", name)
    assert inspect.getdoc(member)
    assert pickle.loads(pickle.dumps(member)) is member


@pytest.mark.parametrize("name", sorted({*PUBLIC, *errors.__all__} - NOT_CLASSES))
def test_annotations_of_public_classes_can_be_resolved(name: str) -> None:
    if name == "Embeddings" and sys.version_info < (3, 12):
        pytest.skip("array[float] is for type checkers only before Python 3.12")
    kind = getattr(headrace, name)
    assert get_type_hints(kind).keys() >= vars(kind).get("__annotations__", {}).keys()


def test_settings_of_public_classes_are_converted_to_their_types() -> None:
    @attrs.define(kw_only=True)
    class Limits(headrace.RateLimits):
        name = "limits"
        patience: float = 60.0

    settings = load_settings({"limits": {"patience": 5, "requests_per_minute": 60}}, environ={})
    limits = settings.section("limits", Limits)
    assert (limits.patience, limits.requests_per_minute) == (5.0, 60.0)
    table = {"a": {"base_url": "https://llm.example/v1", "weight": 2}}
    assert load_settings({"endpoints": table}, environ={}).core.endpoints[0].weight == 2.0


def test_a_subclass_of_a_public_class_keeps_its_own_module() -> None:
    class Derived(headrace.Endpoint):
        """Of this module."""

    assert Derived.__module__ == __name__


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        (headrace, "Answered", "ParsedReply"),
        (headrace, "Ending", "StreamResult"),
        (headrace, "Piece", "Chunk"),
        (headrace.plugins, "Expected", "ExpectedBody"),
        (headrace.plugins, "GroupOfClient", "TaskGroupFactory"),
        (headrace.plugins, "above_zero", "positive_number"),
        (headrace.plugins, "answered", "parse_reply"),
        (headrace.plugins, "expected_of", "expected_body"),
        (headrace.plugins, "is_per_day", "is_daily_limit"),
        (headrace.plugins, "most_output", "max_output_tokens"),
        (headrace.plugins, "read_envelope", "read_reply_body"),
    ],
)
def test_an_old_name_works_and_warns(module: ModuleType, old: str, new: str) -> None:
    with pytest.warns(DeprecationWarning, match=f"use {module.__name__}.{new}, not"):
        assert getattr(module, old) is getattr(module, new)
    with pytest.raises(AttributeError, match="has no attribute 'never'"):
        getattr(module, "never")  # noqa: B009 - a type checker knows that it is missing


def test_the_version_is_that_of_the_distribution() -> None:
    assert headrace.__version__ == importlib.metadata.version("headrace")


def test_every_error_is_exported() -> None:
    defined = {
        name
        for name, member in vars(errors).items()
        if inspect.isclass(member) and issubclass(member, Exception)
    }
    assert defined == set(errors.__all__)


def _imported_by(statement: str) -> set[str]:
    code = f"import sys, json; {statement}; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    return set(json.loads(done.stdout))


def test_importing_headrace_does_not_import_optional_modules() -> None:
    loaded = _imported_by("import headrace")
    heavy = {"httpx", "httpx2", "rich", "click", "uvicorn", "httptools", "numpy", "PIL", "trio"}
    assert not heavy & loaded
    late = ("bulk", "blocking", "cli", "testing", "testing.server", "wire.message_parts")
    assert not {f"headrace.{name}" for name in late} & loaded


def test_importing_headrace_plugins_imports_hardly_more_than_headrace() -> None:
    more = _imported_by("import headrace.plugins") - _imported_by("import headrace")
    assert more == {
        "headrace._support.bounded_mapping",
        "headrace.plugins",
        "headrace.wire.prompt_tokens",
        "headrace.wire.rate_limit_detector",
    }


def test_names_of_headrace_plugins_report_that_module() -> None:
    classes = [
        member
        for name in headrace.plugins.__all__
        if isinstance(member := getattr(headrace.plugins, name), type)
    ]
    assert classes
    assert {kind.__module__ for kind in classes} == {"headrace.plugins"}
    body = headrace.plugins.EncodedBody(b'{"model": "m"}')
    assert pickle.loads(pickle.dumps(body)) == body


@pytest.mark.parametrize(
    "module", [headrace.blocking, headrace.plugins, headrace.bulk], ids=lambda module: module.__name__
)
def test_a_public_module_lists_and_documents_its_names(module: ModuleType) -> None:
    assert len(module.__all__) == len(set(module.__all__))
    for name in module.__all__:
        member = getattr(module, name)
        assert not (inspect.isroutine(member) or inspect.isclass(member)) or inspect.getdoc(member), name


def test_a_client_with_the_native_transport_does_not_import_httpx() -> None:
    made = "import headrace; headrace.Client(base_url='http://localhost/v1', policies=[], transport='native')"
    loaded = _imported_by(made)
    assert "httptools" in loaded
    assert not {"httpx", "httpx2", "rich", "click"} & loaded


def test_every_module_imports_on_its_own() -> None:
    names = [
        module.name
        for module in pkgutil.walk_packages(headrace.__path__, "headrace.")
        if not f"{module.name}.".startswith(("headrace.cli.", "headrace.testing.server."))
    ]
    code = "import importlib, sys; [importlib.import_module(name) for name in sys.argv[1:]]"
    subprocess.run([sys.executable, "-W", "error", "-c", code, *reversed(names)], check=True, timeout=60)
