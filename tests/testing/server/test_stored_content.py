"""The content of a file of the simulated endpoint, in memory and in a temporary file."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace._support.temporary_descriptor import temporary_descriptor
from headrace.testing.server import stored_content
from headrace.testing.server.stored_content import ContentRange, StoredContent


def test_content_is_read_where_it_was_asked_for_while_it_grows() -> None:
    content = StoredContent()
    for number in range(300):
        content.append(b"%07d\n" % number * 1000)
        assert content.read_line(number // 2 * 8000) == b"%07d\n" % (number // 2)
    assert len(content) == 2_400_000
    assert content.read(7992, 16) == b"0000000\n0000001\n"
    assert content.read_line(2_400_000) == b""


_PARTS = st.lists(st.integers(0, 3_000), max_size=8).map(
    lambda lengths: [b"x" * length + b"\n" * (length % 2) for length in lengths]
)


@given(parts=_PARTS, start=st.integers(0, 30_000), length=st.integers(0, 30_000), limit=st.integers(0, 9_000))
def test_any_content_is_that_of_bytes(parts: list[bytes], start: int, length: int, limit: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stored_content, "_MOST_IN_MEMORY", limit)
        patch.setattr(stored_content, "_CHUNK", 700)
        content, expected = StoredContent(), b""
        for part in parts:
            content.append(part)
            expected += part
            assert content.read_line(start) == expected[start:].partition(b"\n")[0] + (
                b"\n" if b"\n" in expected[start:] else b""
            )
        assert len(content) == len(expected)
        assert content.read(start, length) == expected[start : start + length]
        chunks = ContentRange(content, start, start + length).chunks()
        assert b"".join(chunks) == expected[start : start + length]


def test_its_file_is_closed_when_nothing_refers_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[int] = []

    def remembered() -> int:
        opened.append(temporary_descriptor())
        return opened[-1]

    monkeypatch.setattr(stored_content, "temporary_descriptor", remembered)
    content = StoredContent()
    content.append(bytes(3_000_000))
    (file,) = opened
    assert os.fstat(file).st_size == 3_000_000
    del content
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(file)
