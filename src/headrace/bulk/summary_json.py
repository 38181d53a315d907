"""The summary of a run as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import msgspec

from headrace._support.lenient_json import without_surrogates
from headrace.bulk.line_encoding import code_of
from headrace.bulk.summary import Summary
from headrace.errors import WorkerLost


def encode_summary(summary: Summary, out: str, table: str | None = None) -> str:
    """The summary as one JSON object on one line, with the files that the run wrote; see `summary_values`."""
    return encode_values(summary_values(summary, {"out": out, "table": table}))


def encode_values(values: Mapping[str, Any]) -> str:
    """Values as one JSON object; bytes of a path that are not UTF-8 become U+FFFD."""
    return msgspec.json.encode(without_surrogates(values)).decode()


_NO_FILES: Mapping[str, str | None] = {}


def summary_values(summary: Summary, files: Mapping[str, str | None] = _NO_FILES) -> dict[str, Any]:
    """The summary as values of JSON, with the members of ``files`` among them.

    Members are only added in later versions. Costs are strings, so that no digit is lost; what is unknown is
    null.
    """
    latencies = summary.latencies
    values: dict[str, Any] = {
        "total": summary.total,
        "done": summary.done,
        "left": summary.left,
        "done_before": summary.done_before,
        "failed_before": summary.failed_before,
        "succeeded": summary.succeeded,
        "failed": summary.failed,
        "failures": [
            {
                "code": group.code,
                "status": group.status,
                "finish_reason": group.finish_reason,
                "number": group.number,
                "message": group.message,
            }
            for group in summary.failure_groups
        ],
        "finish_reasons": dict(summary.finish_reasons.most_common()),
        "retries": summary.retries,
        "prompt_tokens": summary.prompt_tokens,
        "completion_tokens": summary.completion_tokens,
        "cost": None if summary.cost is None else f"{summary.cost:f}",
        "possible_cost": None if summary.possible_cost is None else f"{summary.possible_cost:f}",
        "unpriced": summary.unpriced,
        "elapsed": round(summary.elapsed, 6),
        "rate": round(summary.rate, 6),
        "latency": None,
        "stopped_by": _stop_reason(summary),
        **files,
        "steps": {name: attrs.asdict(counts) for name, counts in summary.steps.items()} or None,
        "samples": None if summary.samples is None else attrs.asdict(summary.samples),
    }
    if latencies.count:
        percentiles = {f"p{percent}": latencies.percentile(percent) for percent in (50, 95, 99)}
        values["latency"] = {"count": latencies.count, "mean": latencies.mean, **percentiles}
    return values


def _stop_reason(summary: Summary) -> dict[str, str] | None:
    error = summary.stopped_by
    if error is None:
        return None
    if isinstance(error, str):
        return {"code": error, "message": ""}
    code = "worker_lost" if isinstance(error, WorkerLost) else code_of(error)
    return {"code": code or "", "message": str(error)}
