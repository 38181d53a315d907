"""Sessions that are killed, answers that are lost, requests that arrive late: each row is paid once."""

from __future__ import annotations

import json
import os
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import example, given, settings
from hypothesis import strategies as st

import headrace
from batch_runs import client_of, run_at_once
from headrace_batch import BatchEngine
from provider_forms import OTHER_FORMS
from scripted_batches import Accident, Killed, ScriptedBatches
from scripted_forms import OpenAIForm

EXAMPLES = int(os.environ.get("TEST_EXAMPLES", "20"))
ROWS = [{"id": f"r{number}", "name": f"r{number}"} for number in range(23)]
STEPS = [headrace.Step("first", "{name}"), headrace.Step("second", "{first}", when="first != 'r7'")]
KINDS: dict[str, tuple[dict[str, Any], int]] = {
    "single": ({"prompt": "{name}"}, 0),
    "adopting": ({"prompt": "{name}"}, 0),
    "steps": ({"steps": STEPS}, 2),
    "samples": ({"prompt": "{name}", "samples": 2, "choices": [row["name"] for row in ROWS]}, 2),
}
"""The arguments of each kind of run, and how many calls a row has; this endpoint gives one answer to each."""

ACCIDENTS: list[Accident] = ["kill_before", "kill_after", "lost_before", "lost_after", "late", "500_before"]


def other_batch(form: OpenAIForm) -> bytes:
    """The requests of a batch of another program: nine rows of the run, and one other row."""
    lines = [
        {
            "custom_id": id,
            "url": f"{form.url_prefix}/chat/completions",
            "body": {"model": "m", "messages": [{"role": "user", "content": id}], "seed": 1},
        }
        for id in (*(f"r{number}" for number in range(3, 12)), "other")
    ]
    return "\n".join(map(json.dumps, lines)).encode()


def session(
    endpoint: ScriptedBatches,
    out: Path,
    clock: trio.testing.MockClock,
    kind: str,
    adopt: Sequence[str],
    retry_every: float | None,
) -> bool:
    """One session of the run; returns whether it ended by itself, and no row has failed."""
    failed = 0

    async def main() -> None:
        nonlocal failed
        async with client_of(endpoint) as client:
            engine = BatchEngine(max_requests=5, adopt=adopt)
            going = headrace.run(client, ROWS, out=out, id_column="id", engine=engine, **KINDS[kind][0])
            if retry_every is None:
                await going
                return
            async with going:
                while going.snapshot().state != "ended":
                    going.retry_failed()
                    await trio.sleep(retry_every)
                failed = (await going.wait()).failed

    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("anyio.to_thread.run_sync", run_at_once)
            trio.run(main, clock=clock)
    except BaseException as error:
        if not is_kill(error):
            raise
        return False
    return not failed


def is_kill(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return all(map(is_kill, error.exceptions))
    return isinstance(error, Killed)


def calls_of(kind: str) -> list[str]:
    """The custom ids of all calls."""
    most = KINDS[kind][1]
    if not most:
        return [row["id"] for row in ROWS]
    skipped = {"r7-2"} if kind == "steps" else set()
    return [id for row in ROWS for call in range(1, most + 1) if (id := f"{row['id']}-{call}") not in skipped]


@settings(max_examples=EXAMPLES, deadline=None)
@given(
    accidents=st.dictionaries(st.integers(0, 90), st.sampled_from(ACCIDENTS), max_size=12),
    failures=st.sampled_from([0.0, 0.3]),
    listing_delay=st.sampled_from([0.0, 10.0, 25.0]),
    seed=st.integers(0, 1000),
    form=st.sampled_from([OpenAIForm(), *OTHER_FORMS]),
    kind=st.sampled_from(list(KINDS)),
    retry_every=st.sampled_from([None, None, 63.0]),
)
@example(
    accidents=dict.fromkeys(range(40), "kill_after"),
    failures=0.3,
    listing_delay=25.0,
    seed=1,
    form=OTHER_FORMS[3],
    kind="adopting",
    retry_every=7.0,
)
@example(
    accidents=dict.fromkeys(range(40), "kill_after"),
    failures=0.3,
    listing_delay=25.0,
    seed=1,
    form=OpenAIForm(),
    kind="steps",
    retry_every=63.0,
)
@example(
    accidents=dict.fromkeys(range(1, 60, 4), "late"),
    failures=0.0,
    listing_delay=10.0,
    seed=2,
    form=OTHER_FORMS[2],
    kind="samples",
    retry_every=None,
)
def test_each_row_is_paid_once_and_has_one_line(
    accidents: dict[int, Accident],
    failures: float,
    listing_delay: float,
    seed: int,
    form: OpenAIForm,
    kind: str,
    retry_every: float | None,
) -> None:
    endpoint = ScriptedBatches(accidents, form, failures=failures, listing_delay=listing_delay, seed=seed)
    adopt = [endpoint.make_batch(other_batch(form))] if kind == "adopting" else []
    if retry_every is not None:
        endpoint.rejected.update(dict.fromkeys(calls_of(kind)[::4], 2))
    clock_start = 0.0
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "out.jsonl")
        for _ in range(len(accidents) + 4):
            clock = trio.testing.MockClock(autojump_threshold=0)
            clock.jump(clock_start)
            ended = session(endpoint, out, clock, kind, adopt, retry_every)
            clock_start = clock.current_time()
            if ended:
                break
        assert ended
        lines = [json.loads(line) for line in out.read_bytes().splitlines()]
    assert sorted(line["custom_id"] for line in lines) == sorted(row["id"] for row in ROWS)
    assert all(line["error"] is None for line in lines)
    assert all(
        line["response"]["body"]["choices"][0]["message"]["content"] == line["custom_id"] for line in lines
    )
    billed = {id: number for id, number in endpoint.billed.items() if id != "other"}
    assert billed == dict.fromkeys(calls_of(kind), 1)
    own = [batch for batch in endpoint.batches.values() if batch.id not in adopt and batch.counts]
    parts = Counter(batch.file.name for batch in own)
    assert set(parts.values()) == {1}
