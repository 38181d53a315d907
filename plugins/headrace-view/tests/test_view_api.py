"""What the page gets from the server: rows, one row whole, prompts, comparisons."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path
from typing import Any

import pytest

from headrace_view.runs import Runs
from headrace_view.web import Guard, loopback_hosts, make_app
from view_lines import make_line, write_output
from view_requests import get, opened

CANARY = "a-secret-of-the-content"


@pytest.fixture
def anyio_backend() -> str:
    """The server of the page runs on asyncio only."""
    return "asyncio"


def write_run(folder: Path, command: str = "headrace run in.csv --out out.jsonl", **facts: Any) -> Path:
    """A run of two rows with its input and its sidecar."""
    (folder / "in.csv").write_text("id,name\nrow 0,hose\nrow 1,ball\n", encoding="utf-8")
    fingerprint = {"headrace": 2, "prompt": "What is {name}?", "system": "Be brief.", "model": "m"}
    record = {**fingerprint, "id_column": "id", "command": command, **facts}
    (folder / "out.jsonl.journal").write_text(json.dumps(record) + "\n", encoding="utf-8")
    lines = [make_line(0, digest=0, reply={"reasoning_content": "It is long."}), make_line(1, digest=5)]
    return write_output(folder / "out.jsonl", lines)


def add_fingerprint(sidecar: Path, prompt: str, first_index: int) -> None:
    """Let the run continue with another prompt, as with --keep-done."""
    record = {"headrace": 2, "prompt": prompt, "model": "m", "id_column": "id"}
    command = "headrace run in.csv --out out.jsonl"
    with sidecar.open("a", encoding="utf-8") as file:
        file.write(json.dumps({**record, "command": command}) + "\n")
        file.write(json.dumps({"first_index": first_index}) + "\n")


def damage(sidecar: Path) -> None:
    """Let a sidecar be unreadable."""
    sidecar.write_text("damaged\n", encoding="utf-8")


@pytest.mark.anyio
async def test_the_name_of_an_output_need_not_be_text(tmp_path: Path) -> None:
    with opened(write_output(tmp_path / os.fsdecode(b"\xff.jsonl"), [make_line(1)])) as app:
        assert (await get(app, "runs"))["runs"] == [{"run": 0, "name": "\udcff.jsonl"}]
        assert len((await get(app, "runs/0/rows"))["rows"]) == 1


@pytest.mark.anyio
async def test_a_row_is_shown_whole_with_what_was_sent(tmp_path: Path) -> None:
    with opened(write_run(tmp_path)) as app:
        (first, second) = (await get(app, "runs/0/rows"))["rows"]
        row = await get(app, f"runs/0/rows/{first['row']}")
        assert (row["id"]["text"], row["answer"]["text"], row["attempts"]) == ("row 0", "yes", 1)
        assert row["reasoning"]["text"] == "It is long."
        assert '"finish_reason": "stop"' in row["body"]["text"]
        prompt = await get(app, f"runs/0/rows/{first['row']}/prompt")
        texts = [(role, each["text"]) for role, each in prompt["messages"]]
        assert texts == [("system", "Be brief."), ("user", "What is hose?")]
        assert [(name, each["text"]) for name, each in prompt["row"]] == [("id", "row 0"), ("name", "hose")]
        assert (prompt["note"], prompt["input"]) == ("", str(tmp_path / "in.csv"))
        changed = await get(app, f"runs/0/rows/{second['row']}/prompt")
        assert changed["note"] == "This row of the input has changed since it was sent."
        assert await get(app, "runs/0/facts") == [
            ["Model", "m"],
            ["Prompt", "What is {name}?"],
            ["System message", "Be brief."],
            ["Command", "headrace run in.csv --out out.jsonl"],
        ]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("command", "facts", "note"),
    [
        (
            "headrace run gone.csv",
            {},
            "the input of the run was not found. Its command is: headrace run gone.csv",
        ),
        (None, {}, "The run was begun from Python"),
        ("headrace run 'broken", {}, "the input of the run was not found"),
        ("headrace run in.csv", {"prompt": "{missing}"}, "The prompt cannot be made again: "),
        ("headrace run in.csv", {"prompt": None, "steps": ["a"]}, "A row with several prompts"),
        ("headrace run in.csv", {"image": ["photo"]}, "Left out here: image."),
    ],
)
async def test_what_is_not_known_of_a_prompt_is_said(
    tmp_path: Path, command: str, facts: dict[str, Any], note: str
) -> None:
    with opened(write_run(tmp_path, command, **facts)) as app:
        assert note in (await get(app, "runs/0/rows/1/prompt"))["note"]


@pytest.mark.anyio
@pytest.mark.parametrize(
    "command",
    [
        "headrace run --limit 5 in.csv --out out.jsonl",
        "headrace run --retry-failed in.csv",
        "headrace run job.toml",
        "headrace run ../{folder}/in.csv --out {folder}/out.jsonl",
    ],
)
async def test_the_input_is_found_by_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.chdir("/")
    (tmp_path / "job.toml").write_text('input = "in.csv"\n', encoding="utf-8")
    run = write_run(tmp_path, command.format(folder=shlex.quote(tmp_path.name)))
    with opened(run) as app:
        assert (await get(app, "runs/0/rows/1/prompt"))["messages"][1][1]["text"] == "What is hose?"


@pytest.mark.anyio
async def test_without_content_no_prompt_and_no_answer_is_in_any_response(tmp_path: Path) -> None:
    run = write_run(
        tmp_path, f"headrace run in.csv --prompt {CANARY}", prompt=CANARY, system=CANARY, choices=[CANARY]
    )
    with run.open("ab") as file:
        for n, given in enumerate(({}, {"code": "answer_error", "message": CANARY}), 7):
            file.write(json.dumps(make_line(n, answer=CANARY, **given)).encode() + b"\n")
    (tmp_path / "other").mkdir()
    other = write_output(tmp_path / "other" / "o.jsonl", [make_line(7, answer=f"{CANARY} no")])
    with opened(run, other, content=False) as app:
        paths = [
            "runs",
            "runs/0/rows",
            "runs/0/count",
            "runs/0/facts",
            "runs/0/compare/1",
            "runs/0/compare/1/count",
            "runs/0/compare/1/rows/3",
        ]
        paths += [f"runs/0/rows/{row}" for row in range(1, 5)]
        for path in paths:
            assert CANARY not in json.dumps(await get(app, path)), path
        assert len(await get(app, "runs/0/compare/1/rows/3")) == 2
        assert (await get(app, "runs/0/rows/1/prompt"))[0] == 403
        assert (await get(app, "runs/0/count", search=CANARY))["number"] == 0
        assert (await get(app, "runs/0/count", answer=CANARY))["number"] == 4
        assert (await get(app, "runs/0/rows/4"))["code"] == "answer_error"


@pytest.mark.anyio
async def test_two_runs_are_compared(tmp_path: Path) -> None:
    first = [make_line(n, answer="the blue hose") for n in range(4)] + [make_line(8)]
    second = [
        make_line(0, answer="the blue hose"),
        make_line(1, answer="the \U0001f600 red hose"),
        make_line(2, code="timeout", status=None),
        make_line(3, answer="the blue hoses"),
        make_line(9),
    ]
    one, other = write_output(tmp_path / "a.jsonl", first), write_output(tmp_path / "b.jsonl", second)
    with opened(one, other) as app:
        counts = await get(app, "runs/0/compare/1/count")
        assert [counts[name] for name in ("both", "different", "same", "failed_in_one")] == [4, 2, 1, 1]
        assert (counts["only_first"], counts["only_second"], counts["all"]) == (1, 1, 4)
        pairs = (await get(app, "runs/0/compare/1"))["pairs"]
        assert [[row["id"] for row in pair["rows"]] for pair in pairs] == [["row 1"] * 2, ["row 3"] * 2]
        assert pairs[0]["marks"] == [[[4, 8]], [[4, 10]]]  # in UTF-16, as JavaScript counts
        assert pairs[1]["marks"] == [[[9, 13]], [[9, 14]]]
        for show, number in (("same", 1), ("failed", 1), ("all", 4)):
            assert len((await get(app, "runs/0/compare/1", show=show))["pairs"]) == number
        assert (await get(app, "runs/0/compare/1", show="x"))[0] == 400
        for search, found in (("red", ["row 1"]), ("row hose", ["row 1", "row 3"]), ("nothing", [])):
            pairs = (await get(app, "runs/0/compare/1", search=search))["pairs"]
            assert [pair["rows"][0]["id"] for pair in pairs] == found
        assert (await get(app, "runs/0/compare/7"))[0] == 404


@pytest.mark.anyio
async def test_long_answers_are_compared_whole(tmp_path: Path) -> None:
    words = [f"word{n}" for n in range(300)]
    changed = [*words[:200], "other", *words[201:]]
    shuffled = [f"new{n}" for n in range(2000)]
    first = [make_line(n, answer=" ".join(words)) for n in range(2)]
    second = [make_line(0, answer=" ".join(changed)), make_line(1, answer=" ".join(shuffled))]
    one, other = write_output(tmp_path / "a.jsonl", first), write_output(tmp_path / "b.jsonl", second)
    with opened(one, other) as app:
        (pair, far) = (await get(app, "runs/0/compare/1"))["pairs"]
    texts = [row["answer"] for row in pair["rows"]]
    marked = [
        [text[slice(*place)] for place in places] for text, places in zip(texts, pair["marks"], strict=True)
    ]
    assert marked == [["word200"], ["other"]]
    assert [len(places) for places in far["marks"]] == [1, 1]  # too many differences are one
    assert len(far["rows"][1]["answer"]) == 4000


@pytest.mark.anyio
async def test_a_line_of_the_batch_format_is_its_own_prompt(tmp_path: Path) -> None:
    out = write_run(tmp_path, "headrace run in.jsonl --out out.jsonl", prompt=None, id_column="custom_id")
    messages = [{"role": "user", "content": [{"type": "text", "text": "What is it?"}]}]
    request = {"custom_id": "row 0", "url": "/v1/chat/completions", "method": "POST"}
    content = json.dumps({**request, "body": {"model": "m", "messages": messages}})
    (tmp_path / "in.jsonl").write_text(content + "\n", encoding="utf-8")
    with opened(out) as app:
        ((role, text),) = (await get(app, "runs/0/rows/1/prompt"))["messages"]
    assert (role, json.loads(text["text"])) == ("user", messages[0]["content"])


@pytest.mark.anyio
async def test_each_line_has_the_prompt_that_it_was_made_with(tmp_path: Path) -> None:
    out, sidecar = write_run(tmp_path), tmp_path / "out.jsonl.journal"
    add_fingerprint(sidecar, prompt="Say {name}!", first_index=1)
    with opened(out) as app:
        texts = [(await get(app, f"runs/0/rows/{row}/prompt"))["messages"][-1][1]["text"] for row in (1, 2)]
        assert texts == ["What is hose?", "Say ball!"]
        damage(sidecar)
        note = (await get(app, "runs/0/rows/1/prompt"))["note"]
        assert note == "The prompt is not known: the sidecar of the run is missing beside the output."
        assert await get(app, "runs/0/facts") == []


@pytest.mark.anyio
async def test_steps_samples_and_votes_are_shown(tmp_path: Path) -> None:
    lines = [
        make_line(0, steps={"topic": "garden", "verdict": {"score": 3}, "skipped": None}),
        make_line(1, answers=["a", "b", "a"], votes={"a": 2, "b": 1}),
        make_line(2, answer={"score": 1}),
    ]
    with opened(write_output(tmp_path / "out.jsonl", lines)) as app:
        steps, samples, typed = [await get(app, f"runs/0/rows/{row}") for row in (1, 2, 3)]
        assert [name for name, _ in steps["steps"]] == ["topic", "verdict", "skipped"]
        assert steps["steps"][1][1]["json"]
        assert [each["text"] for each in samples["answers"]] == ["a", "b", "a"]
        assert samples["votes"] == {"a": 2, "b": 1}
        assert (typed["answer"]["json"], json.loads(typed["answer"]["text"])) == (True, {"score": 1})


@pytest.mark.anyio
async def test_a_huge_answer_is_bounded(tmp_path: Path) -> None:
    huge = [make_line(0, "i" * 1_000_000, "a" * 50_000_000)]
    with opened(write_output(tmp_path / "out.jsonl", huge)) as app:
        assert len(json.dumps(await get(app, "runs/0/rows"))) < 3000
        row = await get(app, "runs/0/rows/1")
        assert (len(row["answer"]["text"]), row["answer"]["more"]) == (200_000, 49_800_000)
        assert row["id"]["more"] == 800_000
        assert len(json.dumps(row)) < 2_000_000


@pytest.mark.anyio
async def test_the_first_rows_are_there_at_once_and_more_is_said_to_come(tmp_path: Path) -> None:
    runs = Runs([write_output(tmp_path / "out.jsonl", map(make_line, range(3)))])
    app = Guard(make_app(runs), "t", loopback_hosts("127.0.0.1"))
    first = await get(app, "runs/0/rows")
    assert ([row["id"] for row in first["rows"]], first["whole"]) == (["row 0", "row 1", "row 2"], False)
    while runs.step():
        pass
    assert (await get(app, "runs/0/rows"))["whole"]
    runs.close()


@pytest.mark.anyio
async def test_unknown_runs_and_rows_are_not_found(tmp_path: Path) -> None:
    with opened(write_output(tmp_path / "out.jsonl", [make_line(1)])) as app:
        assert await get(app, "runs/5/rows") == (404, "no such run")
        assert (await get(app, "runs/0/rows/99"))[0] == 404
        assert await get(app, "runs/0/rows", page="x") == (400, "page: must be a number from 0")
