"""A tokenizer simple enough to predict: what the endpoint counts and where it cuts.

A token is up to four letters or digits, or up to four other signs, with the white space before it; white
space at the end of a text belongs to no token. So `Gartenschlauch` is four tokens and `Hello, world!` is six.
Real tokenizers differ; what holds here as there is that the counts add up and that a limit is kept.
"""

import re

_TOKEN = re.compile(r"\s*(?:\w{1,4}|[^\w\s]{1,4})")


def count_tokens(text: str) -> int:
    """How many tokens the text has."""
    return len(_TOKEN.findall(text))


def split_tokens(text: str) -> list[str]:
    """The tokens of the text in order; joined they are the text, its trailing white space put to the last."""
    tokens: list[str] = _TOKEN.findall(text)
    end = sum(map(len, tokens))
    if end < len(text):
        tokens[-1:] = [(tokens[-1] if tokens else "") + text[end:]]
    return tokens


def first_tokens(text: str, limit: int) -> str:
    """The text up to the end of its `limit`-th token; all of it if it has no more than that."""
    tokens = split_tokens(text)
    return text if len(tokens) <= limit else "".join(tokens[:limit])
