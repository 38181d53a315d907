"""Runs over rows of Python code: data frames, iterables and async iterables."""

from __future__ import annotations

import dataclasses
import datetime
import os
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import anyio
import attrs
import numpy
import pandas
import polars
import pyarrow
import pydantic
import pytest

import headrace
from headrace.bulk import Run
from headrace.testing import Answer, FakeEndpoint

ROWS: list[dict[str, Any]] = [
    {"id": "a", "name": "hose", "n": 1},
    {"id": "b", "name": "Ärmel", "n": 2},
    {"id": "c", "name": "ball", "n": 3},
]
PROMPT = "Sort {name}"


@dataclasses.dataclass
class Data:
    id: str
    name: str
    n: int


@attrs.define
class Attrs:
    id: str
    name: str
    n: int


class Model(pydantic.BaseModel):
    id: str
    name: str
    n: int


def generate() -> Iterator[dict[str, Any]]:
    yield from ROWS


async def generate_async() -> AsyncIterator[dict[str, Any]]:
    for row in ROWS:
        await anyio.lowlevel.checkpoint()
        yield row


FORMS: dict[str, Callable[[], Any]] = {
    "list": lambda: ROWS,
    "tuple": lambda: tuple(ROWS),
    "generator": generate,
    "async generator": generate_async,
    "dataclass": lambda: [Data(**row) for row in ROWS],
    "attrs": lambda: (Attrs(**row) for row in ROWS),
    "pydantic": lambda: [Model(**row) for row in ROWS],
    "pandas": lambda: pandas.DataFrame(ROWS),
    "polars": lambda: polars.DataFrame(ROWS),
    "polars lazy": lambda: polars.LazyFrame(ROWS),
    "pyarrow": lambda: pyarrow.Table.from_pylist(ROWS),
    "record batch": lambda: pyarrow.RecordBatch.from_pylist(ROWS),
}
ONCE = ("generator", "async generator", "attrs")


async def ask(rows: Any, endpoint: FakeEndpoint | None = None, **arguments: Any) -> Any:
    async with (endpoint or FakeEndpoint(otherwise="ok")).client(max_in_flight=2) as client:
        return await headrace.run(client, rows, **{"prompt": PROMPT, **arguments})


def prompts(endpoint: FakeEndpoint) -> list[str]:
    return sorted((attempt.body or {})["messages"][-1]["content"] for attempt in endpoint.attempts)


@pytest.mark.anyio
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kept", [False, True])
async def test_rows_of_each_form_are_sent_and_come_back_in_their_order(
    form: str, kept: bool, tmp_path: Path
) -> None:
    endpoint = FakeEndpoint(Answer("ok", delay=0.02), otherwise="ok")
    out = tmp_path / "out.jsonl" if kept else None
    result = await ask(FORMS[form](), endpoint, out=out)
    assert prompts(endpoint) == ["Sort ball", "Sort hose", "Sort Ärmel"]
    assert (result.total, result.succeeded, result.left, result.counted) == (3, 3, 0, True)
    assert [(line.custom_id, line.answer) for line in result] == [("a", "ok"), ("b", "ok"), ("c", "ok")]
    assert bool(os.listdir(tmp_path)) == kept
    table = result.to_arrow().to_pylist()
    if form in ONCE:
        assert [row["custom_id"] for row in table] == ["a", "b", "c"]
    else:
        assert [{name: row[name] for name in ROWS[0]} for row in table] == ROWS
    assert {row["answer"] for row in table} == {"ok"}
    if kept:
        again = FakeEndpoint()
        result = await ask(FORMS[form](), again, out=out)
        assert (result.done_before, len(again.attempts)) == (3, 0)


@pytest.mark.anyio
async def test_types_of_a_data_frame_survive_the_round_trip() -> None:
    frame = pandas.DataFrame(
        {
            "id": [1, 2],
            "when": pandas.to_datetime(["2026-01-02", "2026-03-04"]),
            "price": [Decimal("1.50"), None],
            "kind": pandas.Categorical(["x", "y"]),
        }
    )
    result = await ask(
        frame, prompt="{when} {price} {kind}", choices=["yes", "no"], endpoint=FakeEndpoint(otherwise="yes")
    )
    back = result.to_pandas()
    assert list(back["when"]) == list(frame["when"])
    assert list(back["price"]) == [Decimal("1.50"), None]
    assert list(back["answer"]) == ["yes", "yes"]
    assert result.to_polars()["kind"].to_list() == ["x", "y"]


@pytest.mark.anyio
async def test_typed_answers_become_columns_and_failed_rows_stay_in_their_place() -> None:
    endpoint = FakeEndpoint('{"stars": 5}', 400, '{"stars": 3}')
    async with endpoint.client(max_in_flight=1) as client:
        rating = attrs.make_class("Rating", {"stars": attrs.field(type=int)})
        result = await headrace.run(client, polars.DataFrame(ROWS), prompt=PROMPT, answer=rating)
    frame = result.to_polars()
    assert frame["stars"].to_list() == [5, None, 3]
    assert frame["error"].to_list()[0] is None
    assert "status_error" in frame["error"].to_list()[1]


@pytest.mark.anyio
async def test_values_that_json_does_not_know_are_written_as_json_writes_them() -> None:
    row = {
        "day": datetime.date(2026, 1, 2),
        "uuid": uuid.UUID(int=7),
        "price": Decimal("1.50"),
        "number": numpy.int64(3),
        "vector": numpy.array([1.5, 2.0]),
        "bytes": b"\xff",
    }
    endpoint = FakeEndpoint()
    await ask([row], endpoint, prompt="{day} {uuid} {price} {number} {vector} {bytes}")
    assert prompts(endpoint) == ["2026-01-02 00000000-0000-0000-0000-000000000007 1.50 3 [1.5,2.0] /w=="]


@pytest.mark.anyio
async def test_ids_come_from_a_function_a_column_or_the_content() -> None:
    result = await ask(ROWS, id_column=lambda row: f"{row['name']}/{row['n']}")
    assert [line.custom_id for line in result] == ["hose/1", "Ärmel/2", "ball/3"]
    result = await ask(ROWS, id_column="n")
    assert [line.custom_id for line in result] == ["1", "2", "3"]
    ids = [line.custom_id for line in await ask([{"name": "x"}, {"name": "y"}, {"name": "x"}])]
    assert ids[2] == f"{ids[0]}-2"


BAD: list[tuple[Any, dict[str, Any], str]] = [
    (7, {}, "rows: must be a path, a data frame or an iterable of rows, not int"),
    ({"a": [1]}, {}, "rows: must be a path, a data frame or an iterable of rows, not dict"),
    ([1], {}, "row 1: must be a mapping or an object with fields, not int"),
    ([{"name": object()}], {}, "row 1: column 'name': a value of type object cannot be"),
    (ROWS, {"id_column": lambda row: row["sku"]}, "row 1: the function id_column= raised KeyError: 'sku'"),
    (ROWS, {"id_column": "sku"}, "rows: no column 'sku'"),
    ([*ROWS, ROWS[1]], {}, "row 4: duplicate id 'b', first in row 2; name a column of distinct ids"),
    ([{"id": "", "name": "x"}], {}, "row 1: the id must be a string that is not empty, or an integer"),
    ([{"nam": "x"}], {}, "row 1: no column 'name' for the prompt; did you mean 'nam'?"),
    (ROWS, {"encoding": "cp1252"}, "encoding=: is for text files; leave it out for rows"),
    (
        ROWS,
        {"table": "t.csv"},
        "table=: a table is for an input file and an output; for rows, use",
    ),
    (ROWS, {"out": "t.csv"}, "out=t.csv: a table is for an input file and an output; for rows, use"),
    (iter(ROWS), {"only": ["a"]}, "only=: needs rows that can be read twice, like a list or a file"),
    (ROWS, {"only": ["a", "z"]}, "only=: no item of rows has the id 'z'; correct the ids, nothing was sent"),
    (ROWS, {"fresh": True}, "out=: a run without an output cannot be resumed; name a file for fresh="),
    ("products.csv", {"id_column": len}, "id_column=: a function is for rows of Python code"),
]


@pytest.mark.anyio
@pytest.mark.parametrize("case", range(len(BAD)))
async def test_mistakes_are_one_line_and_nothing_is_sent(case: int) -> None:
    rows, arguments, message = BAD[case]
    endpoint = FakeEndpoint()
    with pytest.raises(headrace.InputError) as caught:
        await ask(rows, endpoint, **arguments)
    assert str(caught.value).startswith(message)
    assert endpoint.attempts == []


@pytest.mark.anyio
@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize(
    ("row", "message"),
    [
        (ROWS[0], "row 4: duplicate id 'a'; name"),
        ({"id": "x"}, "row 4: no column 'name'"),
        (5, "row 4: must be"),
    ],
)
async def test_a_bad_row_of_a_generator_stops_the_run_and_keeps_what_is_done(
    is_async: bool, row: Any, message: str
) -> None:
    async def rows() -> AsyncIterator[Any]:
        for each in [*ROWS, row, {"id": "z", "name": "never"}]:
            yield each

    endpoint = FakeEndpoint(otherwise="ok")
    result = await ask(rows() if is_async else iter([*ROWS, row, {"id": "z", "name": "never"}]), endpoint)
    assert str(result.stopped_by).startswith(message)
    assert result.succeeded == 3
    assert "Sort never" not in prompts(endpoint)


@pytest.mark.anyio
async def test_an_empty_list_is_a_run_without_items() -> None:
    result = await ask([])
    assert (result.total, result.left, list(result), result.to_pandas().shape[0]) == (0, 0, [], 0)


@pytest.mark.anyio
async def test_an_endless_generator_is_drawn_as_calls_are_made() -> None:
    drawn = 0

    def endless() -> Iterator[dict[str, Any]]:
        nonlocal drawn
        while True:
            drawn += 1
            yield {"id": drawn, "name": "x"}

    async with (
        FakeEndpoint(otherwise="ok").client(max_in_flight=4) as client,
        headrace.run(client, endless(), prompt=PROMPT) as run,
    ):
        seen = 0
        async for _ in run:
            seen += 1
            if seen == 20:
                run.stop()
        result = await run.wait()
    assert result.stopped_by == "interrupt"
    assert 20 <= result.succeeded <= drawn < 100


@pytest.mark.anyio
@pytest.mark.parametrize("kept", [False, True])
async def test_an_entered_run_yields_items_as_they_finish(tmp_path: Path, kept: bool) -> None:
    endpoint = FakeEndpoint(Answer("slow", delay=0.1), otherwise="fast")
    async with endpoint.client(max_in_flight=2) as client:
        out = tmp_path / "out.jsonl" if kept else None
        async with headrace.run(client, ROWS, prompt=PROMPT, out=out) as run:
            before = run.snapshot()
            lines = [line async for line in run]
            result = await run.wait()
    assert (before.total, before.succeeded) == (3, 0)
    assert [line.answer for line in lines] == ["fast", "fast", "slow"]
    assert [line.custom_id for line in result] == ["a", "b", "c"]
    assert (result.snapshot().succeeded, result.succeeded) == (3, 3)


@pytest.mark.anyio
async def test_leaving_the_block_early_cancels_the_calls_and_the_same_call_continues(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    async with FakeEndpoint("ok", otherwise=Answer(delay=3600)).client(max_in_flight=1) as client:
        with anyio.fail_after(10):
            async with headrace.run(client, ROWS, prompt=PROMPT, out=out) as run:
                async for line in run:
                    assert line.custom_id == "a"
                    break
        assert client.in_flight == 0
    endpoint = FakeEndpoint()
    result = await ask(ROWS, endpoint, out=out)
    assert (result.done_before, prompts(endpoint)) == (1, ["Sort ball", "Sort Ärmel"])


@pytest.mark.anyio
async def test_an_error_in_the_block_and_one_of_the_run_are_raised_as_themselves(tmp_path: Path) -> None:
    async with FakeEndpoint(otherwise="ok").client() as client:
        with pytest.raises(KeyError, match="mine"):
            async with headrace.run(client, ROWS, prompt=PROMPT):
                raise KeyError("mine")
        with pytest.raises(headrace.InputError, match="no column 'nam'"):
            async with headrace.run(client, ROWS, prompt="{nam}"):
                raise AssertionError


@pytest.mark.anyio
async def test_a_run_is_used_once() -> None:
    async with FakeEndpoint(otherwise="ok").client() as client:
        run = headrace.run(client, ROWS, prompt=PROMPT)
        assert isinstance(run, Run)
        with pytest.raises(headrace.ClientStateError, match="enter the run first"):
            run.snapshot()
        await run
        with pytest.raises(headrace.ClientStateError, match="only once"):
            await run


@pytest.mark.anyio
async def test_rows_resume_by_their_ids_between_forms(tmp_path: Path) -> None:
    """What a file has begun, a data frame continues."""
    path, out = tmp_path / "in.csv", tmp_path / "out.jsonl"
    path.write_text("id,name\na,hose\n")
    await ask(path, out=out)
    endpoint = FakeEndpoint()
    result = await ask(pandas.DataFrame(ROWS), endpoint, out=out)
    assert (result.done_before, prompts(endpoint)) == (1, ["Sort ball", "Sort Ärmel"])
    with pytest.raises(headrace.InputError, match="row 1: the row of 'a' has changed since it was done"):
        await ask([{**ROWS[0], "name": "other"}], out=out)
    with pytest.raises(headrace.InputError, match="needs rows that can be read twice"):
        await ask(iter(ROWS), out=out, changed="resend")


@pytest.mark.anyio
async def test_a_frame_of_polars_with_each_of_its_types_can_be_sent() -> None:
    frame = polars.DataFrame(
        {
            "id": ["a", "b"],
            "kind": polars.Series(["x", None], dtype=polars.Categorical),
            "level": polars.Series(["low", "high"], dtype=polars.Enum(["low", "high"])),
            "raw": [b"1", b"2"],
            "tags": [["p", "q"], []],
            "inner": [{"k": 1}, {"k": None}],
            "when": [datetime.datetime(2026, 1, 2, 3), None],
            "nothing": [None, None],
        }
    )
    endpoint = FakeEndpoint(otherwise="ok")
    result = await ask(frame, endpoint, prompt="{kind} {level} {raw} {tags} {inner.k} {when} {nothing}")
    assert prompts(endpoint) == [
        " high Mg== []   ",
        'x low MQ== ["p","q"] 1 2026-01-02T03:00:00 ',
    ]
    assert result.to_polars()["tags"].to_list() == [["p", "q"], []]
