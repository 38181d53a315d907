"""How a dry run shows the content of a message, also of parts that the user wrote."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import headrace
from headrace.cli.media_preview import content_text, without_media

HI = {"type": "text", "text": "Hi"}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAAAA==", "detail": "low"}}
JUNK: list[Any] = [
    5,
    None,
    "x",
    {},
    {"type": []},
    {"type": "file"},
    {"type": "file", "file": "x"},
    {"type": "text"},
]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("Hi", "Hi"),
        (None, "null"),
        ([], ""),
        ([HI, IMAGE, HI], "Hi\n[image: image/png, 4 bytes, low]\nHi"),
        ([{"type": "image_url", "image_url": {"url": "http://h/a.png"}}], "[image: http://h/a.png]"),
        ([headrace.file(b"text", filename="a\tb.txt")], "[file: a b.txt, text/plain, 4 bytes]"),
        ([{"type": "file", "file": {"file_id": "f-1"}}], "[file: f-1]"),
        (
            [{"type": "input_audio", "input_audio": {"data": "AAAA", "format": "mp3"}}],
            "[audio: 3 bytes, mp3]",
        ),
        ([HI | {"cache_control": 1}], '{"type":"text","text":"Hi","cache_control":1}'),
        ([{"type": "video", "video": 1}, 5], '{"type":"video","video":1}\n5'),
    ],
)
def test_media_are_shown_in_short(content: Any, text: str) -> None:
    assert content_text(content) == text


@given(st.lists(st.sampled_from([*JUNK, HI, IMAGE])))
def test_any_content_is_shown_and_counted_without_media(content: list[Any]) -> None:
    assert content_text(content).count("[image: image/png, 4 bytes, low]") == content.count(IMAGE)
    body = {"messages": [{"role": "user", "content": content}, {"role": "user", "content": "Hi"}, 5]}
    media = [part for part in content if isinstance(part, dict) and part.get("type") in ("image_url", "file")]
    left = [part for part in content if part not in media]
    expected = {"messages": [{"role": "user", "content": left}, *body["messages"][1:]]}
    assert without_media(body) == expected
    assert (without_media(body) is body) == (not media)
