"""Data sets of Hugging Face: in as they are, and out with their features."""

from __future__ import annotations

import base64
import datetime
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import pandas
import polars
import pyarrow
import pyarrow.parquet
import pytest

import headrace
from headrace.testing import FakeEndpoint

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
FEATURES = datasets.Features(
    {
        "id": datasets.Value("string"),
        "kind": datasets.ClassLabel(names=["tool", "toy"]),
        "day": datasets.Value("date32"),
        "picture": datasets.Image(),
        "tags": datasets.List(datasets.Value("string")),
    }
)
ROWS: list[dict[str, Any]] = [
    {
        "id": f"q{number}",
        "kind": number % 2,
        "day": datetime.date(2026, 1, 1 + number),
        "picture": {"bytes": PIXEL, "path": None},
        "tags": ["x"] * number,
    }
    for number in range(6)
]


@pytest.fixture
def dataset(tmp_path: Path) -> Any:
    """Rows 4, 2 and 0 of six: a data set whose table has other rows than it."""
    whole = datasets.Dataset.from_list(ROWS, features=FEATURES)
    return whole.select([4, 2, 0])


async def ask(rows: Any, endpoint: FakeEndpoint | None = None, **arguments: Any) -> Any:
    async with (endpoint or FakeEndpoint(otherwise="ok")).client(max_in_flight=2) as client:
        return await headrace.run(client, rows, **{"prompt": "{id} {kind} {day} {tags}", **arguments})


def prompts(endpoint: FakeEndpoint) -> list[Any]:
    return sorted((attempt.body or {})["messages"][-1]["content"] for attempt in endpoint.attempts)


SENT = ["q0 0 2026-01-01 []", 'q2 0 2026-01-03 ["x","x"]', 'q4 0 2026-01-05 ["x","x","x","x"]']


@pytest.mark.anyio
async def test_a_dataset_comes_back_with_its_features_and_the_answers(dataset: Any, tmp_path: Path) -> None:
    endpoint, out = FakeEndpoint(otherwise="ok"), tmp_path / "out.jsonl"
    result = await ask(dataset, endpoint, out=out)
    assert prompts(endpoint) == SENT
    back = result.to_dataset()
    assert {name: back.features[name] for name in FEATURES} == FEATURES
    assert back["id"][:] == ["q4", "q2", "q0"]
    assert back["answer"][:] == ["ok"] * 3
    assert back[0]["picture"].size == (1, 1)
    assert back.remove_columns([name for name in back.features if name not in FEATURES]).to_dict() == (
        dataset.to_dict()
    )
    again = await ask(back, endpoint, out=out)
    assert (again.done_before, len(endpoint.attempts)) == (3, 3)


@pytest.mark.anyio
@pytest.mark.parametrize("form", ["whole", "chosen", "streamed"])
async def test_images_of_a_dataset_can_be_sent(dataset: Any, form: str) -> None:
    endpoint, only = FakeEndpoint(otherwise="ok"), ["q2", "q4"] if form == "chosen" else None
    rows = dataset.to_iterable_dataset() if form == "streamed" else dataset
    await ask(rows, endpoint, prompt="What?", image="picture.bytes", only=only)
    url = f"data:image/png;base64,{base64.b64encode(PIXEL).decode()}"
    assert [attempt.body["messages"][0]["content"][1] for attempt in endpoint.attempts if attempt.body] == (
        [{"type": "image_url", "image_url": {"url": url}}] * (2 if only else 3)
    )


@pytest.mark.anyio
async def test_a_streamed_dataset_is_read_once_and_its_result_has_ids_and_answers(dataset: Any) -> None:
    read: list[str] = []

    def note(row: dict[str, Any]) -> dict[str, Any]:
        read.append(row["id"])
        return row

    endpoint = FakeEndpoint(otherwise="ok")
    result = await ask(dataset.remove_columns("picture").to_iterable_dataset().map(note), endpoint)
    assert read == ["q4", "q2", "q0"]
    assert prompts(endpoint) == SENT
    back = result.to_dataset()
    assert (back["custom_id"][:], back["answer"][:]) == (["q4", "q2", "q0"], ["ok"] * 3)
    assert "kind" not in back.features


@pytest.mark.anyio
async def test_a_streamed_dataset_that_waits_does_not_stop_the_event_loop() -> None:
    answered = threading.Event()

    def generate() -> Iterator[dict[str, Any]]:
        for number in range(1200):
            if number == 900 and not answered.wait(20):
                raise AssertionError("no answer came while the data set waited")
            yield {"id": number, "text": "x"}

    async with (
        FakeEndpoint(otherwise="ok").client(max_in_flight=4) as client,
        headrace.run(client, datasets.IterableDataset.from_generator(generate), prompt="{text}") as run,
    ):
        async for _ in run:
            answered.set()
        result = await run.wait()
    assert (result.succeeded, result.stopped_by) == (1200, None)


@pytest.mark.anyio
async def test_each_library_reads_what_another_one_wrote(dataset: Any, tmp_path: Path) -> None:
    """pandas, Polars, pyarrow, datasets and Parquet, one after the other, with one journal."""
    out = tmp_path / "out.jsonl"
    given: dict[str, Any] = {"prompt": "{id} {day} {tags}", "out": out}
    result = await ask(dataset.remove_columns("picture"), **given)
    rows = [[row[name] for name in ("id", "day", "tags")] for row in dataset]
    for turn in ("pandas", "polars", "arrow", "dataset"):
        frame = getattr(result, f"to_{turn}")()
        result = await ask(frame, **given)
        assert (result.done_before, result.succeeded) == (3, 0), turn
        table = result.to_arrow()
        assert [[row[name] for name in ("id", "day", "tags")] for row in table.to_pylist()] == rows
        assert table["answer"].to_pylist() == ["ok"] * 3
    assert isinstance(result.to_pandas(), pandas.DataFrame)
    assert isinstance(result.to_polars(), polars.DataFrame)
    pyarrow.parquet.write_table(result.to_arrow(), tmp_path / "rows.parquet")
    assert (await ask(tmp_path / "rows.parquet", **given)).done_before == 3


@pytest.mark.anyio
async def test_features_of_a_parquet_file_come_back(dataset: Any, tmp_path: Path) -> None:
    dataset.to_parquet(tmp_path / "in.parquet")
    back = (await ask(tmp_path / "in.parquet")).to_dataset()
    assert {name: back.features[name] for name in FEATURES} == FEATURES
