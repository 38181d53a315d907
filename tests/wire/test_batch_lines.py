"""Bodies that are JSON already."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import RequestError
from headrace.wire.batch_lines import EncodedBody, parse_batch_line
from headrace.wire.request_bodies import as_request, encode_body

_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('abcä "\\\n'), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text("abä"), _json, max_size=4))
def test_it_is_the_mapping_that_it_is_the_json_of(body: dict[str, Any]) -> None:
    content = json.dumps(body | {"model": "m"}).encode()
    encoded = EncodedBody(content)
    assert encoded == body | {"model": "m"}
    assert encoded.get("model") == "m"
    assert encoded.get("not there", 1) == 1
    assert encode_body(encoded) is content


@given(st.dictionaries(st.text("abä"), _json, max_size=4))
def test_a_batch_line_read_at_once_is_the_request_of_the_decoded_one(body: dict[str, Any]) -> None:
    line = {"custom_id": "q", "method": "post", "url": "/v1/embeddings", "body": body | {"model": "m"}}
    request = parse_batch_line(json.dumps(line).encode())
    usual = as_request(line, None)
    assert request is not None
    assert as_request(request, None) is request
    assert (request.id, request.path, request.method) == (usual.id, usual.path, usual.method)
    assert request.body == usual.body
    assert request.body is not None
    assert json.loads(encode_body(request.body)) == line["body"]


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{",
        b"[]",
        b'{"url": "/v1/a"}',
        b'{"url": "/v1/a", "body": []}',
        b'{"url": 1, "body": {}}',
        b'{"url": "/v1/a b", "body": {}}',
        b'{"url": "/v1/a", "body": {"model": 1}}',
        b'{"url": "/v1/a", "body": {"text": "\xff"}}',
        b'{"url": "/v1/a", "body": {"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}}",
    ],
)
def test_what_is_unusual_is_left_to_who_can_say_why(line: bytes) -> None:
    assert parse_batch_line(line) is None


def test_a_model_is_filled_in_and_a_stream_refused() -> None:
    request = as_request(parse_batch_line(b'{"url": "/v1/a", "body": {"n": 2}}'), "m")
    assert request.body == {"model": "m", "n": 2}
    assert request.model == "m"
    with pytest.raises(RequestError, match="stream"):
        as_request(parse_batch_line(b'{"url": "/v1/a", "body": {"model": "m", "stream": true}}'), None)


def test_it_is_no_body_where_it_is_no_object() -> None:
    with pytest.raises(msgspec.DecodeError):
        EncodedBody(b"[1]")
