"""Reading the token counts of a body never changes the body."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace import Headers, Reply, Usage
from headrace.integrations.usage_counter import UsageCounter

LIMIT = 10_000
KINDS = st.sampled_from(
    [
        "",
        "application/json",
        "text/event-stream",
        "Text/Event-Stream; charset=utf-8",
        "text/plain",
        "audio/mpeg",
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from(["model", "usage", "message", "response", "choices", "error", "id"])
COUNTS = st.sampled_from(
    [
        "prompt_tokens",
        "completion_tokens",
        "input_tokens",
        "output_tokens",
        "prompt_tokens_details",
        "cache_creation",
    ]
)
ODD = st.dictionaries(NAMES, JSON | st.dictionaries(COUNTS, JSON), max_size=4)
KNOWN = {"model": "m", "usage": {"prompt_tokens": 10, "completion_tokens": 4}}


def counted(kind: str, body: bytes, cuts: list[int]) -> Reply:
    """The reply after its body has passed in parts that end at these positions."""
    reply = Reply(200, Headers([(b"content-type", kind.encode())]), b"")
    counter = UsageCounter(reply, LIMIT)
    places = [0, *sorted(cut % (len(body) + 1) for cut in cuts), len(body)]
    for begin, end in pairwise(places):
        counter.feed(body[begin:end])
    counter.end(complete=True)
    return reply


def event(data: Any) -> bytes:
    return b"data: %b\n\n" % json.dumps(data).encode()


@given(kind=KINDS, body=st.binary(max_size=300), cuts=st.lists(st.integers(0, 300), max_size=5))
def test_any_bytes_are_accepted(kind: str, body: bytes, cuts: list[int]) -> None:
    counted(kind, body, cuts)


@given(
    kind=KINDS.filter(lambda kind: kind != "audio/mpeg"),
    before=st.lists(ODD, max_size=3),
    after=st.lists(st.dictionaries(st.sampled_from(["choices", "error", "id"]), JSON), max_size=3),
    cuts=st.lists(st.integers(0, 10_000), max_size=9),
    last=st.sampled_from([b"", b"data: [DONE]\n\n", b": over\n\n", b'data: {"id":']),
)
@settings(deadline=None)
def test_counts_are_found_among_odd_events_however_they_are_split(
    kind: str, before: list[Any], after: list[Any], cuts: list[int], last: bytes
) -> None:
    body = b"".join(map(event, [*before, KNOWN, *after])) + last
    reply = counted(kind, body, cuts)
    assert reply.model == "m"
    assert reply.usage is not None
    assert (reply.usage.prompt_tokens or 0) >= 10
    assert (reply.usage.completion_tokens or 0) >= 4


@given(
    cuts=st.lists(st.integers(0, 10_000), max_size=9), blank=st.sampled_from([b"", b" \n", b"\xef\xbb\xbf"])
)
@pytest.mark.parametrize("kind", ["", "application/json", "text/event-stream"])
def test_a_whole_response_is_read_at_its_end(kind: str, cuts: list[int], blank: bytes) -> None:
    reply = counted(kind, blank + json.dumps(KNOWN).encode(), cuts)
    assert (reply.model, reply.usage) == ("m", Usage(10, 4, 14))


def test_the_last_event_needs_no_blank_line() -> None:
    assert counted("text/event-stream", event(KNOWN).rstrip(), []).usage == Usage(10, 4, 14)


@pytest.mark.parametrize("body", [b"{" * LIMIT * 3, b"data: " + b"x" * LIMIT * 3 + b"\n\n" + event(KNOWN)])
def test_at_most_the_limit_is_kept(body: bytes) -> None:
    reply = counted("application/json", body, list(range(0, len(body), 1000)))
    assert (reply.usage, reply.content) == (None, b"")
