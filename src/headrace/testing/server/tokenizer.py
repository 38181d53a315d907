"""A simple, predictable tokenizer: the endpoint counts its tokens and cuts answers between them.

A token is up to four letters or digits, or up to four other signs, with the white space before it. White
space at the end of a text is not part of a token. So `Gartenschlauch` is four tokens and `Hello, world!` is
six. Real tokenizers differ, but their counts add up and their limits hold in the same way.
"""

import re

_TOKEN = re.compile(r"\s*(?:\w{1,4}|[^\w\s]{1,4})")


def count_tokens(text: str) -> int:
    """The number of tokens in the text."""
    return len(_TOKEN.findall(text))


def split_tokens(text: str) -> list[str]:
    """The tokens of the text in order. White space at its end is added to the last one."""
    tokens: list[str] = _TOKEN.findall(text)
    end = sum(map(len, tokens))
    if end < len(text):
        tokens[-1:] = [(tokens[-1] if tokens else "") + text[end:]]
    return tokens


def first_tokens(text: str, limit: int) -> str:
    """The first `limit` tokens of the text, as text."""
    tokens = split_tokens(text)
    return text if len(tokens) <= limit else "".join(tokens[:limit])
