"""`map_dataset` runs a prompt over a dataset, and `read_results` returns the answers as another."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headrace import Client
from headrace.errors import InputError
from headrace.testing.server import Behaviour
from headrace_ray import map_dataset, read_results

pytestmark = pytest.mark.usefixtures("cluster")


def text_dataset(number: int) -> Any:
    import ray.data

    return ray.data.range(number).map_batches(
        lambda batch: {"id": [f"T{n}" for n in batch["id"]], "text": [f"text {n}" for n in batch["id"]]}
    )


def test_a_dataset_is_mapped_resumed_and_read(
    tmp_path: Path, serving: Callable[[Behaviour], Any], requests_at: Callable[[str], int]
) -> None:
    out = tmp_path / "answers"
    with serving(Behaviour(latency=0.01)) as url:
        make_client = functools.partial(Client, base_url=url, model="m")
        ask = functools.partial(map_dataset, out=out, prompt="Sort: {text}", make_client=make_client)
        first = ask(text_dataset(500), max_in_flight=20, backend="trio")
        assert (first.total, first.succeeded, first.left) == (500, 500, 0)
        second = ask(text_dataset(900), max_in_flight=20)
        assert (second.total, second.done_before, second.succeeded) == (900, 500, 400)
        assert requests_at(url) == 900
    rows = read_results(out).take_all()
    assert sorted(row["id"] for row in rows) == sorted(f"T{n}" for n in range(900))
    assert all(f"text {row['id'][1:]}" in row["answer"] for row in rows)


def test_rows_without_an_id_are_rejected(tmp_path: Path) -> None:
    make_client = functools.partial(Client, base_url="http://127.0.0.1:9/v1", model="m")
    with pytest.raises(InputError, match="no id column; a run needs ids to be resumed"):
        map_dataset(
            text_dataset(3).drop_columns(["id"]),
            out=tmp_path / "out",
            prompt="{text}",
            make_client=make_client,
        )


def test_a_folder_without_shards_has_no_results(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no shards"):
        read_results(tmp_path)
