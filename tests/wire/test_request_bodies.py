"""Requests from prompts, bodies and batch lines, and what is rejected before anything is sent."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Hashable, Iterable
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace import Request, RequestError, Timeout
from headrace.wire.parameters import CHAT_PARAMETERS, RESPONSE_PARAMETERS
from headrace.wire.request_bodies import (
    as_request,
    chat_body,
    encode_body,
    response_body,
)

MESSAGES = [{"role": "user", "content": "Hallo"}]


def test_a_string_is_a_chat_prompt() -> None:
    request = as_request("Hallo", "m")
    assert request == Request({"model": "m", "messages": MESSAGES})
    assert request.path == "/chat/completions"


def test_requests_are_equal_by_value_and_have_no_hash() -> None:
    one, other = Request({"model": "m"}, id="1"), Request({"model": "m"}, id="1")
    assert one == other
    assert one != Request({"model": "n"}, id="1")
    assert not isinstance(one, Hashable)
    with pytest.raises(TypeError, match="unhashable type: 'Request'"):
        hash(one)


def test_a_mapping_is_the_body_of_a_chat_completion() -> None:
    assert as_request({"messages": MESSAGES, "n": 2}, "m").body == {
        "model": "m",
        "messages": MESSAGES,
        "n": 2,
    }


def test_a_request_changes_only_in_its_model() -> None:
    request = Request({"input": "x"}, "/embeddings", id="7", deadline=3.0, tags={"a": "b"})
    assert as_request(request, "m") == attrs.evolve(request, body={"model": "m", "input": "x"})
    complete = Request({"model": "own", "messages": MESSAGES})
    assert as_request(complete, "m") is complete


@pytest.mark.parametrize("named", [{}, {"model": None}])
def test_a_missing_model_is_added(named: dict[str, Any]) -> None:
    assert as_request({"messages": MESSAGES, **named}, "m").model == "m"
    with pytest.raises(RequestError, match="no model"):
        as_request({"messages": MESSAGES, **named}, None)


def test_the_callers_body_is_not_changed() -> None:
    body = {"messages": MESSAGES}
    as_request(body, "m")
    assert body == {"messages": MESSAGES}


def test_a_batch_line_has_path_method_and_id() -> None:
    line = {"custom_id": "7", "method": "post", "url": "/v1/embeddings", "body": {"model": "e", "input": "x"}}
    request = as_request(line, "m")
    assert (request.id, request.method, request.path) == ("7", "POST", "/embeddings")
    assert request.body == {"model": "e", "input": "x"}


def test_method_and_id_of_a_batch_line_are_optional() -> None:
    request = as_request({"url": "/chat/completions", "body": {"messages": MESSAGES}}, "m")
    assert (request.id, request.method, request.path) == (None, "POST", "/chat/completions")


@pytest.mark.parametrize("make", [list, tuple, iter], ids=lambda make: make.__name__)
def test_messages_are_a_chat(make: Callable[[list[Any]], Iterable[Any]]) -> None:
    conversation = [{"role": "system", "content": "Short."}, *MESSAGES]
    request = as_request(make(conversation), "m")
    assert request == Request({"model": "m", **chat_body(conversation, {})})


@pytest.mark.parametrize(
    "item", [5, None, b"x", bytearray(b"x"), [1], ["x"], [*MESSAGES, "x"], [], (), {5}, object()]
)
def test_anything_else_is_not_a_request(item: Any) -> None:
    with pytest.raises(RequestError, match="a request must be a string"):
        as_request(item, "m")


@pytest.mark.parametrize("message", [*MESSAGES, {"role": "assistant", "tool_calls": []}])
def test_one_message_is_not_a_request(message: dict[str, Any]) -> None:
    with pytest.raises(RequestError) as caught:
        as_request(message, "m")
    assert str(caught.value) == "a request must be a list of messages, not one message; write [message]"


@pytest.mark.parametrize("model", ["a\r\nX: y", "a\x00", "a\n", 5, ["m"]])
def test_a_model_must_be_a_printable_string(model: Any) -> None:
    with pytest.raises(RequestError, match="model"):
        as_request({"messages": MESSAGES, "model": model}, None)
    with pytest.raises(RequestError, match="model"):
        as_request({"messages": MESSAGES}, model)


def test_a_model_may_contain_spaces_and_umlauts() -> None:
    assert as_request({"messages": MESSAGES}, "Größe 7 (lokal)").model == "Größe 7 (lokal)"


@pytest.mark.parametrize(
    "path",
    ["", "embeddings", "https://evil.example/", "/a b", "/a\r\nX: y", "/a\x00", "/größe", "/a\tb", "/a\x7f"],
)
def test_an_invalid_path_is_rejected(path: str) -> None:
    with pytest.raises(RequestError, match="path"):
        Request({}, path)


@pytest.mark.parametrize("method", ["", "GE T", "GET\r\n", "G\x00", "GÄT", "5"])
def test_an_invalid_method_is_rejected(method: str) -> None:
    with pytest.raises(RequestError, match="method"):
        Request({}, "/x", method)


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), "5", True, [5]])
def test_an_invalid_timeout_or_deadline_is_rejected(seconds: Any) -> None:
    with pytest.raises(RequestError, match="timeout"):
        Request({}, timeout=seconds)
    with pytest.raises(RequestError, match="deadline"):
        Request({}, deadline=seconds)


def test_a_timeout_may_name_its_phases() -> None:
    assert Request({}, timeout=Timeout(5, read=1)).timeout == Timeout(5, read=1)


@pytest.mark.parametrize("parameter", sorted(CHAT_PARAMETERS))
def test_every_parameter_of_the_api_reaches_the_body(parameter: str) -> None:
    assert chat_body("Hallo", {parameter: 1}) == {"messages": MESSAGES, parameter: 1}


def test_the_error_for_an_unknown_parameter_suggests_another() -> None:
    with pytest.raises(RequestError, match=r"'max_token'; did you mean 'max_tokens'.*extra_body"):
        chat_body("Hallo", {"max_token": 1})


@pytest.mark.parametrize("parameter", sorted(RESPONSE_PARAMETERS))
def test_every_parameter_of_a_response_reaches_the_body(parameter: str) -> None:
    assert response_body("Hallo", None, {parameter: 1}) == {"input": "Hallo", parameter: 1}


def test_messages_may_be_any_iterable() -> None:
    assert chat_body(iter(MESSAGES), {})["messages"] == MESSAGES


@pytest.mark.parametrize("body", [{"a": object()}, {"a": {1, 2j}}, {(1, 2): 3}])
def test_a_body_that_is_not_json_is_rejected(body: Any) -> None:
    with pytest.raises(RequestError, match="JSON"):
        encode_body(body)


def test_a_body_that_contains_itself_is_rejected() -> None:
    body: dict[str, Any] = {}
    body["self"] = body
    with pytest.raises(RequestError, match="JSON"):
        encode_body(body)


def test_no_body_is_no_bytes() -> None:
    assert encode_body(None) == b""
    assert encode_body({}) == b"{}"


def test_requests_can_be_pickled() -> None:
    for request in (Request({"a": 1}), Request({}, tags={"team": "a"}, timeout=Timeout(3))):
        assert pickle.loads(pickle.dumps(request)) == request


_anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["url", "body", "custom_id", "method", "model", "messages", "stream"])
            | st.text(),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)


@given(_anything, st.none() | st.text(max_size=3))
def test_any_item_becomes_a_request_or_a_request_error(item: Any, model: str | None) -> None:
    try:
        request = as_request(item, model)
        encode_body(request.body)
    except RequestError:
        return
    assert request.path.startswith("/")
    assert "\n" not in request.path + request.method
