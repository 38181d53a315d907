"""The types of `headrace.blocking` and of message parts. Checked by mypy and pyright, not executed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, assert_type

import attrs

import headrace
from headrace import Chunk, Embeddings, Outcome, ParsedReply, Reply, blocking
from headrace.bulk import Result


@attrs.define
class Verdict:
    fits: bool


def parts() -> None:
    assert_type(headrace.image(Path("rose.png"), detail="low", max_pixels=9), Mapping[str, Any])
    assert_type(headrace.file(b"...", filename="a.pdf", max_bytes=9), Mapping[str, Any])
    assert_type(headrace.audio("call.mp3"), Mapping[str, Any])
    headrace.image("rose.png", detail="huge")  # type: ignore[arg-type]
    headrace.image(5)  # type: ignore[arg-type]
    headrace.audio("call.mp3", detail="low")  # type: ignore[call-arg]


def calls(prompts: list[str]) -> None:
    with blocking.Client(model="m", max_in_flight=9, retry={"attempts": 5}) as client:
        assert_type(client, blocking.Client)
        assert_type(client.chat("Hello", temperature=0.3), Reply)
        assert_type(client.chat("Hello", answer=Verdict), ParsedReply[Verdict])
        assert_type(client.chat("Hello", answer=Literal["a"]), ParsedReply[Any])
        assert_type(client.embed(prompts), Embeddings)
        with client.stream([{"role": "user", "content": [headrace.image("rose.png")]}]) as stream:
            assert_type([chunk for chunk in stream], list[Chunk])  # noqa: C416 - the type of an item
            assert_type(stream.reply, Reply)
        for outcome in client.map(prompts, ordered=True):
            assert_type(outcome, Outcome[Reply])
        with client.map(prompts, answer=Verdict, max_in_flight=3) as verdicts:
            assert_type(next(verdicts), Outcome[ParsedReply[Verdict]])
        client.chat("Hello", temperature="hot")  # type: ignore[call-overload]
        client.map(prompts, orderd=True)  # type: ignore[call-overload]
        client.map(5)  # type: ignore[call-overload]
    blocking.Client(max_in_flight="many")  # type: ignore[arg-type]


def functions(prompts: list[str]) -> None:
    assert_type(blocking.chat("Hello", model="m"), Reply)
    assert_type(blocking.chat("Hello", answer=Verdict, model="m").answer, Verdict)
    assert_type(next(blocking.map(prompts, model="m")), Outcome[Reply])
    assert_type(next(blocking.map(prompts, answer=Verdict, model="m")).unwrap().answer, Verdict)
    assert_type(blocking.run("in.csv", out=Path("out.jsonl"), prompt="{name}", model="m"), Result)
    assert_type(blocking.run([{"name": "x"}], prompt="{name}").succeeded, int)
    blocking.run(prompt="{name}")  # type: ignore[call-arg]
