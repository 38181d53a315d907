"""`headrace run --image`, `--file` and `--audio`, as a user runs it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from tests.cli.conftest import CommandInProcess
from tests.wire import media_files as files

from headrace.cli.main import cli

URL = "http://127.0.0.1:9/v1"
ASK = ["--prompt", "What is it?", "--model", "gpt-4o"]
PNG = files.image_file("PNG")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "rows.csv").write_text(
        "id,photo,doc,sound\n1,rose.png,a.pdf,a.wav\n2,no.png,,\n3,,,\n4,http://h/a.png,,\n5,no.png,,\n"
    )
    (tmp_path / "batch.jsonl").write_text('{"custom_id": "a", "url": "/v1/x", "body": {"model": "m"}}\n')
    for name, content in (("rose.png", PNG), ("a.pdf", files.PDF), ("a.wav", files.wav_file())):
        (tmp_path / name).write_bytes(content)
    monkeypatch.chdir(tmp_path)
    for name in ("OPENAI_BASE_URL", "HEADRACE_MODEL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary")
    return tmp_path


def invoke(*arguments: str, input: str = "rows.csv") -> tuple[int, str]:
    command = ["run", input, "--out", "o.jsonl", "--base-url", URL, *arguments]
    result = CliRunner().invoke(cli, command, prog_name="headrace")
    return result.exit_code, result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--image", "foto"], "rows.csv:2: no column 'foto' for the images; did you mean 'photo'?"),
        (["--file", "docs"], "rows.csv:2: no column 'docs' for the files; did you mean 'doc'?"),
        (["--audio", "sounds"], "rows.csv:2: no column 'sounds' for the audio; did you mean 'sound'?"),
        (["--image", ""], "--image: must be the name of a column, not ''"),
        (
            ["--image", "photo", "--image", "photo"],
            "--image: the column 'photo' is given twice; name it once",
        ),
        (["--file", "doc", "--file", "doc"], "--file: the column 'doc' is given twice; name it once"),
        (
            ["--max-pixels", "9", "--file", "doc"],
            "--max-pixels 9: there are no images; name their column with --image",
        ),
        (
            ["--image", "photo", "--max-pixels", "0"],
            "invalid value for '--max-pixels': 0 is not in the range x>=1; see headrace run --help",
        ),
    ],
)
def test_a_mistake_is_one_line_before_anything_is_sent(arguments: list[str], message: str) -> None:
    assert invoke(*ASK, *arguments) == (2, f"headrace: {message}\n")
    assert not Path("o.jsonl").exists()


def test_a_missing_pillow_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    code, output = invoke(*ASK, "--image", "photo", "--max-pixels", "9")
    assert (code, output) == (2, "headrace: --max-pixels needs Pillow; pip install 'headrace[images]'\n")


def test_the_batch_format_has_its_own_parts() -> None:
    code, output = invoke("--image", "a", "--file", "b", "--max-pixels", "9", input="batch.jsonl")
    assert code == 2
    assert output.endswith("; leave out --image, --file, --max-pixels\n")


def test_a_dry_run_shows_parts_in_short_and_finds_missing_files() -> None:
    reason = "column 'photo': image 'no.png' cannot be read: No such file or directory; check the path"
    code, output = invoke(*ASK, "--image", "photo", "--file", "doc", "--audio", "sound", "--dry-run")
    assert code == 0
    assert output.splitlines() == [
        "--- 1",
        "user: What is it?",
        f"[image: image/png, {len(PNG)} bytes]",
        f"[file: a.pdf, application/pdf, {len(files.PDF)} bytes]",
        "[audio: 8,044 bytes, wav]",
        '({"model":"gpt-4o"})',
        "--- 2",
        f"would fail: rows.csv:3: {reason}",
        "--- 3",
        "user: What is it?",
        '({"model":"gpt-4o"})',
        f"3 requests would be sent to {URL}; nothing was.",
        f"2 items would fail without a call; first: rows.csv:3: {reason}",
        "  tokens     about 65 in; out unknown, because no max_tokens is set",
        "  cost       estimated: $0.0002 plus the cost of the answers",
        "  The estimate does not count the tokens of images, files and audio.",
        "  For a better estimate, --sample 20 sends 20 of the rows.",
    ]


def test_a_dry_run_reads_the_files_of_the_first_rows(folder: Path) -> None:
    (folder / "rose.png").write_bytes(b"\0\1")
    _, output = invoke(*ASK, "--image", "photo", "--limit", "1", "--dry-run")
    assert "--- 1\nwould fail: rows.csv:2: column 'photo': image 'rose.png' is of no known type, " in output
    assert "The estimate does not count" not in output


@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_run_sends_the_parts_and_names_the_row_of_a_missing_file(
    in_process: CommandInProcess, lines_of: Callable[[str], list[dict[str, Any]]], processes: str
) -> None:
    result = in_process.run(
        *("run", "rows.csv", "--out", "out.jsonl", *ASK, "--max-pixels", "99", "--processes", processes),
        *("--image", "photo", "--file", "doc", "--audio", "sound"),
    )
    assert result.code == 1, result.err
    assert "3 succeeded, 2 failed" in result.out
    reason = "image 'no.png' cannot be read: No such file or directory; check the path"
    assert f"2 input_error: rows.csv:3: column 'photo': {reason}\n" in result.out
    lines = {line["custom_id"]: line for line in lines_of("out.jsonl")}
    tokens = {
        id: line["response"]["body"]["usage"]["prompt_tokens"]
        for id, line in lines.items()
        if line["response"]
    }
    assert tokens.keys() == {"1", "3", "4"}
    assert tokens["4"] - tokens["3"] == 765, "an image behind a URL is not scaled"
    assert tokens["1"] > tokens["3"] + 255
