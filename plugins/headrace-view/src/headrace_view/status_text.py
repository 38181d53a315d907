"""The snapshot of a run as text."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from headrace.bulk import Change, failure_rows, status_rows
from headrace.plugins import shortened

_MOST_FAILURES = 5


def describe_status(snapshot: Mapping[str, Any]) -> str:
    """The snapshot of a run, as lines for a person: the rows of `headrace top`, and what was changed.

    Args:
        snapshot: The JSON of a `headrace.bulk.RunSnapshot`.
    """
    failures = failure_rows(snapshot)[:_MOST_FAILURES]
    rows = [
        *status_rows(snapshot),
        *(("Failure", f"{kind}: {message}") for kind, message in failures),
        *_change_rows(snapshot),
    ]
    heading = f"{shortened(str(snapshot.get('out')), 1000)}: {shortened(str(snapshot.get('state')), 40)}"
    return "\n".join([heading, *(f"  {name:<10} {text}" for name, text in rows)])


def _change_rows(snapshot: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """When something was changed, and what."""
    for change in snapshot.get("changes") or ():
        when = datetime.datetime.fromtimestamp(change["time"]).strftime("%H:%M:%S")
        yield when, shortened(str(msgspec.convert(change, Change)))
