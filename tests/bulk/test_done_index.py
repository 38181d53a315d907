"""A run that is resumed with an index does what a run without one does, whatever happened to the files."""

from __future__ import annotations

import json
import os
import random
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from headrace.bulk import Source, done_index, done_prefix, run
from headrace.bulk.done_index import DoneIndex
from headrace.bulk.item_result import ItemResult, item_result
from headrace.bulk.output_line import decode_entries, decode_entry
from headrace.bulk.sources.text_prefix import PrefixReader
from headrace.calls import Outcome
from headrace.errors import InputError, JournalError, RateLimited
from headrace.replies import Headers, Reply
from headrace.testing import FakeEndpoint

PROMPT = "{text}"


@pytest.fixture(autouse=True)
def short_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short outputs have an index, and short beginnings are skipped."""
    monkeypatch.setattr(done_index, "FEWEST_LINES", 1)
    monkeypatch.setattr(done_prefix, "SHORTEST", 1)


def write(folder: Path, number: int) -> None:
    rows = "".join(f"q{n},text {n}\n" for n in range(number))
    (folder / "in.csv").write_text(f"id,text\n{rows}")


async def session(folder: Path, statuses: tuple[int, ...] = (), **options: Any) -> list[object]:
    """Run once; returns what was sent, the totals or the error, and what the output then holds."""
    endpoint = FakeEndpoint(*statuses)
    found: list[object] = []
    try:
        async with endpoint.client(max_in_flight=1) as client:
            arguments = {"prompt": PROMPT, "out": folder / "out.jsonl", **options}
            summary = await run(client, folder / "in.csv", **arguments)
        found += [
            summary.total,
            summary.done_before,
            summary.failed_before,
            summary.succeeded,
            summary.failed,
        ]
        found += [str(summary.stopped_by).replace(str(folder), "")]
    except (InputError, JournalError) as error:
        found.append(str(error).replace(str(folder), ""))
    found.append([(attempt.body or {})["messages"][-1]["content"] for attempt in endpoint.attempts])
    lines: list[object] = []
    for line in (folder / "out.jsonl").read_bytes().splitlines():
        try:
            fields = json.loads(line)
            lines.append((fields["id"], fields["custom_id"], fields["error"]))
        except ValueError:
            lines.append(line)
    return [*found, lines]


def text_of(name: str, change: Callable[[list[str], int], object]) -> Callable[[Path, int], None]:
    """A change of the lines of a text file; the number says which line."""

    def apply(folder: Path, number: int) -> None:
        lines = (folder / name).read_text().splitlines(keepends=True)
        if lines:
            change(lines, number % len(lines))
            (folder / name).write_text("".join(lines))

    return apply


def set_line(lines: list[str], at: int, old: str, new: str) -> None:
    lines[at] = lines[at].replace(old, new)


def cut(name: str) -> Callable[[Path, int], None]:
    """Cut a file anywhere."""

    def apply(folder: Path, number: int) -> None:
        if (folder / name).exists():
            os.truncate(folder / name, number * (folder / name).stat().st_size // 100)

    return apply


def flip(folder: Path, number: int) -> None:
    """Change one byte of the index."""
    path = folder / "out.jsonl.index"
    if path.exists() and (content := bytearray(path.read_bytes())):
        content[number * len(content) // 100] ^= 0x55
        path.write_bytes(content)


def older(folder: Path, number: int) -> None:
    """The index of the session before the last one: the process was killed before it wrote another."""
    if (folder / "old.index").exists():
        shutil.copy(folder / "old.index", folder / "out.jsonl.index")


CHANGES: dict[str, Callable[[Path, int], None]] = {
    "the output is torn": lambda folder, number: os.truncate(
        folder / "out.jsonl", max(0, (folder / "out.jsonl").stat().st_size - 1 - number)
    ),
    "the output is cut": cut("out.jsonl"),
    "a line of the output is removed": text_of("out.jsonl", lambda lines, at: lines.pop(at)),
    "a line of the output is doubled": text_of("out.jsonl", lambda lines, at: lines.append(lines[at])),
    "a line of the output is damaged": text_of("out.jsonl", lambda lines, at: set_line(lines, at, ":", ";")),
    "another id in the output": text_of("out.jsonl", lambda lines, at: set_line(lines, at, '"q', '"p')),
    "a digest in the output": text_of(
        "out.jsonl", lambda lines, at: set_line(lines, at, '"digest":', '"x":')
    ),
    "an error in the output": text_of("out.jsonl", lambda lines, at: set_line(lines, at, "null", "true")),
    "the index is cut": cut("out.jsonl.index"),
    "the index is damaged": flip,
    "the index is old": older,
    "a row is added": text_of("in.csv", lambda lines, at: lines.append(f"new{at},text\n")),
    "a row is put between": text_of("in.csv", lambda lines, at: lines.insert(max(1, at), "first,text\n")),
    "a row is removed": text_of("in.csv", lambda lines, at: lines.pop(max(1, at)) if len(lines) > 1 else ""),
    "a row moves": text_of("in.csv", lambda lines, at: lines.append(lines.pop(max(1, at)))),
    "a row is changed": text_of("in.csv", lambda lines, at: set_line(lines, at, "text ", "Text ")),
    "an id is changed": text_of("in.csv", lambda lines, at: set_line(lines, at, "q", "Q")),
    "a line break in a value": text_of("in.csv", lambda lines, at: lines.insert(max(1, at), 'm,"a\nb"\n')),
    "the ends of lines": text_of("in.csv", lambda lines, at: set_line(lines, at, "\n", "\r")),
    "no line feed at the end": text_of("in.csv", lambda lines, at: set_line(lines, -1, "\n", "")),
}
OPTIONS: list[dict[str, Any]] = [
    {},
    {"retry_failed": True},
    {"changed": "resend"},
    {"limit": 4},
    {"prompt": "New {text}", "keep_done": True},
    {"fresh": True},
    {"id_column": "text"},
]


@settings(
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # to shrink an example takes minutes
)
@given(
    limits=st.lists(st.integers(1, 12), min_size=1, max_size=3),
    statuses=st.lists(st.sampled_from([200, 200, 200, 400]), max_size=12),
    changes=st.lists(st.tuples(st.sampled_from(sorted(CHANGES)), st.integers(0, 99)), max_size=3),
    options=st.sampled_from(OPTIONS),
)
def test_a_run_does_the_same_with_and_without_the_index(
    limits: list[int],
    statuses: list[int],
    changes: list[tuple[str, int]],
    options: dict[str, Any],
) -> None:
    async def compare(folder: Path) -> None:
        with_index = folder / "with"
        with_index.mkdir()
        write(with_index, 12)
        for limit in limits:
            if (with_index / "out.jsonl.index").exists():
                shutil.copy(with_index / "out.jsonl.index", with_index / "old.index")
            await session(with_index, tuple(statuses), limit=limit)
        for change, number in changes:
            CHANGES[change](with_index, number)
        without = shutil.copytree(with_index, folder / "without")
        for _ in range(2):
            (without / "out.jsonl.index").unlink(missing_ok=True)
            assert await session(with_index, **options) == await session(without, **options)
            options.pop("fresh", None)

    options = dict(options)
    with tempfile.TemporaryDirectory() as folder:
        anyio.run(compare, Path(folder))


@pytest.mark.anyio
async def test_only_what_the_index_lacks_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, 50)
    await session(tmp_path, limit=40)
    index = (tmp_path / "out.jsonl.index").read_bytes()
    await session(tmp_path, limit=43)
    (tmp_path / "out.jsonl.index").write_bytes(index)
    (tmp_path / "in.csv").write_text((tmp_path / "in.csv").read_text() + "new,new\n")
    read: list[bytes] = []
    begun: list[int] = []
    items_after = Source.items_after

    def decode(raw: bytes) -> Any:
        read.append(raw)
        return decode_entry(raw)

    def noted(self: Source, prefix: Any) -> Iterator[Any]:
        begun.append(0 if prefix is None else prefix.index)
        return items_after(self, prefix)

    monkeypatch.setattr("headrace.bulk.journal.decode_entry", decode)
    monkeypatch.setattr(Source, "items_after", noted)
    found = await session(tmp_path)
    assert found[:4] == [51, 43, 0, 8]
    assert len(read) == 3
    assert max(begun) == 39


COSTS = st.none() | st.decimals(0, 5, places=6) | st.just(Decimal("NaN"))


@given(
    before=st.integers(1, 3),
    rows=st.lists(
        st.tuples(
            st.text(st.characters(codec="utf-8"), min_size=1),
            st.booleans(),
            COSTS,
            COSTS,
            st.integers(0, 2**32 - 1),
        ),
        min_size=1,
        max_size=6,
    ),
    order=st.randoms(),
)
def test_results_are_indexed_as_their_lines_are(
    before: int, rows: list[tuple[str, bool, Decimal | None, Decimal | None, int]], order: random.Random
) -> None:
    def result(index: int, row: tuple[str, bool, Decimal | None, Decimal | None, int]) -> ItemResult:
        id, fails, cost, possible_cost, digest = row
        ended: Any = RateLimited("no", 429) if fails else Reply(200, Headers([]), b"{}")
        ended.cost, ended.possible_cost = cost, possible_cost
        outcome = Outcome(index, None, None if fails else ended, ended if fails else None, 1, 0.1)
        return item_result(index, id, outcome, (), digest=digest)

    results = [result(index, row) for index, row in enumerate(rows)]
    order.shuffle(results)
    first = b"".join(each.line for each in results[:before])
    rest = b"".join(each.line for each in results[before:])
    by_lines, by_results = DoneIndex(Path("a")), DoneIndex(Path("b"))
    for index in (by_lines, by_results):
        index.add(first, decode_entries(first))
    if rest:
        by_lines.add(rest, decode_entries(rest))
    by_results.add_results(rest, results[before:], len(first + rest) + 1)  # a line before them is missing
    assert by_results.described.size == len(first)
    by_results.add_results(rest, results[before:], len(first + rest))
    assert by_results.described == by_lines.described
    assert (by_results._ids, by_results._entries) == (by_lines._ids, by_lines._entries)


@pytest.mark.anyio
async def test_a_session_does_not_read_its_own_lines_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, 12)
    await session(tmp_path, limit=5)
    monkeypatch.delattr(done_index, "decode_entries")
    assert (await session(tmp_path, (400,)))[:5] == [12, 5, 0, 6, 1]
    monkeypatch.delattr("headrace.bulk.journal.decode_entry")
    assert (await session(tmp_path))[:3] == [12, 12, 1]


@pytest.mark.anyio
async def test_a_short_output_has_no_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(done_index, "FEWEST_LINES", 13)
    write(tmp_path, 12)
    await session(tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["in.csv", "out.jsonl", "out.jsonl.journal"]


@pytest.mark.anyio
async def test_a_run_does_without_an_index_that_cannot_be_written(tmp_path: Path) -> None:
    write(tmp_path, 12)
    (tmp_path / "out.jsonl.index").mkdir()
    assert (await session(tmp_path, limit=5))[3] == 5
    assert (await session(tmp_path))[:4] == [12, 5, 0, 7]


FORMS = {
    "in.csv": 'id,text\na,1\n\nb,"2\n\n2"\nc,3\nd,"ä ""x"""\n\ne,5\nf,6',
    "mark.csv": "\ufeffsep=;\n\nid;text\na;1\n\ufeffb;2\nc;3\n",
    "crlf.csv": 'id,text\r\na,1\r\nb,"2\r\n2"\r\nc,3\r\n',
    "in.jsonl": '\n{"id": "a", "t": 1}\n\n{"id": "b"}\r\n{"id": "c", "t": "\\u000a"}\n{"id": "d"}',
    "batch.jsonl": "".join(
        f'{{"custom_id": "{id}", "url": "/v1/chat/completions", "body": {{"model": "m"}}}}\n\n'
        for id in "abcd"
    ),
}


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("limit", [None, 3])
def test_the_items_after_a_beginning_are_the_rest(tmp_path: Path, name: str, limit: int | None) -> None:
    path = tmp_path / name
    path.write_text(FORMS[name], newline="")
    source = Source(path, limit=limit)

    def seen(items: Iterator[Any]) -> list[Any]:
        return [(item.index, item.line, item.id, dict(item.row), item.request is None) for item in items]

    whole = seen(source.items())
    for index, line, *_ in whole:
        reader = source.prefix_reader()
        assert reader is not None
        prefix = reader.prefix(index, line)
        assert prefix is not None
        assert seen(source.items_after(prefix)) == whole[index:]


@pytest.mark.parametrize(
    ("name", "content", "id_column"),
    [("in.csv", "text\na\n", None), ("in.json", '[{"id": "a"}]', None), ("utf16.csv", "id\na\n", "id")],
)
def test_other_inputs_are_read_from_their_beginning(
    tmp_path: Path, name: str, content: str, id_column: str | None
) -> None:
    (tmp_path / name).write_text(content, encoding="utf-16" if "16" in name else "utf-8")
    assert Source(tmp_path / name, id_column).prefix_reader() is None


def test_a_carriage_return_that_ends_a_line_ends_the_known_beginning(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_bytes(b"id,text\na,1\rb,2\nc,3\n")
    source = Source(tmp_path / "in.csv")
    reader = source.prefix_reader()
    assert isinstance(reader, PrefixReader)
    assert reader.prefix(2, 4) is None


def test_an_index_of_another_form_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "out.jsonl").write_bytes(b"{}\n")
    path = tmp_path / "out.jsonl.index"
    block = b"\x91\x01"  # the frame is right, but its content is not that of this version
    path.write_bytes(done_index._FRAME.pack(done_index._MAGIC, len(block), zlib.crc32(block)) + block)
    with (tmp_path / "out.jsonl").open("rb") as output:
        index = DoneIndex(path)
        assert len(index.read(output)) == 0
        assert output.tell() == 0
