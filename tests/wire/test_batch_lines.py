"""Bodies that are already JSON."""

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
def test_an_encoded_body_is_a_mapping_of_its_json(body: dict[str, Any]) -> None:
    content = json.dumps(body | {"model": "m"}).encode()
    encoded = EncodedBody(content)
    assert encoded == body | {"model": "m"}
    assert encoded.get("model") == "m"
    assert encoded.get("not there", 1) == 1
    assert encode_body(encoded) is content


@given(st.dictionaries(st.text("abä"), _json, max_size=4))
def test_parse_batch_line_and_as_request_give_equal_requests(body: dict[str, Any]) -> None:
    line = {"custom_id": "q", "method": "post", "url": "/v1/embeddings", "body": body | {"model": "m"}}
    request = parse_batch_line(json.dumps(line).encode())
    expected = as_request(line, None)
    assert request is not None
    assert as_request(request, None) is request
    assert (request.id, request.path, request.method) == (expected.id, expected.path, expected.method)
    assert request.body == expected.body
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
def test_an_unusual_line_gives_none(line: bytes) -> None:
    assert parse_batch_line(line) is None


def test_a_missing_model_is_added_and_a_stream_is_rejected() -> None:
    request = as_request(parse_batch_line(b'{"url": "/v1/a", "body": {"n": 2}}'), "m")
    assert request.body == {"model": "m", "n": 2}
    assert request.model == "m"
    with pytest.raises(RequestError, match="stream"):
        as_request(parse_batch_line(b'{"url": "/v1/a", "body": {"model": "m", "stream": true}}'), None)


def test_a_body_must_be_a_json_object() -> None:
    with pytest.raises(msgspec.DecodeError):
        EncodedBody(b"[1]")
