"""Images, audio and files in a chat: how many tokens they count, and which are rejected."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.wire import media_files as files

import headrace
from headrace.testing.server import Behaviour, SimulatedModel
from headrace.testing.server.response_plan import ResponsePlan
from headrace.testing.server.tokenizer import count_tokens
from headrace.wire.request_bodies import encode_body

TEXT = "What is it?"


def post(*parts: Any, **body: Any) -> ResponsePlan:
    content = [{"type": "text", "text": TEXT}, *parts]
    body = {"model": "m", "messages": [{"role": "user", "content": content}], **body}
    return SimulatedModel(Behaviour()).answer("POST", "/v1/chat/completions", {}, encode_body(body), 0.0)


def usage(*parts: Any) -> dict[str, Any]:
    plan = post(*parts)
    assert plan.status == 200, plan.content
    found: dict[str, Any] = json.loads(plan.content)["usage"]
    return found


def tokens(*parts: Any) -> int:
    found = usage(*parts)
    assert found["total_tokens"] == found["prompt_tokens"] + found["completion_tokens"]
    return int(found["prompt_tokens"]) - count_tokens(TEXT)


# OpenAI's own examples of the rule: 1024 × 1024 is 765, 2048 × 4096 is 1105.
@pytest.mark.parametrize(
    ("size", "expected"),
    [
        *(((1, 1), 255), ((512, 512), 255), ((513, 512), 425), ((1024, 1024), 765), ((2048, 4096), 1105)),
        *(((4096, 1), 85 + 4 * 170), ((768, 2048), 85 + 8 * 170)),
    ],
)
@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_an_image_has_tokens_for_its_tiles(kind: str, size: tuple[int, int], expected: int) -> None:
    content = files.image_file(kind, size, "L")
    assert tokens(headrace.image(content)) == expected
    assert tokens(headrace.image(content, detail="high")) == expected
    assert tokens(headrace.image(content, detail="low")) == 85


def test_an_image_behind_a_url_counts_as_one_of_1024_pixels() -> None:
    assert tokens(headrace.image("https://img.test/rose.png")) == 765
    assert tokens(headrace.image("https://img.test/rose.png", detail="low")) == 85


def test_audio_counts_10_tokens_a_second() -> None:
    wav = usage(headrace.audio(files.wav_file(seconds=2, rate=8000)))
    assert wav["prompt_tokens_details"]["audio_tokens"] == wav["prompt_tokens"] - count_tokens(TEXT) == 21
    assert tokens(headrace.audio(files.MP3 * 80)) == -(-80 * len(files.MP3) * 10 // 16_000)


def test_files_count_their_text_or_their_bytes() -> None:
    assert tokens(headrace.file(b"one two three")) == count_tokens("one two three")
    assert tokens(headrace.file(files.PDF + bytes(1000))) == -(-(len(files.PDF) + 1000) // 32)
    assert tokens({"type": "file", "file": {"file_id": "file-7"}}) == 0


def test_parts_of_all_messages_add_up() -> None:
    image = headrace.image(files.image_file("PNG"))
    assert tokens(image, image, headrace.file(b"one two")) == 255 * 2 + count_tokens("one two")


def test_the_answer_depends_on_the_image() -> None:
    first, same, other = (
        json.loads(post(headrace.image(files.image_file("PNG", size)), n=9).content)["choices"]
        for size in ((40, 30), (40, 30), (30, 40))
    )
    assert first == same
    assert first != other


def test_earlier_parts_of_the_model_are_accepted() -> None:
    parts = [
        {"type": "thinking", "thinking": [{"type": "text", "text": "Well."}]},
        {"type": "refusal", "refusal": "No."},
    ]
    assert tokens(*parts) == 0


def image_of(url: Any, **more: Any) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url, **more}}


def file_of(**file: Any) -> dict[str, Any]:
    return {"type": "file", "file": file}


def audio_of(content: bytes | str, format: str) -> dict[str, Any]:
    data = content if isinstance(content, str) else base64.b64encode(content).decode()
    return {"type": "input_audio", "input_audio": {"data": data, "format": format}}


def data_url(content: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


@pytest.mark.parametrize(
    ("part", "param", "code"),
    [
        ({"type": "image"}, "type", None),
        ({"text": "x"}, "type", None),
        ({"type": "text"}, "text", None),
        ({"type": "image_url"}, "image_url", None),
        ({"type": "image_url", "image_url": "https://img.test/a.png"}, "image_url", None),
        (image_of(5), "image_url.url", None),
        (image_of("https://img.test/a.png", detail="huge"), "image_url.detail", None),
        (image_of("a.png"), "image_url.url", "invalid_value"),
        (image_of("ftp://img.test/a.png"), "image_url.url", "invalid_value"),
        (image_of("data:image/png,x"), "image_url.url", "invalid_value"),
        (image_of("data:image/png;base64,%%%"), "image_url.url", "invalid_base64"),
        (image_of("data:image/png;base64,AAA"), "image_url.url", "invalid_base64"),
        (image_of("data:image/png;base64,ä"), "image_url.url", "invalid_base64"),
        (image_of(data_url(b"")), "image_url.url", "invalid_image_format"),
        (image_of(data_url(files.PDF)), "image_url.url", "invalid_image_format"),
        (image_of(data_url(files.image_file("TIFF"))), "image_url.url", "invalid_image_format"),
        (image_of(data_url(files.image_file("PNG")[:20])), "image_url.url", "invalid_image_format"),
        ({"type": "input_audio", "input_audio": {"data": ""}}, "input_audio.format", None),
        (audio_of(files.FLAC, "flac"), "input_audio.format", None),
        (audio_of("%", "wav"), "input_audio.data", "invalid_base64"),
        (audio_of(files.MP3, "wav"), "input_audio.data", "invalid_value"),
        (audio_of(files.wav_file(), "mp3"), "input_audio.data", "invalid_value"),
        (audio_of(files.wav_file()[:20], "wav"), "input_audio.data", "invalid_value"),
        (file_of(), "file.file_data", "missing_required_parameter"),
        (file_of(file_data="https://docs.test/a.pdf"), "file.file_data", "invalid_value"),
        (file_of(file_data=data_url(files.PDF)[:-1]), "file.file_data", "invalid_base64"),
        (file_of(file_data=data_url(files.VIDEO, "video/mp4")), "file.file_data", "invalid_value"),
    ],
)
def test_an_invalid_part_is_rejected_with_its_field(part: Any, param: str, code: str | None) -> None:
    plan = post(part)
    error = json.loads(plan.content)["error"]
    assert (plan.status, plan.fault) == (400, None)
    assert error["param"] == f"messages[0].content[1].{param}"
    assert (error["type"], error["code"]) == ("invalid_request_error", code)
    assert len(error["message"]) < 300


MAGIC = [
    b"\x89PNG\r\n\x1a\n",
    b"\xff\xd8\xff",
    b"GIF89a",
    b"RIFF\0\0\0\0WEBPVP8X",
    b"RIFF\0\0\0\0WAVEfmt ",
    b"\xff\xfb",
    b"",
]
CONTENT = st.builds(lambda magic, rest: magic + rest, st.sampled_from(MAGIC), st.binary(max_size=60))
URLS = st.builds(data_url, CONTENT)
VALUES = st.none() | st.integers() | st.text(max_size=5) | URLS


@given(
    URLS.map(image_of)
    | URLS.map(lambda url: file_of(file_data=url))
    | st.builds(audio_of, CONTENT, st.sampled_from(["wav", "mp3"]))
    | st.dictionaries(st.sampled_from(["type", "text", "image_url", "file"]), VALUES)
)
def test_any_part_is_answered_or_rejected(part: Any) -> None:
    plan = post(part)
    assert plan.status in {200, 400}
    assert "usage" in json.loads(plan.content) if plan.status == 200 else "error" in json.loads(plan.content)
