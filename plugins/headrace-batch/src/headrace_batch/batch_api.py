"""The requests about files and batches. Each is one attempt; others decide what to do after an error."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

import attrs

from headrace import Headers, HeadraceError, InvalidReply, Request, StatusError, Timeout
from headrace.bulk import DirectCalls
from headrace_batch.dialect import BatchView, Dialect
from headrace_batch.upload_content import upload_content

_SLOWEST_UPLOAD = 50_000
"""Bytes per second of an upload that counts as hanging below it."""

_MOST_PAGES = 100
"""Pages of a list that are read: 10,000 batches."""


class BatchApi(Protocol):
    """What an endpoint does with files and batches. Each method may raise `CallError`."""

    async def upload(self, path: Path, name: str) -> str: ...
    async def find_files(self, name: str) -> list[str]: ...
    async def delete_file(self, id: str) -> None: ...
    async def create(
        self, file: str, path: str, model: str | None, marks: Mapping[str, str]
    ) -> BatchView: ...
    async def batches(self) -> list[BatchView]: ...
    async def batch(self, id: str) -> BatchView: ...
    async def cancel(self, id: str) -> None: ...


class NoBatchesError(HeadraceError):
    """The endpoint has no batches."""


def was_refused(error: StatusError) -> bool:
    """Whether a response means that the endpoint has not done what the request asked for."""
    return 400 <= error.status < 500 and error.status not in {408, 409}


class EndpointApi:
    """A `BatchApi` over the connections of a client.

    Args:
        calls: Makes the calls.
        dialect: The dialect of the endpoint.
    """

    def __init__(self, calls: DirectCalls, dialect: Dialect) -> None:
        self._calls = calls
        self._dialect = dialect

    async def upload(self, path: Path, name: str) -> str:
        """Upload a file, and return its id."""
        with upload_content(path, name) as content:
            request = Request(
                None,
                "/files",
                timeout=Timeout(60 + len(content) / _SLOWEST_UPLOAD),
                headers=(("Content-Type", content.content_type),),
            )
            reply = await self._calls.send(request, content)
        return _text(reply.body, "id")

    async def find_files(self, name: str) -> list[str]:
        """The ids of the files with this name, the newest first."""
        async with aclosing(self._listed("/files", "purpose=batch")) as files:
            return [_text(each, "id") async for each in files if each.get("filename") == name]

    async def delete_file(self, id: str) -> None:
        """Delete a file; one that does not exist is deleted already."""
        try:
            await self._calls.send(Request(None, f"/files/{id}", "DELETE"))
        except StatusError as error:
            if error.status != 404:
                raise

    async def create(self, file: str, path: str, model: str | None, marks: Mapping[str, str]) -> BatchView:
        """Create a batch of an uploaded file."""
        dialect = self._dialect
        body = dialect.create(file, dialect.url_prefix + path, model, marks)
        reply = await self._calls.send(Request(body, dialect.jobs_path))
        return self._read(reply.body)

    async def batches(self) -> list[BatchView]:
        """All batches, the newest first.

        Raises:
            NoBatchesError: The endpoint has none.
        """
        try:
            async with aclosing(self._listed(self._dialect.jobs_path, "")) as jobs:
                return [self._read(each) async for each in jobs]
        except StatusError as error:
            if error.status in {404, 405, 501}:
                raise NoBatchesError(
                    f"{self._calls.endpoint.base_url} has no batches (GET {self._dialect.jobs_path}: status "
                    f"{error.status}); leave out engine=, and the calls are made at once"
                ) from error
            raise

    async def batch(self, id: str) -> BatchView:
        """A batch."""
        reply = await self._calls.send(Request(None, f"{self._dialect.jobs_path}/{id}", "GET"))
        return self._read(reply.body)

    async def cancel(self, id: str) -> None:
        """Cancel a batch; it ends some time later. One that has ended stays as it is."""
        try:
            await self._calls.send(Request(None, f"{self._dialect.jobs_path}/{id}/cancel"))
        except StatusError as error:
            if not was_refused(error) and error.status != 409:
                raise

    @asynccontextmanager
    async def content(self, file: str) -> AsyncIterator[tuple[Headers, AsyncIterator[bytes]]]:
        """The content of a file, in parts."""
        async with self._calls.stream(Request(None, f"/files/{file}/content", "GET")) as stream:
            yield stream

    async def _listed(self, path: str, query: str) -> AsyncGenerator[Mapping[str, Any], None]:
        after: str | None = None
        for number in range(_MOST_PAGES):
            page = "&".join(filter(None, (query, self._dialect.page(number, after))))
            try:
                body = (await self._calls.send(Request(None, f"{path}?{page}", "GET"))).body
            except StatusError as error:
                if after is None or not was_refused(error):
                    raise
                # The last object of the page before was deleted in between. The list must be read again.
                raise InvalidReply(f"the list has changed while it was read ({error})") from error
            objects = list(_objects(body))
            for each in objects:
                yield each
            if not objects or not body.get("has_more", self._dialect.pages_have_no_end):
                return
            after = _text(objects[-1], "id")

    def _read(self, body: Any) -> BatchView:
        _text(body, "id")
        return self._dialect.read(body)


def _text(body: Any, name: str) -> str:
    value = body.get(name) if isinstance(body, Mapping) else None
    if not isinstance(value, str) or not value:
        raise InvalidReply(f"the endpoint's answer has no {name!r}")
    return value


def _objects(body: Any) -> Iterator[Mapping[str, Any]]:
    data = body.get("data") if isinstance(body, Mapping) else None
    if not isinstance(data, list):
        raise InvalidReply("the endpoint's answer is not a list")
    return (each for each in data if isinstance(each, Mapping))


@attrs.frozen
class PartEndpoint:
    """An endpoint for parts: its requests about files and batches, and its dialect."""

    api: EndpointApi
    calls: DirectCalls
    dialect: Dialect
