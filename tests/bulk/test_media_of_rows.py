"""Bulk runs whose rows have images, files and audio."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import httpx2
import polars
import pyarrow
import pyarrow.feather
import pyarrow.parquet
import pytest
from tests.wire import media_files as files

import headrace
from headrace import Client
from headrace.bulk import RowSource, Source, Task, run, worker_frames
from headrace.bulk.worker_protocol import FrameStream
from headrace.calls import Call
from headrace.errors import InputError, JournalError
from headrace.replies import Reply
from headrace.testing import FakeEndpoint
from headrace.testing.server import endpoint_process
from headrace.wire.request_bodies import encode_body

Lines = Callable[[Path], list[dict[str, Any]]]
PNG, WEBP, LARGE = files.image_file("PNG"), files.image_file("WEBP"), files.image_file("JPEG", (900, 600))
ROWS = [
    {"id": "one", "photo": "rose.png", "doc": "a.pdf", "sound": "a.wav"},
    {"id": "none", "photo": "", "doc": None, "sound": None},
    {"id": "two", "photo": ["rose.png", "large.jpg"], "doc": "", "sound": ""},
    {"id": "missing", "photo": "no.png", "doc": "", "sound": ""},
]
MEDIA: dict[str, Any] = {"image": "photo", "file": ["doc"], "audio": ["sound"]}


class Listening(FakeEndpoint):
    """Keeps the bodies as they are sent."""

    def __init__(self) -> None:
        super().__init__()
        self.bodies: list[dict[str, Any]] = []

    async def handle(self, call: Call) -> Reply:
        self.bodies.append(json.loads(call.content))
        return await super().handle(call)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    media = {"rose.png": PNG, "large.jpg": LARGE, "a.pdf": files.PDF, "a.wav": files.wav_file()}
    for name, content in media.items():
        Path(name).write_bytes(content)
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return tmp_path


def write_rows(number: int, present: Iterable[int]) -> int:
    """Write rows of equal images, of which these exist; return the number of rows."""
    for n in present:
        Path(f"{n}.png").write_bytes(PNG)
    Path("rows.jsonl").write_text("".join(json.dumps({"photo": f"{n}.png"}) + "\n" for n in range(number)))
    return number


def body_of(task: Task) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(encode_body(task.request(next(task.source.items())).body))
    return found


@pytest.mark.anyio
async def test_a_row_is_sent_as_the_openai_sdk_sends_it() -> None:
    openai = pytest.importorskip("openai")
    endpoint, sent = Listening(), []

    def answer(request: httpx2.Request) -> httpx2.Response:
        sent.append(json.loads(request.content))
        return httpx2.Response(200, json={"choices": []})

    async with endpoint.client(model="m") as client:
        await run(client, "rows.jsonl", out="out.jsonl", prompt="What is it?", limit=1, **MEDIA)
    parts = [headrace.image("rose.png"), headrace.file("a.pdf"), headrace.audio("a.wav")]
    content = [{"type": "text", "text": "What is it?"}, *map(dict, parts)]
    http_client = httpx2.AsyncClient(transport=httpx2.MockTransport(answer))
    async with openai.AsyncOpenAI(api_key="k", base_url="http://t/v1", http_client=http_client) as sdk:
        await sdk.chat.completions.create(model="m", messages=[{"role": "user", "content": content}])
    assert endpoint.bodies == sent


@pytest.mark.anyio
@pytest.mark.parametrize("processes", [1, 2])
async def test_each_row_has_its_own_parts_and_a_missing_file_fails_it_alone(
    read_lines: Lines, processes: int
) -> None:
    async with endpoint_process() as endpoint:
        make_client = functools.partial(Client, base_url=endpoint.base_url, policies=[], model="gpt-4o")
        summary = await run(
            *(make_client, "rows.jsonl"),
            out="out.jsonl",
            prompt="?",
            max_pixels=9,
            processes=processes,
            **MEDIA,
        )
    assert (summary.succeeded, summary.failures, summary.left) == (3, {"input_error": 1}, 0)
    lines = {line["custom_id"]: line for line in read_lines(Path("out.jsonl"))}
    assert lines["missing"]["error"] == {
        "code": "input_error",
        "message": "rows.jsonl:4: column 'photo': image 'no.png' cannot be read: No such file or directory; "
        "check the path",
    }
    assert lines["missing"]["headrace"]["attempts"] == 0
    tokens = {
        id: line["response"]["body"]["usage"]["prompt_tokens"]
        for id, line in lines.items()
        if id != "missing"
    }
    assert tokens["two"] - tokens["none"] == 2 * 255, "two images, each scaled down to one tile"
    assert tokens["one"] > tokens["none"] + 255


@pytest.mark.anyio
async def test_many_missing_files_do_not_stop_a_run() -> None:
    rows = write_rows(51, present=[50])
    endpoint = FakeEndpoint()
    async with endpoint.client(model="m") as client:
        summary = await run(client, "rows.jsonl", out="out.jsonl", prompt="?", image="photo")
    assert (summary.succeeded, summary.failures) == (1, {"input_error": rows - 1})
    assert len(endpoint.attempts) == 1


@pytest.mark.anyio
async def test_a_file_is_read_when_its_call_begins() -> None:
    rows = write_rows(20, present=[0])

    class Renaming(FakeEndpoint):
        """Makes the file of the next row during each call, and removes the one of the call."""

        async def handle(self, call: Call) -> Reply:
            number = len(self.attempts)
            os.rename(f"{number}.png", f"{number + 1}.png")
            return await super().handle(call)

    async with Renaming().client(model="m", max_in_flight=1) as client:
        summary = await run(client, "rows.jsonl", out="out.jsonl", prompt="?", image="photo")
    assert (summary.succeeded, summary.failed) == (rows, 0)


TABLE = pyarrow.table(
    {
        "id": ["a", "b"],
        "photo": pyarrow.array([PNG, None], pyarrow.large_binary()),
        "photos": [[PNG, WEBP], None],
        "image": [{"bytes": WEBP, "path": "w"}, None],
        "name": pyarrow.array(["rose.png", None]),
    }
)


@pytest.mark.parametrize("form", ["parquet", "arrow"])
def test_columns_of_bytes_are_images(form: str) -> None:
    if form == "parquet":
        pyarrow.parquet.write_table(TABLE, "in")
    else:
        pyarrow.feather.write_feather(TABLE, "in", compression="uncompressed")
    source = Source("in")
    assert source.binary_columns == {"photo", "photos", "image.bytes"}
    task = Task(source, "?", "m", image=["photo", "photos", "image.bytes", "name"])
    requests = [json.loads(encode_body(task.request(item).body)) for item in source.items()]
    parts = [dict(headrace.image(content)) for content in (PNG, PNG, WEBP, WEBP, PNG)]
    assert requests[0]["messages"][0]["content"] == [{"type": "text", "text": "?"}, *parts]
    assert requests[1]["messages"][0]["content"] == "?"


@pytest.mark.parametrize(
    "rows",
    [
        TABLE.slice(0, 1),
        polars.from_arrow(TABLE.slice(0, 1)),
        [{"photo": PNG, "photos": [PNG, WEBP], "image": {"bytes": WEBP}, "name": Path("rose.png")}],
    ],
    ids=["pyarrow", "polars", "mappings"],
)
def test_bytes_and_paths_in_rows_of_python_code_are_images(rows: Any) -> None:
    task = Task(RowSource(rows), "?", "m", image=["photo", "photos", "image.bytes", "name"])
    (item,) = task.source.items()
    sent = json.loads(encode_body(task.request(item).body))["messages"][0]["content"]
    parts = [dict(headrace.image(content)) for content in (PNG, PNG, WEBP, WEBP, PNG)]
    assert sent == [{"type": "text", "text": "?"}, *parts]


def test_a_text_is_not_taken_for_bytes() -> None:
    assert Source("rows.jsonl").binary_columns == frozenset()


def test_without_a_prompt_the_parts_join_the_conversation() -> None:
    chat = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}]
    Path("rows.jsonl").write_text(json.dumps({"photo": "rose.png", "chat": chat}))
    content = [{"type": "text", "text": "Hi"}, dict(headrace.image("rose.png"))]
    for prompt, messages in ((None, "chat"), (lambda row: row["chat"], None)):
        task = Task(Source("rows.jsonl"), prompt, "m", messages=messages, image="photo")
        assert body_of(task)["messages"] == [chat[0], {"role": "user", "content": content}]


def test_examples_get_no_parts() -> None:
    examples = [{"answer": "rose"}]
    task = Task(Source("rows.jsonl"), "What is it?", "m", image="photo", examples=examples)
    contents = [message["content"] for message in body_of(task)["messages"]]
    assert contents[:2] == ["What is it?", "rose"]
    assert len(contents[2]) == 2


def test_the_digest_covers_the_cells_and_not_the_content_of_files() -> None:
    def digests(prompt: str = "?", **media: Any) -> list[int]:
        task = Task(Source("rows.jsonl"), prompt, "m", **media)
        return [task.digest(item) for item in task.source.items()]

    before = digests(**MEDIA)
    Path("rose.png").write_bytes(WEBP)
    assert digests(**MEDIA) == before
    assert len(set(before)) == len(ROWS)
    assert len(set(digests(image="sound"))) == 3, "only this column counts"
    Path("rows.jsonl").write_text(Path("rows.jsonl").read_text().replace("rose.png", "large.jpg"))
    changed = digests(**MEDIA)
    assert [old == new for old, new in zip(before, changed, strict=True)] == [False, True, False, True]


def test_the_columns_and_the_size_are_part_of_the_fingerprint() -> None:
    changes: list[dict[str, Any]] = [
        *({}, {"image": "photo"}, {"file": "photo"}, {"audio": "photo"}, {"image": ["photo", "doc"]}),
        *({"image": ["doc", "photo"]}, {"image": "photo", "max_pixels": 9}),
    ]
    found = {json.dumps(Task(Source("rows.jsonl"), "{id}", "m", **each).fingerprint()) for each in changes}
    assert len(found) == len(changes)
    one, same = (Task(Source("rows.jsonl"), "{id}", "m", image=each) for each in ("photo", ("photo",)))
    assert one.fingerprint() == same.fingerprint()


@pytest.mark.anyio
async def test_a_run_with_other_columns_is_another_run() -> None:
    endpoint = FakeEndpoint()
    async with endpoint.client(model="m") as client:
        keywords: dict[str, Any] = {"out": "out.jsonl", "prompt": "{id}", "limit": 1}
        await run(client, "rows.jsonl", image="photo", **keywords)
        await run(client, "rows.jsonl", image=["photo"], **keywords)
        assert len(endpoint.attempts) == 1
        for media, reason in (
            ({"image": "doc"}, r"the columns of the images changed .* \(was \['photo'\], is \['doc'\]\)"),
            ({"image": "photo", "max_pixels": 9}, r"the size of the images changed .* \(was None, is 9\)"),
        ):
            with pytest.raises(JournalError, match=reason):
                await run(client, "rows.jsonl", **media, **keywords)


def test_a_row_that_lost_its_column_is_an_input_error() -> None:
    task = Task(Source("rows.jsonl"), "?", "m", image="photo")
    item = next(task.source.items())
    item.row = {"id": "one", "foto": "rose.png"}
    message = r"^rows\.jsonl:1: no column 'photo' for the images; did you mean 'foto'\?$"
    with pytest.raises(InputError, match=message):
        task.request(item)
    with pytest.raises(InputError, match=message):
        task.check_item(item)


@pytest.mark.anyio
async def test_large_requests_go_to_a_worker_in_several_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = write_rows(20, present=[n for n in range(20) if n != 4])
    size = len(encode_body(body_of(Task(Source("rows.jsonl"), "?", "m", image="photo"))))
    monkeypatch.setattr(worker_frames, "_FRAME_SIZE", 3 * size)
    frames: list[int] = []
    send = FrameStream.send

    async def count(stream: FrameStream[Any], frame: Any) -> None:
        if isinstance(frame, list):
            frames.append(len(frame))
        await send(stream, frame)

    monkeypatch.setattr(FrameStream, "send", count)
    async with endpoint_process() as endpoint:
        make_client = functools.partial(Client, base_url=endpoint.base_url, policies=[], model="m")
        summary = await run(
            make_client, "rows.jsonl", out="out.jsonl", prompt="?", image="photo", processes=2
        )
    assert (summary.succeeded, summary.failures, summary.left) == (rows - 1, {"input_error": 1}, 0)
    assert sum(frames) == rows - 1
    assert max(frames) == 3
