"""Public names report the public module: `headrace.Request`, and not the file that it is written in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, get_type_hints


def publish(names: Iterable[str], namespace: Mapping[str, Any]) -> None:
    """Have the classes among ``names`` say that they are of the module whose ``namespace`` this is.

    Pickles, tracebacks and documentation name them by it. Annotations are written as strings, and
    `typing.get_type_hints` looks them up in the module that a class names; so they are resolved before, as
    far as that is possible where they were written.
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
    except (NameError, TypeError):  # a name for type checkers only; array[float], which Python 3.12 has
        return
    kind.__annotations__ = {name: hints[name] for name in vars(kind)["__annotations__"]}
