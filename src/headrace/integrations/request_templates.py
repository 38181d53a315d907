"""Copies earlier requests of the library that differ only in their content.

The library takes 40 µs to build a request, most of it for a URL and headers that are the same each time. It
builds the first request of a kind, and later ones are copies of it, with everything that the library adds.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from types import ModuleType
from typing import Any, ClassVar, NamedTuple, cast

_MOST_TEMPLATES = 256

_PER_REQUEST = ("content-length", "transfer-encoding", "cookie")
"""Headers that the library adds for the content and from its cookies, unless the caller sets them."""


class _RequestTemplate(NamedTuple):
    method: str
    url: Any
    headers: Any


class TemplatingClient:
    """The part of a client that both libraries share; a base class in front of the library's own."""

    library: ClassVar[ModuleType]

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._templates: dict[Hashable, _RequestTemplate] = {}

    def build_request(self, method: str, url: Any, **options: Any) -> Any:
        """Build a request; see ``build_request`` of the library's ``AsyncClient``."""
        kind = self._kind(method, url, **options)
        template = self._templates.get(kind)
        if template is not None:
            return self._copy(template, options)
        request = super().build_request(method, url, **options)  # type: ignore[misc]
        if kind is not None:
            self._keep(kind, request, options.get("headers"))
        return request

    def _kind(
        self,
        method: str,
        url: Any,
        *,
        content: Any = None,
        headers: Any = None,
        timeout: object = None,  # not part of the kind
        **others: Any,
    ) -> Hashable | None:
        """The key of a request's template. None: the request cannot be copied."""
        client, pairs = cast(Any, self), _pairs(headers)
        if (
            pairs is None
            or not content
            or type(content) is not bytes
            or any(others.values())
            or client.params
        ):
            return None
        address = str(url)
        base = None if "://" in address else str(client.base_url)
        return method, address, base, pairs, tuple(client.headers.raw)

    def _keep(self, kind: Hashable, request: Any, own_headers: Any) -> None:
        client = cast(Any, self)
        named = self.library.Headers(own_headers)
        if any(name in named or name in client.headers for name in _PER_REQUEST):
            return
        headers = self.library.Headers(request.headers)
        headers.pop("cookie", None)
        if len(self._templates) == _MOST_TEMPLATES:
            self._templates.clear()
        self._templates[kind] = _RequestTemplate(request.method, request.url, headers)

    def _copy(self, template: _RequestTemplate, options: Mapping[str, Any]) -> Any:
        library, client, content = self.library, cast(Any, self), options["content"]
        timeout = options.get("timeout", library.USE_CLIENT_DEFAULT)
        limits = client.timeout if timeout is library.USE_CLIENT_DEFAULT else library.Timeout(timeout)
        headers = library.Headers(template.headers)
        headers["Content-Length"] = str(len(content))
        request = library.Request(
            template.method,
            template.url,
            headers=headers,
            cookies=client.cookies,
            stream=library.ByteStream(content),
            extensions={"timeout": limits.as_dict()},
        )
        request.read()
        return request


def _pairs(headers: Any) -> tuple[Any, ...] | None:
    """Headers in comparable form. None: comparing takes longer than building a request."""
    if type(headers) is list:
        return tuple(map(tuple, headers))
    if type(headers) is dict:
        return tuple(headers.items())
    raw = () if headers is None else getattr(headers, "raw", None)
    return None if raw is None else tuple(raw)
