"""Where a run writes: an output file, a table, or stdout."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio
import pytest

from headrace.bulk import Summary, run
from headrace.errors import HeadraceError, InputError, JournalError
from headrace.testing import Answer, FakeEndpoint


async def perform(
    source: Path, out: str | Path, endpoint: FakeEndpoint | None = None, **more: Any
) -> Summary:
    async with (endpoint or FakeEndpoint(otherwise="ok")).client(max_in_flight=2) as client:
        return await run(client, source, out=out, prompt="{name}", **more)


def rows_of(table: Path) -> list[dict[str, str]]:
    with table.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def names_in(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


@pytest.mark.anyio
async def test_an_output_that_is_a_table_has_its_journal_beside_it(products: Path) -> None:
    out = products.with_name("answers.csv")
    await perform(products, out, limit=4)
    assert [(row["id"], row["answer"]) for row in rows_of(out)] == [(f"P{n}", "ok") for n in range(4)]
    assert names_in(products.parent) == [
        *("answers.csv", "answers.csv.jsonl", "answers.csv.jsonl.journal", "products.csv")
    ]
    endpoint = FakeEndpoint(otherwise="ok")
    summary = await perform(products, out, endpoint)
    assert (summary.done_before, len(endpoint.attempts), len(rows_of(out))) == (4, 6, 10)


@pytest.mark.anyio
async def test_an_output_that_is_a_parquet_table(products: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    out = products.with_name("answers.PARQUET")
    await perform(products, out)
    assert parquet.read_table(out)["answer"].to_pylist() == ["ok"] * 10


@pytest.mark.anyio
@pytest.mark.parametrize("arguments", [{"out": "answers.csv"}, {"out": "o.jsonl", "table": "answers.csv"}])
async def test_a_table_is_written_when_the_run_is_cancelled(
    products: Path, monkeypatch: pytest.MonkeyPatch, arguments: dict[str, Any]
) -> None:
    monkeypatch.chdir(products.parent)
    endpoint = FakeEndpoint("ok", "ok", "ok", otherwise=Answer(delay=3600))

    async with anyio.create_task_group() as group:

        def prompt(row: Mapping[str, object]) -> str:
            if row["id"] == "P3" and any(name.endswith(".journal") for name in names_in(products.parent)):
                group.cancel_scope.cancel()
            return "x"

        async with endpoint.client(max_in_flight=1) as client:
            await run(client, products, prompt=prompt, **arguments)
    assert [row["id"] for row in rows_of(Path("answers.csv"))] == ["P0", "P1", "P2"]


@pytest.mark.anyio
async def test_a_table_that_is_a_link_stays_a_link(products: Path) -> None:
    target, link = products.with_name("target.csv"), products.with_name("link.csv")
    link.symlink_to(target)
    await perform(products, link)
    assert link.is_symlink()
    assert len(rows_of(target)) == 10


@pytest.mark.anyio
async def test_lines_on_stdout_are_those_of_a_file(products: Path, capfd: pytest.CaptureFixture[str]) -> None:
    summary = await perform(products, "-", FakeEndpoint("ok", 400, otherwise="ok"))
    lines = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert sorted(line["custom_id"] for line in lines) == [f"P{number}" for number in range(10)]
    assert (summary.succeeded, summary.failed, sum(line["error"] is None for line in lines)) == (9, 1, 9)
    assert names_in(products.parent) == ["products.csv"]
    await perform(products, "-", only=["P7", "P2"])
    chosen = [json.loads(line)["custom_id"] for line in capfd.readouterr().out.splitlines()]
    assert sorted(chosen) == ["P2", "P7"]


REFUSED: list[tuple[dict[str, Any], type[HeadraceError], str]] = [
    ({"out": "-", "table": "t.csv"}, InputError, "out=-: leave out table=; a table needs an output that can"),
    (
        {"out": "-", "retry_failed": True, "changed": "resend", "keep_done": True, "fresh": True},
        InputError,
        'out=-: leave out retry_failed= (only="failed"), changed=, keep_done=, fresh=; stdout cannot be read',
    ),
    ({"out": "-", "only": "failed"}, InputError, 'out=-: leave out retry_failed= (only="failed"); stdout'),
    ({"out": "o.csv", "table": "t.csv"}, InputError, "table=: the output is a table already; leave it out"),
    ({"out": "products.csv"}, InputError, "products.csv: is the input; name another file for the output"),
    ({"out": "link.jsonl"}, InputError, "link.jsonl: is the input; name another file for the output"),
    (
        {"out": "foreign.csv"},
        JournalError,
        "foreign.csv: exists, but foreign.csv.jsonl, the journal of its run, does not; name another file",
    ),
    (
        {"out": "o.jsonl", "keep_done": True, "changed": "resend", "fresh": True},
        InputError,
        "fresh=: begins a new output; leave out changed=, keep_done=, or fresh=",
    ),
    ({"out": "folder.csv"}, JournalError, "folder.csv: is a directory; name a file in it"),
    ({"out": "no/o.csv"}, JournalError, "no/o.csv: the directory no does not exist; create it first"),
]


@pytest.mark.anyio
@pytest.mark.parametrize("content", ["mine\n", "mine", '{"id": "headrace-0"}\n', "\n"])
@pytest.mark.parametrize(
    "sidecar", [None, "", "mine\n", '{"headrace": 1}\n', '{"headrace": 2, "model": "n"}\n']
)
async def test_a_file_of_another_program_is_refused_and_nothing_is_left_beside_it(
    products: Path, content: str, sidecar: str | None
) -> None:
    out, beside = products.with_name("foreign.jsonl"), products.with_name("foreign.jsonl.journal")
    out.write_text(content)
    if sidecar is not None:
        beside.write_text(sidecar)
    with pytest.raises(JournalError, match=r"foreign\.jsonl"):
        await perform(products, out, FakeEndpoint())
    assert out.read_text() == content
    assert (beside.read_text() if beside.exists() else None) == (sidecar or None)
    assert set(names_in(products.parent)) <= {"foreign.jsonl", "foreign.jsonl.journal", "products.csv"}


@pytest.mark.anyio
@pytest.mark.parametrize(("keywords", "error", "message"), REFUSED)
async def test_an_output_that_does_not_fit_is_refused_before_anything_is_sent_or_written(
    products: Path,
    monkeypatch: pytest.MonkeyPatch,
    keywords: dict[str, Any],
    error: type[HeadraceError],
    message: str,
) -> None:
    monkeypatch.chdir(products.parent)
    products.with_name("foreign.csv").write_text("mine\n")
    products.with_name("folder.csv").mkdir()
    products.with_name("link.jsonl").symlink_to(products)
    before, endpoint = names_in(products.parent), FakeEndpoint()
    for fresh in ({}, {"fresh": True}):
        with pytest.raises(error) as refused:
            await perform(products, endpoint=endpoint, **{**keywords, **fresh})
        assert fresh or str(refused.value).startswith(message)
    assert endpoint.attempts == []
    assert names_in(products.parent) == before
    assert products.with_name("foreign.csv").read_text() == "mine\n"
