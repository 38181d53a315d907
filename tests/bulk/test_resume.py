"""A run is resumed by the ids and contents of its rows."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.bulk import Summary, input_check, run, run_preparation
from headrace.errors import InputError, JournalError
from headrace.testing import Answer, FakeEndpoint

Lines = Callable[[Path], list[dict[str, Any]]]


def write(path: Path, rows: dict[str, str]) -> Path:
    path.write_text("".join(json.dumps({"id": id, "text": text}) + "\n" for id, text in rows.items()))
    return path


def append(path: Path, text: str, cut: int = 0) -> None:
    content = path.read_text()
    path.write_text(content[: len(content) - cut] + text)


async def resume(
    path: Path, endpoint: FakeEndpoint | None = None, **arguments: Any
) -> tuple[list[str], Summary]:
    """Run over a file, and return the prompts that were sent, with the summary."""
    endpoint = endpoint or FakeEndpoint()
    arguments = {"prompt": "{text}", "out": path.with_name("out.jsonl"), **arguments}
    async with endpoint.client(max_in_flight=1) as client:
        summary = await run(client, path, **arguments)
    return [(attempt.body or {})["messages"][-1]["content"] for attempt in endpoint.attempts], summary


@pytest.mark.anyio
async def test_added_rows_are_sent_and_removed_ones_are_left(tmp_path: Path, read_lines: Lines) -> None:
    path = write(tmp_path / "in.jsonl", {"a": "A", "b": "B", "c": "C"})
    await resume(path)
    write(path, {"x": "X", "c": "C", "a": "A", "y": "Y"})
    sent, summary = await resume(path)
    assert sent == ["X", "Y"]
    assert (summary.total, summary.done_before, summary.succeeded, summary.left) == (4, 2, 2, 0)
    lines = read_lines(tmp_path / "out.jsonl")
    assert [line["custom_id"] for line in lines] == ["a", "b", "c", "x", "y"]
    assert len({line["id"] for line in lines}) == 5, "the numbers of lines are unique"


@pytest.mark.anyio
async def test_rows_without_ids_may_move(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_text("text,n\nA,1\nB,2\nA,1\n")
    await resume(path)
    path.write_text("text,n\nNew,0\nA,1\nA,1\nA,1\nB,2\n")
    sent, summary = await resume(path)
    assert sent == ["New", "A"], "the third row of equal content is new"
    assert summary.done_before == 3


CHANGED = (
    r"in\.jsonl:2: the row of 'b' has changed since it was done \(also 'c', 'd', 1 more\); put it back, "
    r'or send changed rows again with changed="resend"'
)


@pytest.mark.anyio
async def test_changed_rows_are_named_and_refused_or_sent_again(tmp_path: Path, read_lines: Lines) -> None:
    path = write(tmp_path / "in.jsonl", dict.fromkeys("abcdef", "old"))
    await resume(path)
    before = (tmp_path / "out.jsonl").read_bytes()
    write(path, {"a": "old", "b": "1", "c": "2", "d": "3", "e": "4", "f": "old", "g": "new"})
    with pytest.raises(InputError, match=CHANGED):
        await resume(path)
    assert (tmp_path / "out.jsonl").read_bytes() == before
    sent, summary = await resume(path, changed="resend")
    assert sorted(sent) == ["1", "2", "3", "4", "new"]
    assert (summary.total, summary.done_before, summary.succeeded) == (7, 2, 5)
    assert sorted(line["custom_id"] for line in read_lines(tmp_path / "out.jsonl")) == list("abcdefg")
    assert (await resume(path))[0] == []


@pytest.mark.anyio
async def test_a_column_that_the_prompt_does_not_use_may_change(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_text("id,text,stock\na,A,1\nb,B,2\n")
    await resume(path)
    path.write_text("id,text,stock,more\na,A,7,\nb,B,8,\n")
    assert (await resume(path))[0] == []


@pytest.mark.anyio
async def test_a_request_of_a_batch_file_that_changed_is_found(tmp_path: Path) -> None:
    path = tmp_path / "batch.jsonl"

    def request(text: str) -> str:
        body = {"model": "m", "messages": [{"role": "user", "content": text}]}
        return json.dumps({"custom_id": "q", "url": "/v1/chat/completions", "body": body}) + "\n"

    path.write_text(request("old"))
    await resume(path, prompt=None)
    assert (await resume(path, prompt=None))[0] == []
    path.write_text(request("new"))
    with pytest.raises(InputError, match="the row of 'q' has changed"):
        await resume(path, prompt=None)


@pytest.mark.anyio
async def test_another_prompt_keeps_what_is_done_or_begins_anew(tmp_path: Path, read_lines: Lines) -> None:
    path = write(tmp_path / "in.jsonl", {"a": "A", "b": "B"})
    await resume(path)
    write(path, {"a": "A", "b": "B", "c": "C"})
    with pytest.raises(JournalError) as caught:
        await resume(path, prompt="Draw {text}")
    assert str(caught.value) == (
        f"{tmp_path}/out.jsonl: the prompt changed since this journal began "
        "(was '{text}', is 'Draw {text}'); put it back, keep what is done with keep_done=True, "
        "or begin a new output with fresh=True"
    )
    assert (await resume(path, prompt="Draw {text}", keep_done=True))[0] == ["Draw C"]
    assert (await resume(path, prompt="Draw {text}"))[0] == [], "the new prompt counts from then on"
    with pytest.raises(JournalError, match="the prompt changed"):
        await resume(path)

    assert (await resume(path, prompt="Sing {text}", fresh=True))[0] == ["Sing A", "Sing B", "Sing C"]
    assert [line["custom_id"] for line in read_lines(tmp_path / "out.jsonl.1")] == ["a", "b", "c"]
    assert (await resume(path, fresh=True))[0] == ["A", "B", "C"]
    names = set(os.listdir(tmp_path)) - {"in.jsonl"}
    kept = {"out.jsonl", "out.jsonl.1", "out.jsonl.2"}
    assert names == kept | {f"{name}.journal" for name in kept}
    # An output that was set aside is a whole run, which may be continued.
    out = tmp_path / "out.jsonl.1"
    assert (await resume(path, prompt="Draw {text}", out=out))[0] == []


@pytest.mark.anyio
async def test_another_id_column_is_refused_always(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_text("id,sku,text\na,1,A\n")
    await resume(path)
    for keep_done in (False, True):
        with pytest.raises(JournalError, match=r"the id column changed .*was 'id', is 'sku'"):
            await resume(path, id_column="sku", keep_done=keep_done)


@pytest.mark.anyio
async def test_retrying_keeps_failed_lines_of_rows_that_are_not_in_the_input(
    tmp_path: Path, read_lines: Lines
) -> None:
    path = write(tmp_path / "in.jsonl", {"a": "A", "b": "B", "c": "C"})
    await resume(path, FakeEndpoint("ok", 400, 400))
    write(path, {"a": "A", "b": "B"})
    sent, summary = await resume(path, retry_failed=True)
    assert sent == ["B"]
    assert (summary.done, summary.left) == (2, 0)
    assert [line["custom_id"] for line in read_lines(tmp_path / "out.jsonl")] == ["a", "c", "b"]


@pytest.fixture
def long_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An input of 2,000 rows, of which a run reads only the first part before it sends."""
    monkeypatch.setattr(run_preparation, "FIRST_PART", 0.0)
    monkeypatch.setattr(input_check, "_ITEMS_PER_STEP", 8)
    return write(tmp_path / "in.jsonl", {f"q{number}": f"Text {number}" for number in range(2000)})


@pytest.mark.anyio
async def test_a_long_input_is_counted_beside_the_sending(long_input: Path) -> None:
    sent, summary = await resume(long_input, max_in_flight=50)
    assert len(sent) == 2000
    assert (summary.total, summary.counted, summary.left) == (2000, True, 0)
    assert (await resume(long_input))[1].done_before == 2000


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("row", "message"),
    [
        ('{"id": "bad"}\n', "in.jsonl:2001: no column 'text' for the prompt"),
        ('{"id": "q7", "text": ""}\n', "in.jsonl:2001: duplicate id 'q7', first in line 8"),
        ("[]\n", "in.jsonl:2001: must be a JSON object, not an array"),
    ],
)
async def test_a_bad_row_far_down_stops_the_run_and_keeps_what_is_done(
    long_input: Path, row: str, message: str, read_lines: Lines
) -> None:
    append(long_input, row)
    endpoint = FakeEndpoint(otherwise=Answer(delay=0.02))
    with anyio.fail_after(60):
        sent, summary = await resume(long_input, endpoint)
    assert message in str(summary.stopped_by)
    assert 0 < len(sent) < 2000
    assert len(read_lines(long_input.with_name("out.jsonl"))) == len(sent)
    append(long_input, "", cut=len(row))
    again, summary = await resume(long_input)
    assert len(again) == 2000 - len(sent)
    assert summary.left == 0


IDS = st.dictionaries(st.sampled_from("abcdefgh"), st.sampled_from(["1", "2"]), min_size=1)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sessions=st.lists(IDS, min_size=1, max_size=5))
def test_after_any_edits_each_row_has_one_line_of_its_last_content(
    tmp_path_factory: pytest.TempPathFactory, sessions: list[dict[str, str]]
) -> None:
    path = tmp_path_factory.mktemp("run") / "in.jsonl"
    done: dict[str, str] = {}
    for rows in sessions:
        write(path, rows)
        sent, summary = anyio.run(lambda: resume(path, changed="resend"))
        assert sorted(sent) == sorted(text for id, text in rows.items() if done.get(id) != text)
        done |= rows
        assert summary.left == 0
        ids = re.findall(r'"custom_id":"(\w+)"', path.with_name("out.jsonl").read_text())
        assert sorted(ids) == sorted(done)
