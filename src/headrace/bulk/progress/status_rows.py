"""A run in words: the rows that the widget of a notebook, `headrace top` and `headrace ctl` show.

The status of a run is a mapping, as in the reply to a control message. Members are only added in later
versions, so one that is missing is unknown.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from headrace._support.text import shortened
from headrace._support.units import format_duration, format_rate, format_usd


def status_rows(status: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What a run does, as names and texts; all texts are safe to print, on one line and not long.

    Args:
        status: The status of a run, for example from `RunSnapshot.to_json`.

    Returns:
        The rows in their order. Without failures: see `failure_rows`.

    Example:
        ```python
        for name, text in status_rows(status):
            print(f"{name:<10} {text}")  # Items      650 of 1,000 done, 350 left
        ```
    """
    get = status.get
    failed = (get("failed_before") or 0) + (get("failed") or 0)
    rows = [
        ("Items", _items(status)),
        ("Succeeded", f"{max((get('done') or 0) - failed, 0):,}"),
        ("Failed", f"{failed:,}"),
        ("Retries", f"{get('retries') or 0:,}"),
        ("Rate", f"{format_rate(get('rate') or 0.0)} on average"),
        ("Time", _time(status)),
    ]
    if status_is_alive(status):
        rows.append(("In flight", _in_flight(status)))
    if latency := get("latency"):
        percentiles = [name for name in ("p50", "p95", "p99") if latency.get(name) is not None]
        words = ", ".join(f"{name} {format_duration(latency[name])}" for name in percentiles)
        rows.append(("Latency", words))
    limits: Mapping[str, Any] = get("limits") or {}
    if get("cost") is not None or limits.get("budget") is not None:
        rows.append(("Cost", _cost(get("cost"), limits.get("budget"))))
    rows.append(("Tokens", f"{get('prompt_tokens') or 0:,} in, {get('completion_tokens') or 0:,} out"))
    if reasons := get("finish_reasons"):
        rows.append(("Finished", ", ".join(f"{number:,} {reason}" for reason, number in reasons.items())))
    rows += [
        (f"Step {name}", ", ".join(f"{number:,} {what}" for what, number in counts.items() if number) or "0")
        for name, counts in (get("steps") or {}).items()
    ]
    if samples := get("samples"):
        rows.append(("Samples", ", ".join(f"{number:,} {what}" for what, number in samples.items())))
    if limits:  # in the form in which they are set
        rows.append(("Limits", " ".join(f"{name}={_limit(value)}" for name, value in limits.items())))
    if engine := ": ".join(filter(None, (get("engine"), get("engine_status")))):
        rows.append(("Engine", engine))
    if get("waiting"):
        rows.append(("Waiting", status["waiting"]))
    rows += [("Circuit", f"{endpoint}: {why}") for endpoint, why in (get("circuits") or {}).items()]
    if stopped := get("stopped_by"):
        rows.append(("Stopped by", ": ".join(filter(None, (stopped.get("code"), stopped.get("message"))))))
    return [(shortened(name, 40), shortened(text)) for name, text in rows]


def failure_rows(status: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The failures of a run: number and kind, and the message of the first; safe to print.

    Args:
        status: The status of a run; see `status_rows`.
    """
    rows = []
    for group in status.get("failures") or ():
        kind = [group.get(name) for name in ("code", "status", "finish_reason")]
        words = " ".join(str(part) for part in kind if part is not None)
        number, message = group.get("number") or 0, str(group.get("message") or "")
        rows.append((f"{number:,} {shortened(words, 60)}", shortened(message)))
    return rows


def _items(status: Mapping[str, Any]) -> str:
    """How many items are done and left, in words."""
    done, total = status.get("done") or 0, status.get("total") or 0
    if not status.get("counted", True):
        return f"{done:,} of at least {total:,} done"
    left = max(total - done, 0)
    return f"{done:,} of {total:,} done" + (f", {left:,} left" if left else "")


def status_is_alive(status: Mapping[str, Any]) -> bool:
    """Whether the run goes on."""
    return status.get("state") != "ended"


def _time(status: Mapping[str, Any]) -> str:
    text = format_duration(status.get("elapsed") or 0.0)
    left = status.get("time_left")
    return f"{text}, about {format_duration(left)} left" if left and status_is_alive(status) else text


def _in_flight(status: Mapping[str, Any]) -> str:
    text = f"{status.get('in_flight') or 0:,}"
    most = status.get("max_in_flight")
    return text if most is None else f"{text} of {most:,}"


def _cost(cost: Any, budget: Any) -> str:
    text = "not known" if cost is None else format_usd(Decimal(str(cost)))
    return text if budget is None else f"{text} of {format_usd(Decimal(str(budget)))}"


def _limit(value: Any) -> str:
    return "none" if value is None else str(value)
