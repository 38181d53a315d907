"""Embeddings: batches, their order, invalid texts and invalid replies."""

from __future__ import annotations

import base64
import json
import struct
import sys
from array import array
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import anyio
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace import (
    Call,
    CallError,
    Client,
    ClientStateError,
    DeadlineExceeded,
    Headers,
    InvalidReply,
    Reply,
    RequestError,
    Send,
    ServerError,
    Stage,
    Usage,
)
from headrace.client.embeddings import MAX_BYTES, MAX_TEXTS, in_batches
from headrace.testing import Answer, FakeEndpoint
from headrace.testing.server import Behaviour, endpoint_process
from headrace.transports.memory import MemoryTransport
from headrace_retry import Retry


def packed(*numbers: float) -> str:
    return base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()


def answer(*embeddings: Any, indices: Sequence[int] | None = None, **rest: Any) -> dict[str, Any]:
    indices = range(len(embeddings)) if indices is None else indices
    data = [{"index": at, "embedding": it} for at, it in zip(indices, embeddings, strict=True)]
    return {"object": "list", "data": data, **rest}


class Lengths:
    """A transport that returns the length of a text as its vector; later batches are answered first."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.in_flight = self.most_in_flight = 0

    def client(self, **keywords: Any) -> Client:
        keywords = {"base_url": "http://fake.test/v1", "model": "e", "policies": []} | keywords
        return Client(transport=MemoryTransport(self.handle), **keywords)

    async def handle(self, call: Call) -> Reply:
        texts = (call.request.body or {})["input"]
        self.batches.append(texts)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await anyio.sleep(0.05 / len(self.batches))
        finally:
            self.in_flight -= 1
        usage = {"prompt_tokens": len(texts), "total_tokens": len(texts)}
        body = answer(*(packed(len(text)) for text in texts), model="e-1", usage=usage)
        return Reply(200, Headers([]), msgspec.json.encode(body))


class Priced:
    """A policy that sets a cost of two cents; optionally none for calls with one text."""

    name = "cost"
    stage = Stage.ACCOUNT

    def __init__(self, *, unknown: bool = False) -> None:
        self.unknown = unknown

    def wrap(self, send: Send) -> Send:
        async def priced(call: Call) -> Reply:
            reply = await send(call)
            if not (self.unknown and len((call.request.body or {})["input"]) == 1):
                reply.cost = Decimal("0.02")
            return reply

        return priced


@pytest.mark.anyio
async def test_batches_are_sent_concurrently_and_vectors_keep_the_order() -> None:
    texts = ["x" * length for length in range(1, 26)]
    endpoint = Lengths()
    async with endpoint.client(max_in_flight=3, policies=[Priced()]) as client:
        done = await client.embed((text for text in texts), batch_size=4)
        assert client.in_flight == 0
    assert done.vectors == [array("f", [length]) for length in range(1, 26)]
    assert sorted(map(len, endpoint.batches)) == [1, 4, 4, 4, 4, 4, 4]
    assert endpoint.most_in_flight == 3
    assert (done.usage, done.cost) == (Usage(25, 0, 25), Decimal("0.14"))
    assert (done.model, done.attempts) == ("e-1", 7)
    assert "25.0" not in repr(done)


@pytest.mark.anyio
async def test_a_total_with_an_unknown_part_is_none() -> None:
    async with Lengths().client(policies=[Priced(unknown=True)]) as client:
        assert (await client.embed("abc".split() * 2, batch_size=2)).cost == Decimal("0.02")
        assert (await client.embed("abc".split() * 3, batch_size=2)).cost is None
    async with FakeEndpoint(Answer(body=answer(packed(1.0)))).client() as client:
        assert (await client.embed(["a"])).usage is None


@pytest.mark.anyio
async def test_embeddings_share_the_limit_of_the_client() -> None:
    endpoint = Lengths()
    async with endpoint.client(max_in_flight=2) as client, anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(lambda: client.embed(["a", "b", "c"], batch_size=1))
    assert endpoint.most_in_flight == 2
    assert len(endpoint.batches) == 9


@pytest.mark.anyio
async def test_the_request_has_texts_model_and_encoding() -> None:
    endpoint = FakeEndpoint(Answer(body=answer([0.5, 1.5])))
    async with endpoint.client() as client:
        await client.embed(
            ["größe"],
            model="e",
            dimensions=2,
            timeout=3.0,
            tags={"team": "a"},
            extra_body={"user": "u", "encoding_format": "float"},
        )
    (request,) = endpoint.attempts
    assert (request.method, request.path, request.timeout) == ("POST", "/embeddings", 3.0)
    assert request.tags == {"team": "a"}
    assert request.body == {
        "model": "e",
        "input": ["größe"],
        "dimensions": 2,
        "encoding_format": "float",
        "user": "u",
    }


@pytest.mark.anyio
async def test_both_encodings_are_read_and_vectors_sorted_by_index() -> None:
    body = answer([0.5, -1.5], packed(2.0, 3.0), indices=[1, 0])
    async with FakeEndpoint(Answer(body=body)).client() as client:
        done = await client.embed(["a", "b"])
    assert done.vectors == [array("f", [2.0, 3.0]), array("f", [0.5, -1.5])]


@pytest.mark.anyio
async def test_vectors_are_little_endian_on_any_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    async with FakeEndpoint(Answer(body=answer(packed(2.0)))).client() as client:
        monkeypatch.setattr(sys, "byteorder", {"little": "big", "big": "little"}[sys.byteorder])
        ((number,),) = (await client.embed(["a"])).vectors
    assert struct.pack("=f", number) == struct.pack("=f", 2.0)[::-1]


@pytest.mark.anyio
async def test_without_texts_nothing_is_sent(fake_endpoint: FakeEndpoint) -> None:
    async with fake_endpoint.client() as client:
        done = await client.embed([])
    assert (done.vectors, done.usage, done.cost, done.attempts) == ([], Usage(), Decimal(0), 0)
    assert fake_endpoint.attempts == []


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("texts", "keywords", "message"),
    [
        ("Hallo", {}, "write client.embed([text])"),
        (b"Hallo", {}, "write client.embed([text])"),
        ({"a": "b"}, {}, "a list of texts, not dict"),
        (5, {}, "a list of texts, not int"),
        (["a", ""], {}, "texts[1] is empty"),
        (["a", 5], {}, "texts[1] is of type int"),
        (["a", None], {}, "texts[1] is of type NoneType"),
        (["a", "b\ud83d"], {}, "texts[1] is not valid Unicode"),
        (["a"], {"batch_size": 0}, "batch_size=0"),
        (["a"], {"batch_size": True}, "batch_size=True"),
        (["a"], {"batch_size": 1.5}, "batch_size=1.5"),
        (["a"], {"dimensions": 0}, "dimensions=0"),
        (["a"], {"dimensions": "many"}, "dimensions='many'"),
        (["a"], {"timeout": 0}, "timeout"),
        (["a"], {"deadline": "soon"}, "deadline"),
        (["a"], {"model": "a\r\nb"}, "model"),
        (["a"], {"extra_body": {"user": object()}}, "JSON"),
    ],
)
async def test_an_invalid_argument_raises_at_once(
    fake_endpoint: FakeEndpoint, texts: Any, keywords: dict[str, Any], message: str
) -> None:
    async with fake_endpoint.client() as client:
        with pytest.raises(RequestError) as caught:
            await client.embed(texts, **keywords)
        assert client.in_flight == 0
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert fake_endpoint.attempts == []


@pytest.mark.anyio
async def test_a_closed_client_raises(fake_endpoint: FakeEndpoint) -> None:
    async with fake_endpoint.client() as client:
        pass
    with pytest.raises(ClientStateError, match="closed"):
        await client.embed(["a"])


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("body", "message"),
    [
        (answer([1.0]), "1 vector received for 2 texts"),
        (answer([1.0], [1.0], [1.0]), "3 vectors received for 2 texts"),
        (answer([1.0], [1.0], indices=[1, 1]), "indices are not 0 to 1"),
        (answer([1.0], [1.0], indices=[1, 2]), "indices are not 0 to 1"),
        (answer([1.0], [None]), "text 1 is empty, or contains a value that is not a number"),
        (answer([1.0], []), "text 1 is empty"),
        (answer([1.0], ["1.0"]), "text 1 is empty, or contains"),
        (answer([1.0], [True]), "text 1 is empty, or contains"),
        (answer([1.0], None), "text 1 is NoneType, not numbers"),
        (b'{"data": [{"embedding": [1.0]}, {"embedding": [NaN]}]}', "text 1 is empty, or contains"),
        (answer([1.0], "AAA="), "multiple of item size"),
        (answer([1.0], "no base64"), "base64"),
        ({"data": [{"embedding": [1.0]}, {"index": 1, "embedding": [1.0]}]}, "indices are not 0 to 1"),
        ({"data": [{"embedding": [1.0]}, {"embedding": [1.0, 2.0]}]}, "differ in length: 1, 2 numbers"),
        ({"choices": []}, "no answer"),
        (b"[]", "no answer"),
        ({"data": "AAAA"}, "no answer"),
    ],
)
async def test_a_reply_without_one_vector_for_each_text_is_invalid(body: Any, message: str) -> None:
    endpoint = FakeEndpoint(Answer(body=body))
    async with endpoint.client() as client:
        with pytest.raises(InvalidReply) as caught:
            await client.embed(["a", "b"])
    assert message in str(caught.value)
    assert caught.value.request is endpoint.attempts[0]
    assert caught.value.attempts == 1


@pytest.mark.anyio
@pytest.mark.parametrize(
    "body",
    [
        {"data": [{"embedding": [1.0]}, {"embedding": [2.0]}]},
        answer([1.0], [2.0], indices=[0, 0]),
        answer([2.0], [1.0], indices=["1", "0"]),  # type: ignore[list-item]
        answer([2.0], [1.0], indices=[1.0, 0.0]),  # type: ignore[list-item]
        answer([1.0], [2.0], indices=[None, None]),  # type: ignore[list-item]
        answer([1], packed(2.0), indices=["0", 1]),  # type: ignore[list-item]
        answer([[1.0]], [[2.0]]),
        {"data": [{"embedding": [1.0], "object": None}, {"embedding": [2], "object": 5}], "usage": "some"},
        {"data": [[1.0], [2.0]]},
        {"data": None, "embeddings": [[1.0], [2.0]], "model": 5},
        b"[[1.0], [2.0]]",
        b'\xef\xbb\xbf{"data": [{"embedding": [1.0]}, {"embedding": [2.0]}], "x": NaN}',
    ],
)
async def test_vectors_without_a_valid_index_keep_their_order(body: Any) -> None:
    async with FakeEndpoint(Answer(body=body)).client() as client:
        assert (await client.embed(["a", "b"])).vectors == [array("f", [1.0]), array("f", [2.0])]


@pytest.mark.anyio
async def test_one_vector_for_one_text_needs_no_index() -> None:
    async with FakeEndpoint(Answer(body=answer([1.0], indices=[7]))).client() as client:
        assert (await client.embed(["a"])).vectors == [array("f", [1.0])]


@pytest.mark.anyio
@pytest.mark.parametrize("keywords", [{"dimensions": 2}, {"extra_body": {"dimensions": 2}}])
async def test_vectors_of_another_length_than_requested_raise(
    keywords: dict[str, Any],
) -> None:
    async with FakeEndpoint(Answer(body=answer(packed(1.0, 2.0, 3.0)))).client() as client:
        with pytest.raises(InvalidReply, match=r"dimensions=2 was requested, .* have 3 numb") as caught:
            await client.embed(["a"], **keywords)
    assert caught.value.retryable is False


@pytest.mark.anyio
async def test_batches_with_vectors_of_different_lengths_raise() -> None:
    endpoint = FakeEndpoint(Answer(body=answer([1.0])), Answer(body=answer([1.0, 2.0])))
    async with endpoint.client(max_in_flight=1) as client:
        with pytest.raises(InvalidReply, match="differ in length: 1, 2 numbers"):
            await client.embed(["a", "b"], batch_size=1)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(
    where=st.sampled_from(["index", "embedding", "object", "entry", "usage", "model", "data", "id"]),
    value=json_values,
)
def test_any_value_of_a_field_is_ignored_or_raises_a_typed_error(where: str, value: Any) -> None:
    body: dict[str, Any] = answer([1.0], [2.0], model="m", usage={"prompt_tokens": 1, "total_tokens": 1})
    if where == "entry":
        body["data"][1] = value
    elif where in {"index", "embedding", "object"}:
        body["data"][1][where] = value
    else:
        body[where] = value
    content = json.dumps(body).encode()

    async def call() -> None:
        async with FakeEndpoint(Answer(body=content)).client() as client:
            try:
                vectors = (await client.embed(["a", "b"])).vectors
            except InvalidReply:
                assert where in {"index", "embedding", "entry", "data"}
            else:
                assert len(vectors) == 2
                assert vectors[0] == array("f", [1.0])

    anyio.run(call)


@pytest.mark.anyio
async def test_the_first_error_cancels_the_rest_and_is_raised_as_itself() -> None:
    endpoint = FakeEndpoint(Answer(delay=3600), Answer(delay=3600), 500, otherwise=Answer(delay=3600))
    async with endpoint.client(max_in_flight=3) as client:
        with anyio.fail_after(5), pytest.raises(ServerError):
            await client.embed(["a"] * 10, batch_size=1)
        assert (client.in_flight, endpoint.in_flight) == (0, 0)
    assert len(endpoint.attempts) == 3


@pytest.mark.anyio
async def test_one_of_many_simultaneous_errors_is_raised() -> None:
    async with FakeEndpoint(otherwise=500).client() as client:
        with pytest.raises(CallError):
            await client.embed(["a"] * 10, batch_size=1)


@pytest.mark.anyio
async def test_a_batch_is_retried_like_any_call() -> None:
    endpoint = FakeEndpoint(Answer(status=500, headers={"retry-after-ms": "1"}), Answer(body=answer([1.0])))
    async with endpoint.client([Retry(attempts=2)]) as client:
        assert (await client.embed(["a"])).attempts == 2


@pytest.mark.anyio
async def test_the_deadline_is_for_all_batches() -> None:
    endpoint = FakeEndpoint(otherwise=Answer(body=answer([1.0]), delay=0.05))
    async with endpoint.client(max_in_flight=1) as client:
        with anyio.fail_after(5), pytest.raises(DeadlineExceeded, match=r"deadline of 0\.12 s"):
            await client.embed(["a"] * 1000, batch_size=1, deadline=0.12)
    assert len(endpoint.attempts) <= 3


@pytest.mark.anyio
async def test_cancelling_embed_cancels_its_calls() -> None:
    endpoint = FakeEndpoint(otherwise=Answer(delay=3600))
    async with endpoint.client() as client:
        with anyio.move_on_after(0.05) as scope:
            await client.embed(["a"] * 3, batch_size=1)
        assert scope.cancelled_caught
        assert (len(endpoint.attempts), endpoint.in_flight, client.in_flight) == (3, 0, 0)


def test_subclasses_of_str_are_texts() -> None:
    class Text(str):
        pass

    ((text,),) = in_batches([Text("a")], None)
    assert type(text) is str


def test_a_batch_is_limited_by_number_and_bytes() -> None:
    assert [len(batch) for batch in in_batches(["a"] * (MAX_TEXTS * 2 + 1), None)] == [2048, 2048, 1]
    half, long = "ö" * (MAX_BYTES // 4), "x" * (MAX_BYTES + 1)
    assert in_batches([half, half, "a"], None) == [[half, half], ["a"]]
    assert in_batches(["a", long, "b"], None) == [["a"], [long], ["b"]]


@given(st.lists(st.text(st.characters(codec="utf-8"), min_size=1)), st.integers(1, 5))
def test_batches_keep_the_order_of_the_texts(texts: list[str], batch: int) -> None:
    batches = in_batches(texts, batch)
    assert [text for some in batches for text in some] == texts
    assert all(0 < len(some) <= batch for some in batches)


@pytest.mark.anyio
async def test_embed_works_over_a_socket() -> None:
    texts = [f"Text {number}" for number in range(50)]
    async with (
        endpoint_process(Behaviour(latency=0.01)) as endpoint,
        Client(base_url=endpoint.base_url, model="e", policies=[]) as client,
    ):
        done = await client.embed(texts, batch_size=7, dimensions=16)
        alone = await client.embed(texts[30:31], dimensions=16, extra_body={"encoding_format": "float"})
    assert done.vectors[30] == alone.vectors[0]
    assert {len(vector) for vector in done.vectors} == {16}
    assert len(done.vectors) == len(texts)
    assert (done.model, done.attempts) == ("e", 8)
