"""Content encodings are decoded up to a limit, for any data."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace import CallError, IncompleteReply, ProtocolError, ReplyTooLarge
from headrace.transports.content_encoding import Decoder, decode_body


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
def test_encoded_data_decodes_to_the_original(data: bytes, encodings: list[str]) -> None:
    content = data
    for name in encodings:
        content = ENCODE[name](content)
    assert decode_body(content, ", ".join(encodings), 10_000) == data


@given(st.binary(max_size=2000))
def test_deflate_may_be_raw(data: bytes) -> None:
    assert decode_body(raw_deflate(data), "deflate", 10_000) == data


@given(st.lists(st.binary(max_size=50), min_size=1, max_size=9))
def test_gzip_may_have_several_members(parts: list[bytes]) -> None:
    assert decode_body(b"".join(map(gzip.compress, parts)), "gzip", 10_000) == b"".join(parts)


@given(st.sampled_from([*ENCODE, "br", "zstd", "gzip, deflate"]), st.binary(max_size=200))
def test_random_bytes_decode_or_raise_a_typed_error(encodings: str, rubbish: bytes) -> None:
    try:
        assert len(decode_body(rubbish, encodings, 1000)) <= 1000
    except CallError as error:
        assert str(error)  # noqa: PT017 - either is right


@given(st.binary(min_size=1, max_size=300), st.sampled_from(["gzip", "deflate"]), st.data())
def test_truncated_data_is_incomplete(data: bytes, encoding: str, draw: st.DataObject) -> None:
    content = ENCODE[encoding](data)
    end = draw.draw(st.integers(2, len(content) - 1))
    with pytest.raises(IncompleteReply):
        decode_body(content[:end], encoding, 10_000)


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_the_limit_is_exact(encoding: str) -> None:
    content = ENCODE[encoding](bytes(1000))
    assert len(decode_body(content, encoding, 1000)) == 1000
    with pytest.raises(ReplyTooLarge, match="999"):
        decode_body(content, encoding, 999)


@pytest.mark.parametrize(
    ("encodings", "packs"),
    [
        ("gzip", [gzip.compress]),
        ("deflate", [zlib.compress]),
        ("deflate", [raw_deflate]),
        ("gzip, gzip", [gzip.compress, gzip.compress]),
    ],
    ids=["gzip", "deflate", "raw deflate", "stacked"],
)
def test_a_bomb_needs_no_more_memory_than_the_limit(
    encodings: str, packs: list[Callable[[bytes], bytes]]
) -> None:
    content = bytes(30_000_000)
    for pack in packs:
        content = pack(content)
    tracemalloc.start()
    with pytest.raises(ReplyTooLarge):
        decode_body(content, encodings, 1_000_000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3_000_000


def test_many_empty_members_are_rejected_quickly() -> None:
    with pytest.raises(ProtocolError, match="members"):
        decode_body(gzip.compress(b"") * 1_000_000, "gzip", 1000)


@given(
    st.binary(max_size=2000),
    st.lists(st.sampled_from([*sorted(ENCODE), "UTF-8"]), max_size=3),
    st.lists(st.integers(0, 3000), max_size=9),
)
def test_parts_decode_to_the_same_as_the_whole(data: bytes, encodings: list[str], cuts: list[int]) -> None:
    content = data
    for name in encodings:
        content = ENCODE.get(name, bytes)(content)
    edges = [0, *sorted(cut % (len(content) + 1) for cut in cuts), len(content)]
    decoder = Decoder(", ".join(encodings), 10_000)
    decoded = b"".join(decoder.feed(content[start:end]) for start, end in pairwise(edges))
    decoder.finish()
    assert decoded == data


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_part_is_decoded_once_the_server_has_flushed_it(encoding: str) -> None:
    packer = zlib.compressobj(wbits=31 if encoding == "gzip" else 15)
    decoder = Decoder(encoding, 1000)
    for piece in (b"data: 1", b"data: 2"):
        assert decoder.feed(packer.compress(piece) + packer.flush(zlib.Z_SYNC_FLUSH)) == piece
    with pytest.raises(IncompleteReply):
        decoder.finish()
    assert decoder.feed(packer.flush()) == b""
    decoder.finish()


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "gzip, gzip"])
def test_the_limit_applies_to_all_parts_together(encoding: str) -> None:
    decoder = Decoder(encoding, 10_000)
    content = bytes(10_001)
    for name in encoding.split(", "):
        content = ENCODE[name](content)
    with pytest.raises(ReplyTooLarge, match="10000"):  # noqa: PT012
        for at in range(len(content)):
            decoder.feed(content[at : at + 1])


@pytest.mark.parametrize(
    "behind", [b"\0", b"\0" * 512, b"\r\n", b"rubbish", b"\x1f", b"\x1f\x8b", b"\x1f\x8bno"]
)
def test_bytes_after_a_gzip_member_are_ignored(behind: bytes) -> None:
    content = gzip.compress(b"{}") + behind
    assert decode_body(content, "gzip", 1000) == b"{}"
    decoder = Decoder("gzip", 1000)
    assert b"".join(decoder.feed(content[at : at + 1]) for at in range(len(content))) == b"{}"
    decoder.finish()


def test_bytes_after_deflated_data_are_ignored() -> None:
    assert decode_body(zlib.compress(b"{}") + b"rubbish", "deflate", 1000) == b"{}"


@pytest.mark.parametrize(
    "encodings", ["UTF-8", "none", "text", "chunked", "utf-8, none", "", "identity", ", ,", "x" * 99]
)
def test_unknown_encodings_are_ignored(encodings: str) -> None:
    assert decode_body(b"as it is", encodings, 1000) == b"as it is"
    assert decode_body(gzip.compress(b"{}"), f"{encodings}, gzip", 1000) == b"{}"


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_an_empty_body_is_complete(encoding: str) -> None:
    decoder = Decoder(encoding, 1000)
    decoder.finish()


@pytest.mark.parametrize("name", ["br", "zstd", "compress", "x-compress", "dcb", "dcz", "BR"])
def test_encodings_that_were_not_requested_are_named(name: str) -> None:
    for encodings in (name, f"gzip, {name}", f"{name}, utf-8"):
        with pytest.raises(ProtocolError, match=f"'{name.lower()}' was not requested"):
            decode_body(b"x", encodings, 1000)


def test_too_many_encodings_are_rejected() -> None:
    with pytest.raises(ProtocolError, match="4 content encodings"):
        decode_body(b"x", "gzip, gzip, gzip, gzip", 1000)
