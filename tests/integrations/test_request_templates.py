"""Copied requests are the same as the library builds them."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

Through = Callable[..., Any]

NAMES = st.sampled_from(
    ["Authorization", "x-request-id", "X-Request-Id", "Cookie", "Host", "content-LENGTH", "Transfer-Encoding"]
)
VALUES = st.sampled_from(["1", "2", "a, b", "", b"caf\xe9"])
PAIRS = st.lists(st.tuples(NAMES, VALUES), max_size=4)
URLS = st.sampled_from(
    [
        "http://a.test/v1/chat",
        "HTTP://a.test:80/v1/ch\u00e4t?q=a b",
        "/v1/chat",
        "chat?b=c",
        "https://u:p@a.test/x",
    ]
)
CONTENTS = st.sampled_from([b"{}", b'{"model":"m"}', b"x" * 1_000, b"", "text", None])
TIMEOUTS = st.sampled_from([{}, {"timeout": 1.0}, {"timeout": None}, {"timeout": (1.0, 2.0, 3.0, 4.0)}])
CHANGES: dict[str, Callable[[Any], object]] = {
    "nothing": lambda client: None,
    "headers": lambda client: client.headers.update({"x-team": "b"}),
    "a cookie": lambda client: client.cookies.set("a", "b"),
    "another cookie": lambda client: client.cookies.set("a", "c"),
    "base_url": lambda client: setattr(client, "base_url", "https://c.test"),
    "params": lambda client: setattr(client, "params", {"p": "1"}),
    "timeout": lambda client: setattr(client, "timeout", 7.0),
}


def spelled(library: ModuleType, pairs: list[tuple[str, str | bytes]], form: str) -> Any:
    """Headers in one of the forms that the libraries accept."""
    forms: dict[str, Callable[[], Any]] = {
        "list": lambda: pairs,
        "lists": lambda: [list(pair) for pair in pairs],
        "tuple": lambda: tuple(pairs),
        "dict": lambda: dict(pairs),
        "headers": lambda: library.Headers(pairs),
        "none": lambda: None,
    }
    return forms[form]()


def built(client: Any, method: str, url: str, keywords: dict[str, Any]) -> Any:
    """The visible parts of a request; cookies have another place among the headers."""
    request = client.build_request(method, url, **keywords)
    pairs = [pair for pair in request.headers.raw if pair[0] != b"Cookie"]
    cookies = request.headers.get_list("cookie")
    return request.method, str(request.url), pairs, cookies, request.content, request.extensions


@pytest.mark.parametrize("form", ["list", "lists", "tuple", "dict", "headers", "none"])
@given(
    requests=st.lists(
        st.tuples(st.sampled_from(["POST", "put"]), URLS, PAIRS, CONTENTS, TIMEOUTS), min_size=1
    ),
    data=st.data(),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_a_copy_equals_what_the_library_builds(
    library: ModuleType, through: Through, form: str, requests: list[tuple[Any, ...]], data: st.DataObject
) -> None:
    options = {"base_url": "https://b.test/api", "headers": {"X-Team": "a"}}
    ours, theirs = through(**options), library.AsyncClient(**options)
    for method, url, pairs, content, timeout in requests:
        change = data.draw(st.sampled_from(list(CHANGES)))
        for client in (ours, theirs):
            CHANGES[change](client)
        for again in (content, b'{"another":"one"}'):
            keywords = {"content": again, "headers": spelled(library, pairs, form), **timeout}
            assert built(ours, method, url, keywords) == built(theirs, method, url, keywords)
