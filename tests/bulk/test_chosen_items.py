"""Runs over chosen items: `only=`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.bulk import Source, Summary, run
from headrace.bulk.chosen_items import ChosenIds, ChosenItems
from headrace.errors import HeadraceError, InputError
from headrace.testing import FakeEndpoint


async def perform(
    source: Path, endpoint: FakeEndpoint | None = None, **more: Any
) -> tuple[list[str], Summary]:
    """Run, and return the prompts that were sent, with the summary."""
    endpoint = endpoint or FakeEndpoint()
    arguments = {"out": source.with_name("out.jsonl"), "prompt": "{id}", **more}
    async with endpoint.client(max_in_flight=1) as client:
        summary = await run(client, source, **arguments)
    return [(attempt.body or {})["messages"][-1]["content"] for attempt in endpoint.attempts], summary


def rename_products(products: Path) -> None:
    products.write_text(products.read_text().replace("Ding", "Sache"))


@pytest.fixture
def id_files(products: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files with ids in the current directory, which is that of the products."""
    monkeypatch.chdir(products.parent)
    Path("ids.txt").write_text(f"P1\n\n{'Y' * 500}\nP2\n")
    Path("empty.txt").write_text("\n\n")
    Path("latin.txt").write_bytes(b"P1\n\xff\n")


@pytest.mark.anyio
async def test_only_chosen_items_are_sent_and_done_ones_stay_done(products: Path) -> None:
    sent, summary = await perform(products, only=["P8", "P1"])
    assert sent == ["P1", "P8"], "the order is that of the input"
    assert (summary.total, summary.done, summary.left) == (2, 2, 0)
    ids = products.with_name("ids.txt")
    ids.write_text("P1\nP2\n")
    sent, summary = await perform(products, only=ids)
    assert sent == ["P2"]
    assert (summary.total, summary.done_before, summary.succeeded) == (2, 1, 1)
    sent, summary = await perform(products)
    assert sent == ["P0", "P3", "P4", "P5", "P6", "P7", "P9"]
    assert (summary.total, summary.done) == (10, 10)


@pytest.mark.anyio
async def test_only_failed_is_retry_failed(products: Path) -> None:
    for again in ({"only": "failed"}, {"retry_failed": True}):
        await perform(products, FakeEndpoint("a", 400, "a", 400, "a"), fresh=True, limit=5)
        sent, summary = await perform(products, limit=6, **again)
        assert sent == ["P1", "P3", "P5"]
        assert (summary.total, summary.done, summary.failed) == (6, 6, 0)


@pytest.mark.anyio
async def test_failed_and_changed_ones_among_the_chosen_items_are_sent_again(products: Path) -> None:
    await perform(products, FakeEndpoint("a", 400, "a", 400), prompt="{id} {name}")
    assert (await perform(products, only=["P3"], retry_failed=True, prompt="{id} {name}"))[0] == [
        "P3 Ding, 3"
    ]
    rename_products(products)
    sent, _ = await perform(products, only=["P5"], changed="resend", prompt="{id} {name}")
    assert sent == ["P5 Sache, 5"]


@pytest.mark.anyio
async def test_a_filter_chooses_rows_by_their_columns(products: Path) -> None:
    sent, summary = await perform(products, only="filter: id in ['P8', 'P1'] or '7' in description")
    assert sent == ["P1", "P7", "P8"]
    assert (summary.total, summary.done, summary.left) == (3, 3, 0)
    sent, summary = await perform(products, only="filter:id > 'P6'")
    assert sent == ["P9"], "P7 and P8 are done"


@pytest.mark.anyio
async def test_a_filter_reads_a_missing_column_as_null(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"id": "a"}\n{"id": "b", "price": {"eur": 12}}\n{"id": "c", "price": {"eur": 5}}\n')
    assert (await perform(rows, only="filter:price.eur > 10"))[0] == ["b"]
    assert (await perform(rows, only="filter:price == null"))[0] == ["a"]


@pytest.mark.anyio
async def test_the_table_has_all_finished_items(products: Path) -> None:
    table = products.with_name("t.csv")
    await perform(products, only=["P4"], table=table)
    await perform(products, only=["P2"], table=table)
    assert [line.partition(",")[0] for line in table.read_text().splitlines()] == ["id", "P2", "P4"]


@pytest.mark.anyio
async def test_an_input_that_changes_during_the_run_is_noticed(products: Path) -> None:
    def prompt(row: Any) -> str:
        if products.with_name("out.jsonl").exists():
            rename_products(products)
        return "x"

    _, summary = await perform(products, only=["P4"], prompt=prompt)
    assert isinstance(summary.stopped_by, InputError)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    chosen=st.lists(st.integers(0, 12), min_size=1),
    end=st.sampled_from(["\n", "\r\n", "\n\n"]),
    mark=st.sampled_from([b"", b"\xef\xbb\xbf"]),
)
def test_a_file_and_a_list_choose_the_same_items(
    products: Path, chosen: list[int], end: str, mark: bytes
) -> None:
    names = [f"P{number}" for number in chosen]
    file = products.with_name("ids.txt")
    file.write_bytes(mark + end.join(names).encode())
    source = Source(products)
    for only in (names, file):
        ids = ChosenIds.of(only)
        assert ids is not None
        if max(chosen) < 10:
            found = [item.id for item in ChosenItems(source, ids).items()]
            assert found == [f"P{number}" for number in sorted(set(chosen))]
        else:
            first = next(name for name in names if int(name[1:]) >= 10)
            with pytest.raises(InputError, match=f"no item of .*products.csv has the id '{first}'"):
                ChosenItems(source, ids)


MISTAKES: list[tuple[Any, str]] = [
    (
        ["P1", "X1", "X2", "X3", "X4", "X5"],
        "only=: no item of products.csv has the id 'X1' (also 'X2', 'X3', 2 more); "
        "correct the ids, nothing was sent",
    ),
    (
        Path("ids.txt"),
        f"ids.txt:3: no item of products.csv has the id '{'Y' * 80}'…; correct the ids, nothing was sent",
    ),
    (Path("empty.txt"), "only=empty.txt: contains no ids; add at least one"),
    ([], "only=: contains no ids; add at least one"),
    (Path("none.txt"), "only=none.txt: No such file or directory"),
    (Path("latin.txt"), "latin.txt:2: not UTF-8; save the ids as UTF-8"),
    (
        "P1",
        'only=\'P1\': must be "failed", "filter:" and a condition, a list of ids, or the Path of a file with '
        "one id per line",
    ),
    ("filter:", "only=filter: is empty; write a condition, like category == 'garden'"),
    ("filter:id = 1", "only=filter: 'id = 1': at '= 1' (character 4): to compare, write =="),
    (
        "filter:id == 'P1' or nmae == 'x'",
        "only=filter: \"id == 'P1' or nmae == 'x'\": at \"nmae == 'x'\" (character 15): no row of "
        "products.csv has this column; did you mean 'name'?",
    ),
    ("filter:id == 'P11'", "only=filter: true for no row of products.csv; nothing was sent"),
    (
        "filter:name",
        "only=filter: row of 'P0': name is text here, not true or false; compare it, like name == …",
    ),
]


@pytest.mark.anyio
@pytest.mark.parametrize(("only", "message"), MISTAKES)
async def test_unknown_ids_and_bad_files_are_named_before_anything_is_sent(
    products: Path, id_files: None, only: Any, message: str
) -> None:
    endpoint, before = FakeEndpoint(), sorted(products.parent.iterdir())
    with pytest.raises(HeadraceError) as refused:
        await perform(Path("products.csv"), endpoint, only=only)
    assert str(refused.value) == message
    assert endpoint.attempts == []
    assert sorted(products.parent.iterdir()) == before
