"""How many tokens a request's prompt has, from its encoded body; the endpoint alone counts them exactly.

A body is text, except for images, audio and files, which are base64 in it. An image of a megabyte has about
a thousand tokens, so its bytes say nothing about them.

    part of the body                        estimate             at most
    --------------------------------------  -------------------  --------------------
    text and the rest                       a token for 4 bytes  a token for each byte
    an image, in the body or behind a URL   1,000                50,000
    base64 of audio and of files            a token for 40       a token for each byte

Sources: OpenAI's guide "Images and vision" (an image of gpt-4o has 85 to 1,445 tokens, one of gpt-4o-mini up
to 48,169) and Anthropic's "Vision" (width times height / 750, about 1,600 at most). A file that is only
referred to by its id or URL is not counted.
"""

from __future__ import annotations

import re

_BYTES_PER_TOKEN = 4
_BASE64_PER_TOKEN = 40
_USUAL_IMAGE, _LARGEST_IMAGE = 1_000, 50_000

_HAS_PARTS = b'"type"'
"""In each body with parts that are not text; seldom in others."""

_IMAGE = re.compile(rb'"image_url"\s*:')
_DATA = re.compile(
    rb'"(?:url|image_url|file_data)"\s*:\s*"data:(image/)?[^",]{0,200};base64,'
    rb'|"input_audio"\s*:\s*\{[^}]{0,200}?"data"\s*:\s*"'
)
"""The beginning of base64. In a text, the quotes of these keys are escaped, so they do not match."""


def estimate_prompt_tokens(content: bytes) -> int:
    """Return about how many tokens the prompt in this body has.

    Args:
        content: The body of the request as it is sent.
    """
    if _HAS_PARTS not in content:
        return len(content) // _BYTES_PER_TOKEN + 1
    images, image_bytes, other_bytes = _media(content)
    text = len(content) - image_bytes - other_bytes
    return text // _BYTES_PER_TOKEN + images * _USUAL_IMAGE + other_bytes // _BASE64_PER_TOKEN + 1


def most_prompt_tokens(content: bytes) -> int:
    """Return how many tokens the prompt in this body has at most; for files by id or URL, it may have more.

    Args:
        content: The body of the request as it is sent.
    """
    if _HAS_PARTS not in content:
        return len(content)
    images, image_bytes, _ = _media(content)
    return len(content) - image_bytes + images * _LARGEST_IMAGE


def _media(content: bytes) -> tuple[int, int, int]:
    """The number of images, the bytes of those in the body, and the bytes of audio and files."""
    image_bytes = other_bytes = 0
    position = 0
    while (data := _DATA.search(content, position)) is not None:
        end = content.find(b'"', data.end())
        position = len(content) if end < 0 else end
        if data[1] is None:
            other_bytes += position - data.end()
        else:
            image_bytes += position - data.end()
    return len(_IMAGE.findall(content)), image_bytes, other_bytes
