"""Content encodings: undone within a limit, whatever the data."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace import CallError, IncompleteReply, ProtocolError, ReplyTooLarge
from headrace.transports.encodings import decompressed


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


ENCODE: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
    "identity": bytes,
    "": bytes,
}


@given(st.binary(max_size=2000), st.lists(st.sampled_from(sorted(ENCODE)), max_size=3))
def test_whatever_is_encoded_comes_back(data: bytes, encodings: list[str]) -> None:
    content = data
    for name in encodings:
        content = ENCODE[name](content)
    assert decompressed(content, ", ".join(encodings), 10_000) == data


@given(st.binary(max_size=2000))
def test_deflate_may_be_raw(data: bytes) -> None:
    assert decompressed(raw_deflate(data), "deflate", 10_000) == data


@given(st.lists(st.binary(max_size=50), min_size=1, max_size=9))
def test_gzip_may_have_several_members(parts: list[bytes]) -> None:
    assert decompressed(b"".join(map(gzip.compress, parts)), "gzip", 10_000) == b"".join(parts)


@given(st.sampled_from([*ENCODE, "br", "zstd", "gzip, deflate"]), st.binary(max_size=200))
def test_rubbish_ends_in_bytes_or_a_typed_error(encodings: str, rubbish: bytes) -> None:
    try:
        assert len(decompressed(rubbish, encodings, 1000)) <= 1000
    except CallError as error:
        assert str(error)  # noqa: PT017 - either is right


@given(st.binary(min_size=1, max_size=300), st.sampled_from(["gzip", "deflate"]), st.data())
def test_data_cut_short_is_incomplete(data: bytes, encoding: str, draw: st.DataObject) -> None:
    content = ENCODE[encoding](data)
    end = draw.draw(st.integers(2, len(content) - 1))
    with pytest.raises(IncompleteReply):
        decompressed(content[:end], encoding, 10_000)


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_the_limit_is_exact(encoding: str) -> None:
    content = ENCODE[encoding](bytes(1000))
    assert len(decompressed(content, encoding, 1000)) == 1000
    with pytest.raises(ReplyTooLarge, match="999"):
        decompressed(content, encoding, 999)


@pytest.mark.parametrize(
    ("encodings", "content"),
    [
        ("gzip", gzip.compress(bytes(100_000_000))),
        ("deflate", zlib.compress(bytes(100_000_000))),
        ("deflate", raw_deflate(bytes(100_000_000))),
        ("gzip, gzip", gzip.compress(gzip.compress(bytes(100_000_000)))),
    ],
    ids=["gzip", "deflate", "raw deflate", "stacked"],
)
def test_a_bomb_takes_no_more_memory_than_the_limit(encodings: str, content: bytes) -> None:
    tracemalloc.start()
    with pytest.raises(ReplyTooLarge):
        decompressed(content, encodings, 1_000_000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3_000_000


def test_many_empty_members_are_refused_instead_of_taking_for_ever() -> None:
    with pytest.raises(ProtocolError, match="members"):
        decompressed(gzip.compress(b"") * 1_000_000, "gzip", 1000)


def test_encodings_that_were_not_offered_are_named() -> None:
    with pytest.raises(ProtocolError, match="'br'"):
        decompressed(b"x", "br", 1000)
    with pytest.raises(ProtocolError, match="4 content encodings"):
        decompressed(b"x", "gzip, gzip, gzip, gzip", 1000)
