"""What each line of an output was made with, after any session and any crash."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from headrace.bulk import Journal, run
from headrace.bulk.fingerprints import Fingerprints, note_first_index, read_fingerprints
from headrace.bulk.report import read_statistics
from headrace.bulk.report.page import render
from headrace.bulk.run_facts import read_run_facts
from headrace.errors import JournalError
from headrace.testing import FakeEndpoint


class Killed(Exception):
    """The end of the process."""


session = st.fixed_dictionaries(
    {
        "prompt": st.sampled_from("ABC"),
        "written": st.integers(0, 3),
        "killed": st.sampled_from(["never", "before the note", "during the note", "before a line"]),
        "retry": st.booleans(),
    }
)


def line(index: int, prompt: str, *, failed: bool) -> bytes:
    error = {"code": "timeout", "message": ""} if failed else None
    notes = {"attempts": 1, "elapsed": 0.1, "answer": prompt}
    values = {"id": f"headrace-{index}", "custom_id": f"item-{index}", "response": None, "error": error}
    return json.dumps({**values, "headrace": notes}).encode() + b"\n"


def in_session(prompt: str, written: int, *, retry: bool = False) -> dict[str, Any]:
    return {"prompt": prompt, "written": written, "killed": "never", "retry": retry}


# The second session removes the highest line, so that the third has lower numbers than the second.
@example(sessions=[in_session("A", 1), in_session("B", 0, retry=True), in_session("B", 1)])
@given(sessions=st.lists(session, min_size=1, max_size=8))
def test_the_fingerprint_of_each_line_is_known_after_any_crash(
    tmp_path_factory: pytest.TempPathFactory, sessions: list[dict[str, Any]]
) -> None:
    out = tmp_path_factory.mktemp("run") / "out.jsonl"
    with pytest.MonkeyPatch.context() as patched:
        for number, each in enumerate(sessions):

            def note(sidecar: int, first_index: int, killed: str = each["killed"]) -> None:
                if killed == "before the note":
                    raise Killed
                before = os.fstat(sidecar).st_size
                note_first_index(sidecar, first_index)
                if killed == "during the note" and os.fstat(sidecar).st_size > before:
                    os.ftruncate(sidecar, os.fstat(sidecar).st_size - 3)
                    raise Killed

            patched.setattr("headrace.bulk.journal.note_first_index", note)
            try:
                with Journal(out, {"prompt": each["prompt"]}, keep_done=True) as journal:
                    if each["killed"] == "before a line":
                        continue
                    if each["retry"]:
                        journal.remove(journal.has_failed)
                    for place in range(each["written"]):
                        index = journal.first_index + place
                        journal.append([index], line(index, each["prompt"], failed=(number + place) % 3 == 0))
            except Killed:
                continue
    fingerprints = read_fingerprints(out)
    made_with = [value["prompt"] for value in fingerprints.values]
    assert len(made_with) == len(set(made_with))
    for raw in out.read_bytes().splitlines() if out.exists() else []:
        written = json.loads(raw)
        number = fingerprints.number_of(int(written["id"].removeprefix("headrace-")))
        assert made_with[max(number, 1) - 1] == written["headrace"]["answer"]
        assert (number == 0) == (len(made_with) == 1)


async def perform(products: Path, prompt: str, limit: int, **options: Any) -> Any:
    out = products.with_name("out.jsonl")
    async with FakeEndpoint(otherwise=prompt[0]).client() as client:
        return await run(client, products, prompt=prompt, out=out, limit=limit, **options)


@pytest.mark.anyio
async def test_tables_and_results_say_which_fingerprint_a_line_was_made_with(products: Path) -> None:
    result = await perform(products, "a {name}", 3)
    assert "fingerprint" not in result.to_pandas().columns
    assert {line.headrace.fingerprint for line in result} == {0}
    await perform(products, "b {name}", 6, keep_done=True)
    result = await perform(products, "a {name}", 8, keep_done=True, table=products.with_name("t.csv"))
    frame = result.to_pandas()
    assert frame["answer"].tolist() == list("aaabbbaa")
    assert frame["fingerprint"].tolist() == [1, 1, 1, 2, 2, 2, 1, 1]
    assert list(frame.columns)[-2:] == ["cost", "fingerprint"]
    assert [line.headrace.fingerprint for line in result] == frame["fingerprint"].tolist()
    head, first, *_ = products.with_name("t.csv").read_text(encoding="utf-8").splitlines()
    assert head.endswith(",fingerprint")
    assert first.endswith(",1")
    lines = products.with_name("out.jsonl").read_text(encoding="utf-8")
    assert "fingerprint" not in lines, "it follows from the number of the line"


@pytest.mark.anyio
async def test_the_report_names_what_differs_and_how_many_items_have_it(products: Path) -> None:
    out = products.with_name("out.jsonl")
    await perform(products, "a {name}", 3)
    assert ("Prompt", "a {name}") in read_run_facts(out)
    await perform(products, "b {name}", 10, keep_done=True, parameters={"temperature": 0})
    statistics = read_statistics(out)
    facts = read_run_facts(out, statistics.fingerprints)
    assert facts == [
        ("Items (1)", "3"),
        ("Items (2)", "7"),
        ("Model", "fake-model"),
        ("Prompt (1)", "a {name}"),
        ("Prompt (2)", "b {name}"),
        ("Parameters (1)", "none"),
        ("Parameters (2)", '{"temperature":0}'),
    ]
    page = render(statistics, "out.jsonl", datetime.now(UTC), facts)
    assert "succeeded (1)" in page
    assert "succeeded (2)" in page


def test_the_report_of_a_job_names_its_steps(tmp_path: Path) -> None:
    base = {
        "headrace": 2,
        "model": "m",
        "steps": ["sort", "text"],
        "sort.prompt": "Sort",
        "sort.choices": ["a"],
    }
    later = {"text.when": "sort == 'a'", "text.parameters": {"user": "me:sk-canary12345678"}}
    facts = [base | later | {"text.prompt": prompt} for prompt in ("Write", "Describe")]
    written = "\n".join(map(json.dumps, [facts[0], facts[1], {"first_index": 7}]))
    (tmp_path / "out.jsonl.journal").write_text(f"{written}\n", encoding="utf-8")
    assert read_run_facts(tmp_path / "out.jsonl", {1: 7, 2: 3}) == [
        ("Items (1)", "7"),
        ("Items (2)", "3"),
        ("Model", "m"),
        ("Prompt of step sort", "Sort"),
        ("Choices of step sort", "a"),
        ("Condition of step text", "sort == 'a'"),
        ("Prompt of step text (1)", "Write"),
        ("Prompt of step text (2)", "Describe"),
        ("Parameters of step text", '{"user":"me:***"}'),
    ]


def test_a_run_with_one_fingerprint_has_no_note(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    for _ in range(2):
        with Journal(out, {"prompt": "A"}) as journal:
            journal.append([journal.first_index], line(journal.first_index, "A", failed=False))
    assert out.with_name("out.jsonl.journal").read_bytes().count(b"\n") == 1
    with pytest.raises(JournalError, match="prompt changed"), Journal(out, {"prompt": "B"}):
        pass
    assert not read_fingerprints(out).are_several


@pytest.mark.parametrize(
    "sidecar",
    [None, b"", b"\xff\n", b"[1]\n", b'{"headrace":2}', b'{"first_index":3}\n', b"[" * 5000 + b"\n"],
)
def test_without_a_sidecar_that_can_be_read_there_is_no_fingerprint(
    tmp_path: Path, sidecar: bytes | None
) -> None:
    if sidecar is not None:
        (tmp_path / "out.jsonl.journal").write_bytes(sidecar)
    found = read_fingerprints(tmp_path / "out.jsonl")
    assert found == Fingerprints()
    assert found.number_of(7) == 0
