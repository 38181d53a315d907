"""Public names: they report their public module, and old names still work with a warning."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from typing import Any, get_type_hints


def fixup_module_metadata(names: Iterable[str], namespace: Mapping[str, Any]) -> None:
    """Set ``__module__`` of the classes among ``names`` to the module whose ``namespace`` this is.

    Pickles, tracebacks and documentation show it: `headrace.Request` instead of `headrace.calls.Request`.
    `typing.get_type_hints` looks annotations up in that module, so they are resolved here first, where their
    names are known.
    """
    for name in names:
        member = namespace[name]
        if isinstance(member, type):
            if vars(member).get("__annotations__"):
                _resolve_annotations(member, dict(namespace))
            member.__module__ = namespace["__name__"]


def _resolve_annotations(kind: type, public: dict[str, Any]) -> None:
    try:
        hints = get_type_hints(kind, localns=public, include_extras=True)
    except (NameError, TypeError):  # a name for type checkers only; array[float] needs Python 3.12
        return
    kind.__annotations__ = {name: hints[name] for name in vars(kind)["__annotations__"]}


def renamed_member(name: str, renamed: Mapping[str, str], namespace: Mapping[str, Any]) -> Any:
    """The member that had the old ``name``, with a DeprecationWarning; for a module's ``__getattr__``.

    Args:
        name: The name that was not found.
        renamed: New names by old names.
        namespace: The module's globals.

    Raises:
        AttributeError: ``name`` is not an old name either.
    """
    module = namespace["__name__"]
    if name not in renamed:
        raise AttributeError(f"module {module!r} has no attribute {name!r}")
    warnings.warn(f"use {module}.{renamed[name]}, not {module}.{name}", DeprecationWarning, stacklevel=3)
    return namespace[renamed[name]]
