"""The circuits that the policies of a client have opened."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def open_circuits(policies: Sequence[Any]) -> dict[str, str]:
    """Why circuits are open, by endpoint: what policies with the method ``open_circuits`` say."""
    found: dict[str, str] = {}
    for policy in policies:
        report = getattr(policy, "open_circuits", None)
        if report is not None:
            found.update(report())
    return found
