"""The snapshot of a run as text."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

import msgspec

from headrace.bulk import Change

_MOST_FAILURES = 5


def describe_status(snapshot: Mapping[str, Any]) -> str:
    """The snapshot of a run, as lines for a person.

    Args:
        snapshot: The JSON of a `headrace.bulk.RunSnapshot`.
    """
    engine = f" with engine {snapshot['engine']}" if snapshot["engine"] else ""
    lines = [f"{_printable(str(snapshot['out']))}: {snapshot['state']}{engine}"]
    at_least = "" if snapshot["counted"] else "+"
    failed = snapshot["failed"] + snapshot["failed_before"]
    in_flight = f"{snapshot['in_flight']:,}"
    if snapshot["max_in_flight"] is not None:
        in_flight += f" of {snapshot['max_in_flight']:,}"
    rows = [
        ("done", f"{snapshot['done']:,}/{snapshot['total']:,}{at_least}, {failed:,} failed"),
        ("in flight", in_flight),
        ("rate", f"{snapshot['rate']:,.1f}/s, {snapshot['retries']:,} retries{_left(snapshot)}"),
    ]
    if snapshot["engine_status"]:
        rows.append(("engine", snapshot["engine_status"]))
    if snapshot["waiting"]:
        rows.append(("waiting", snapshot["waiting"]))
    rows += [("circuit", f"{endpoint}: {why}") for endpoint, why in snapshot["circuits"].items()]
    if latency := snapshot["latency"]:
        parts = [f"{name} {latency[name]:.2f} s" for name in ("p50", "p95", "p99")]
        rows.append(("latency", ", ".join(parts)))
    if snapshot["cost"] is not None:
        rows.append(("cost", f"{snapshot['cost']} USD"))
    rows += [
        ("failure", f"{group['number']:,} {group['code']}: {group['message']}")
        for group in snapshot["failures"][:_MOST_FAILURES]
    ]
    limits = [f"{name}={_value(value)}" for name, value in snapshot["limits"].items()]
    rows.append(("limits", " ".join(limits)))
    for change in snapshot["changes"]:
        when = datetime.datetime.fromtimestamp(change["time"]).strftime("%H:%M:%S")
        rows.append((when, str(msgspec.convert(change, Change))))
    return "\n".join([*lines, *(f"  {name:<10} {_printable(text)}" for name, text in rows)])


def _left(snapshot: Mapping[str, Any]) -> str:
    seconds = snapshot["time_left"]
    return "" if seconds is None else f", about {datetime.timedelta(seconds=round(seconds))} left"


def _value(value: Any) -> str:
    return "none" if value is None else str(value)


def _printable(text: str) -> str:
    """Foreign text on one line that a terminal cannot obey."""
    line = " ".join(text.split())
    return line if line.isprintable() else "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in line)
