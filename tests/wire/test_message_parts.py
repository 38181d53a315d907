"""Images, files and audio as parts of a message: their form, when they are read, and what is refused."""

from __future__ import annotations

import base64
import json
import pickle
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import httpx2
import pytest
from tests.wire import media_files as files

import headrace
from headrace import Request, RequestError
from headrace.testing import FakeEndpoint
from headrace.wire import message_parts
from headrace.wire.request_bodies import encode_body

PNG = files.image_file("PNG")
KIB = 1024


def encoded(part: Any) -> Any:
    """The part as it is sent."""
    content = encode_body({"messages": [{"role": "user", "content": [part]}]})
    return json.loads(content)["messages"][0]["content"][0]


def data_url(name: str, content: bytes) -> str:
    return f"data:{name};base64,{base64.b64encode(content).decode()}"


def asked(part: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [{"type": "text", "text": "What is it?"}, part]}]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A PNG with the name of another type."""
    path = tmp_path / "rose.jpg"
    path.write_bytes(PNG)
    return path


SOURCES: list[Callable[[Path], Any]] = [
    lambda path: path,
    str,
    lambda path: path.read_bytes(),
    lambda path: data_url("image/gif", path.read_bytes()),
    lambda path: "data:," + "".join(f"%{byte:02x}" for byte in path.read_bytes()),
]


@pytest.mark.parametrize("source_of", SOURCES, ids=["Path", "str", "bytes", "base64", "percent"])
def test_equal_content_gives_an_equal_image(source_of: Callable[[Path], Any], path: Path) -> None:
    part = headrace.image(source_of(path), detail="low")
    expected = {"type": "image_url", "image_url": {"url": data_url("image/png", PNG), "detail": "low"}}
    assert encoded(part) == dict(part) == expected
    assert part == headrace.image(PNG, detail="low")
    assert part != headrace.image(files.image_file("PNG", (4, 4)), detail="low")


def test_a_url_is_sent_as_it_is() -> None:
    url = "HTTPS://img.test/rose.png?size=5"
    assert encoded(headrace.image(url)) == {"type": "image_url", "image_url": {"url": url}}


@pytest.mark.parametrize(
    ("content", "format"),
    [
        (files.wav_file(), "wav"),
        (files.MP3, "mp3"),
        (files.FLAC, "flac"),
        (files.OGG, "ogg"),
        (files.M4A, "m4a"),
    ],
)
def test_audio_has_the_format_of_its_content(content: bytes, format: str) -> None:
    audio = {"data": base64.b64encode(content).decode(), "format": format}
    assert encoded(headrace.audio(content)) == {"type": "input_audio", "input_audio": audio}


def test_a_file_has_the_name_in_its_path_or_one_for_its_type(tmp_path: Path) -> None:
    path = tmp_path / "invoice 7.bin"
    path.write_bytes(files.PDF)
    names = [
        encoded(part)["file"]
        for part in (
            headrace.file(path),
            headrace.file(files.PDF),
            headrace.file(data_url("a/b", files.PDF)),
            headrace.file(path, filename="a.pdf"),
            headrace.file(b"some text"),
        )
    ]
    assert [each["filename"] for each in names] == [
        "invoice 7.bin",
        "file.pdf",
        "file.pdf",
        "a.pdf",
        "file.txt",
    ]
    assert {each["file_data"] for each in names[:4]} == {data_url("application/pdf", files.PDF)}
    assert names[4]["file_data"] == data_url("text/plain", b"some text")


PARTS = [
    headrace.image(PNG),
    headrace.image(PNG, detail="original"),
    headrace.image("https://img.test/rose.png"),
    headrace.file(files.PDF, filename="a.pdf"),
    headrace.audio(files.MP3),
    headrace.audio(files.wav_file()),
]


@pytest.mark.parametrize("part", PARTS, ids=repr)
def test_a_part_has_the_types_of_the_openai_sdk(part: Any) -> None:
    pydantic = pytest.importorskip("pydantic")
    chat = pytest.importorskip("openai.types.chat")
    adapter = pydantic.TypeAdapter(chat.ChatCompletionContentPartParam)
    assert adapter.validate_python(dict(part)) == dict(part)


@pytest.mark.anyio
@pytest.mark.parametrize("part", PARTS, ids=repr)
async def test_a_part_is_sent_as_the_openai_sdk_sends_it(part: Any) -> None:
    openai = pytest.importorskip("openai")
    sent: list[Any] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        sent.append(json.loads(request.content))
        return httpx2.Response(200, json={"choices": []})

    http_client = httpx2.AsyncClient(transport=httpx2.MockTransport(answer))
    async with openai.AsyncOpenAI(
        api_key="k", base_url="http://fake.test/v1", http_client=http_client
    ) as sdk:
        await sdk.chat.completions.create(model="fake-model", messages=asked(dict(part)))
    endpoint = FakeEndpoint()
    async with endpoint.client() as client:
        await client.chat(asked(part))
    assert [json.loads(encode_body(request.body)) for request in endpoint.attempts] == sent


@pytest.mark.anyio
async def test_parts_are_read_when_their_call_begins(tmp_path: Path) -> None:
    late, never = tmp_path / "late.png", tmp_path / "never.png"
    endpoint = FakeEndpoint()
    async with endpoint.client() as client:
        async with client.map(
            [asked(headrace.image(late)), asked(headrace.image(never))], ordered=True
        ) as outcomes:
            late.write_bytes(PNG)
            first, second = [outcome async for outcome in outcomes]
        async with client.stream(asked(headrace.image(late))) as stream:
            assert [chunk.text async for chunk in stream] == ["ok"]
    assert first.ok
    assert str(second.error).endswith("never.png' cannot be read: No such file or directory; check the path")
    assert len(endpoint.attempts) == 2


def test_a_request_with_parts_holds_paths_and_not_content(path: Path) -> None:
    request = Request({"messages": asked(headrace.image(path))})
    pickled = pickle.dumps(request)
    path.write_bytes(files.image_file("PNG", (8, 8)))
    assert PNG not in pickled
    assert pickle.loads(pickled) == request
    assert encode_body(pickle.loads(pickled).body) == encode_body(request.body)
    assert repr(request.body).count("<image ") == 1


@pytest.mark.parametrize("word", ["null", "NaNA", "Infinity"])
def test_words_in_base64_are_not_searched_for_numbers(word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[object] = []

    def read_source(*arguments: Any) -> bytes:
        reads.append(arguments)
        return content

    monkeypatch.setattr(message_parts, "read_source", read_source)
    content = PNG + bytes(-len(PNG) % 3) + base64.b64decode(word)
    url = encoded(headrace.image("rose.png"))["image_url"]["url"]
    assert url.endswith(word)
    assert len(reads) == 1


def test_a_part_may_be_beside_values_of_other_libraries() -> None:
    part = headrace.image(PNG)
    body = {"temperature": Fraction(1, 2), "n": None, "messages": tuple(asked(part))}
    assert json.loads(encode_body(body)) == {"temperature": 0.5, "n": None, "messages": asked(dict(part))}
    with pytest.raises(RequestError, match=r"^body\.temperature is nan"):
        encode_body({"temperature": float("nan"), "messages": asked(part)})


def test_a_scaled_image_is_measured_after_scaling() -> None:
    large = files.image_file("BMP", (400, 300))
    assert encoded(headrace.image(large, max_pixels=1200, max_bytes=4 * KIB))["image_url"]["url"].startswith(
        "data:image/png;base64,"
    )
    with pytest.raises(
        RequestError, match=r"^image from bytes has 360,054 bytes, more than max_bytes=4096; "
    ):
        encoded(headrace.image(large, max_bytes=4 * KIB))
    with pytest.raises(RequestError, match=r"more than max_bytes=100; scale it down with max_pixels=$"):
        encoded(headrace.image(large, max_pixels=1200, max_bytes=100))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: headrace.image(cast("Any", 5)), "image takes a path, bytes, a data URI or a URL, not int"),
        (
            lambda: headrace.image(PNG, detail=cast("Any", "huge")),
            "detail='huge': must be one of auto, low, high, original",
        ),
        (lambda: headrace.image(PNG, max_pixels=0), "max_pixels=0: must be an integer of at least 1"),
        (lambda: headrace.file(b"x", max_bytes=-1), "max_bytes=-1: must be an integer of at least 1"),
        (
            lambda: headrace.image("http://img.test/a.png", max_pixels=9),
            "max_pixels= has no effect on a URL, which the endpoint fetches; omit it",
        ),
        (
            lambda: headrace.file("https://docs.test/a.pdf?key=secret"),
            "file 'https://docs.test/a.pdf': endpoints fetch only images; download it, and pass its path",
        ),
        (
            lambda: headrace.audio("s3://bucket/a.wav"),
            "audio 's3://…': s3 URLs cannot be read; pass a path or bytes",
        ),
    ],
)
def test_a_wrong_argument_is_refused_at_once(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(RequestError) as caught:
        make()
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (headrace.image, "image 'folder' is not a file; pass the path of a file"),
        (
            lambda _: headrace.image("a\0b"),
            r"image 'a\x00b' cannot be read: embedded null ",
        ),
        (lambda _: headrace.image(b""), "image from bytes is empty"),
        (
            lambda _: headrace.image("data:image/png"),
            "image 'data:image/png,…' is not a data URI: it has no comma",
        ),
        (lambda _: headrace.image("data:;base64,A"), "image 'data:;base64,…' is not valid base64: "),
        (
            lambda _: headrace.image(files.PDF),
            "image from bytes is application/pdf, judged by its content; use headrace.file",
        ),
        (
            lambda _: headrace.image(files.MP3),
            "image from bytes is audio/mpeg, judged by its content; use headrace.audio",
        ),
        (
            lambda _: headrace.audio(PNG),
            "audio from bytes is image/png, judged by its content; use headrace.image",
        ),
        (
            lambda _: headrace.file(files.VIDEO),
            "file from bytes is of no known type, judged by its content; convert it to one",
        ),
        (
            lambda _: headrace.audio(files.wav_file(), max_bytes=99),
            "audio from bytes has 8,044 bytes, more than max_bytes=99; send a smaller one",
        ),
        (
            lambda _: headrace.image("x" * 5000),
            "image '…" + "x" * 80 + "' cannot be read: ",
        ),
    ],
)
@pytest.mark.anyio
async def test_a_wrong_file_fails_its_call_in_one_line(
    make: Callable[[str], Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    endpoint = FakeEndpoint()
    async with endpoint.client() as client:
        with pytest.raises(RequestError) as caught:
            await client.chat(asked(make("folder")))
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200
    assert endpoint.attempts == []


def test_a_missing_pillow_is_said_before_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(RequestError, match=r"^max_pixels= needs Pillow; pip install 'headrace\[images\]'$"):
        headrace.image("rose.png", max_pixels=10)
    assert encoded(headrace.image(PNG))["type"] == "image_url"
