"""The estimate of a prompt's tokens, and its upper limit."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.wire.media_files import PDF, image_file, wav_file

import headrace
from headrace.plugins import estimate_prompt_tokens, most_prompt_tokens
from headrace.wire.request_bodies import encode_body

LARGE = image_file("PNG", (300, 200)) + bytes(2_000_000)
"""An image of two megabytes."""


def body(*parts: Any) -> dict[str, Any]:
    text = {"type": "text", "text": "Describe this."}
    return {"model": "m", "messages": [{"role": "user", "content": [text, *parts]}]}


def spaced(content: bytes) -> bytes:
    """The same body as another encoder writes it."""
    return json.dumps(json.loads(content), indent=1).encode()


@pytest.mark.parametrize("image", [LARGE, image_file("JPEG"), "https://img.example/rose.jpg"])
@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("form", [bytes, spaced])
def test_an_image_counts_as_an_image_and_not_as_its_bytes(image: bytes | str, count: int, form: Any) -> None:
    content = form(encode_body(body(*[headrace.image(image)] * count)))
    assert 1_000 * count < estimate_prompt_tokens(content) < 1_100 * count + 100
    assert 50_000 * count < most_prompt_tokens(content) < 50_300 * count + 400


def test_images_of_the_responses_api_count_in_the_same_way() -> None:
    url = json.loads(encode_body(body(headrace.image(LARGE))))["messages"][0]["content"][1]["image_url"][
        "url"
    ]
    content = encode_body(
        {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": url}]}]}
    )
    assert 1_000 < estimate_prompt_tokens(content) < 1_100
    assert 50_000 < most_prompt_tokens(content) < 50_300


@pytest.mark.parametrize("part", [headrace.audio(wav_file(20)), headrace.file(PDF + bytes(500_000))])
@pytest.mark.parametrize("form", [bytes, spaced])
def test_audio_and_files_count_less_than_text_of_their_length(part: Any, form: Any) -> None:
    content = form(encode_body(body(part)))
    assert len(content) / 50 < estimate_prompt_tokens(content) < len(content) / 30
    assert most_prompt_tokens(content) == len(content)


@given(st.text(max_size=50), st.sampled_from([bytes, spaced]))
def test_a_text_counts_as_text_even_if_it_looks_like_an_image(text: str, form: Any) -> None:
    image = encode_body(body(headrace.image(image_file("PNG")))).decode()
    for prompt in (text, f"{text}{image}", f"data:image/png;base64,{text}", json.dumps(image)):
        content = form(encode_body(body({"type": "text", "text": prompt})))
        assert estimate_prompt_tokens(content) == len(content) // 4 + 1
        assert most_prompt_tokens(content) == len(content)


@given(st.binary(max_size=300))
def test_any_bytes_have_an_estimate(content: bytes) -> None:
    content = b'"type","url":"data:image/a;base64,' + content
    assert 0 < estimate_prompt_tokens(content) <= len(content) // 4 + 1 + 1_000 * content.count(b"image_url")
