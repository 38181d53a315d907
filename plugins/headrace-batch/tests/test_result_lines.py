"""Files with results are split into lines, however they arrive and however long a line is."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace_batch.result_lines import FileReport, split_lines

SECONDS = 5.0
"""CPU time for a line of 64 MB; joining it anew with each part would take minutes."""


async def lines_of(parts: list[bytes], report: FileReport) -> list[bytes]:
    async def arrive() -> AsyncIterator[bytes]:
        for part in parts:
            yield part

    return [line async for line in split_lines(arrive(), report)]


def run(parts: list[bytes], report: FileReport) -> list[bytes]:
    """Run the coroutine without an event loop: it never waits."""
    with pytest.raises(StopIteration) as done:
        lines_of(parts, report).send(None)
    found: list[bytes] = done.value.value
    return found


@settings(deadline=None)
@given(
    lines=st.lists(st.sampled_from([b"", b"  ", b'{"custom_id":"a"}', b"no JSON"])), size=st.integers(1, 9)
)
def test_parts_of_any_size_give_the_same_lines(lines: list[bytes], size: int) -> None:
    content, report = b"".join(line + b"\n" for line in lines), FileReport()
    found = run([content[each : each + size] for each in range(0, len(content), size)], report)
    assert found == [line for line in lines if line.strip()]
    assert (report.lines, report.cut) == (len(found), False)


@pytest.mark.parametrize(("last", "is_cut"), [(b'{"custom_id":"b"}', False), (b'{"custom_id":', True)])
def test_a_last_line_without_an_end_counts_if_it_is_whole(last: bytes, is_cut: bool) -> None:
    report = FileReport()
    assert run([b'{"custom_id":"a"}\n', last[:5], last[5:]], report)[1:] == ([] if is_cut else [last])
    assert report.cut == is_cut


def test_a_very_long_line_takes_no_longer_than_many_short_ones() -> None:
    parts, report = [*[b"x" * 4_096] * (1 << 14), b"\n"], FileReport()
    began = time.process_time()
    assert [len(line) for line in run(parts, report)] == [1 << 26]
    assert time.process_time() - began < SECONDS
