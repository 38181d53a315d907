"""A URL as the input of the command line; what it holds of secrets is nowhere to be found."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.bulk.sources.file_server import FileServer, file_server

SECRET = "Zq7-canary"
PROMPT = ("--model", "m", "--prompt", "{text}")


def addressed(server: FileServer) -> tuple[str, str]:
    """The URL of the file with secrets, and as it is shown."""
    url = f"{server.url}/in.csv?X-Amz-Signature={SECRET}&X-Amz-Date=1"
    return url.replace("://", f"://me:{SECRET}@"), f"{server.url}/in.csv?***".replace("://", "://***@")


def test_a_url_is_read_and_its_secrets_are_kept_nowhere(
    headrace: Any, tmp_path: Path, lines_of: Callable[[str], list[dict[str, Any]]]
) -> None:
    with file_server() as server:
        server.files["/in.csv"] = b"id,text\na,Hello\nb,Goodbye\n"
        url, shown = addressed(server)
        first = headrace.run("run", url, "--out", "out.jsonl", *PROMPT, "--table", "out.csv")
        assert (first.code, first.out.splitlines()[0]) == (0, "2 of 2 items done"), first.err
        assert sorted(line["custom_id"] for line in lines_of("out.jsonl")) == ["a", "b"]
        assert tmp_path.joinpath("out.csv").read_text().startswith("id,text,answer,")
        server.files["/in.csv"] = b"id,text\na,Hello\nb,Changed\n"
        second = headrace.run("run", url, "--out", "out.jsonl", *PROMPT)
    assert second.code == 2
    assert second.err.startswith(f"headrace: {shown}:3: the row of 'b' has changed since it was done;")
    record = json.loads(tmp_path.joinpath("out.jsonl.journal").read_text().splitlines()[0])
    assert f"run '{shown}' --out out.jsonl" in record["command"]
    report = headrace.run("report", "out.jsonl")
    assert report.code == 0, report.err
    texts = [each.out + each.err for each in (first, second, report)]
    texts += [path.read_text() for path in tmp_path.iterdir()]
    assert len(texts) == 7
    assert not [text for text in texts if SECRET in text]


@pytest.mark.parametrize(
    ("package", "message"),
    [
        (None, "does not exist; correct the URL"),
        ("fsspec", "pip install 'headrace[remote]' to read it; it needs fsspec"),
    ],
)
def test_a_url_that_cannot_be_read_is_one_line(
    headrace: Any, tmp_path: Path, package: str | None, message: str
) -> None:
    block = f"import sys; sys.modules[{package!r}] = None; " if package else ""
    program = f"{block}from headrace_command import main; main()"
    command = type(headrace)(headrace.folder, headrace.environment, (sys.executable, "-c", program))
    with file_server() as server:
        url, shown = addressed(server)
        result = command.run("run", url, "--out", "out.jsonl", *PROMPT)
    assert (result.code, result.out, result.err) == (2, "", f"headrace: {shown}: {message}\n")
    assert not list(tmp_path.iterdir())
