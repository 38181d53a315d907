"""The requests about files and batches. Each is one attempt; others decide what to do after an error."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

import attrs
import msgspec

from headrace import Headers, InvalidReply, Reply, Request, StatusError, Timeout
from headrace.bulk import DirectCalls
from headrace_batch.dialect import BatchView, Dialect, NoBatchesError, is_processed
from headrace_batch.marks import marks_in_name
from headrace_batch.upload_content import upload_content

_SLOWEST_UPLOAD = 50_000
"""Bytes per second of an upload that counts as hanging below it."""

_MOST_PAGES = 100
"""Pages of a list that are read: 10,000 batches."""

_SHOWN = 100
"""Bytes of an answer in a message."""


class BatchApi(Protocol):
    """What an endpoint does with files and batches. Each method may raise `CallError`."""

    async def upload(self, path: Path, name: str) -> str: ...
    async def find_files(self, name: str) -> list[str]: ...
    async def is_processed(self, file: str) -> bool: ...
    async def has_file(self, id: str) -> bool: ...
    async def delete_file(self, id: str) -> None: ...
    async def create(
        self, file: str, path: str, model: str | None, marks: Mapping[str, str]
    ) -> BatchView: ...
    async def batches(self) -> list[BatchView]: ...
    async def batch(self, id: str) -> BatchView: ...
    async def cancel(self, id: str) -> None: ...


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
        """Upload a file, and return its id.

        Raises:
            NoBatchesError: The endpoint takes no files.
        """
        with upload_content(path, name, self._dialect.upload_fields(name)) as content:
            request = Request(
                None,
                self._dialect.upload_path,
                timeout=Timeout(60 + len(content) / _SLOWEST_UPLOAD),
                headers=(("Content-Type", content.content_type),),
            )
            try:
                reply = await self._calls.send(request, content)
            except StatusError as error:
                self._raise_if_missing(error, f"POST {self._dialect.upload_path}")
                raise
        return _text(reply.body, "id")

    async def find_files(self, name: str) -> list[str]:
        """The ids of the files with this name, the newest first."""
        return [id for id, found in (await self._file_names()).items() if found == name]

    async def is_processed(self, file: str) -> bool:
        """Whether a batch can be created of an uploaded file."""
        if not self._dialect.processes_files:
            return True
        reply = await self._ask_for_file(file, "GET")
        return reply is None or is_processed(reply.body)  # one that was deleted is found out by the create

    async def has_file(self, id: str) -> bool:
        """Whether there is such a file for this key."""
        return await self._ask_for_file(id, "GET") is not None

    async def delete_file(self, id: str) -> None:
        """Delete a file; one that does not exist is deleted already."""
        await self._ask_for_file(id, "DELETE")

    async def _ask_for_file(self, id: str, method: str) -> Reply | None:
        """The reply about a file; None if it does not exist."""
        try:
            return await self._calls.send(Request(None, f"/files/{id}", method))
        except StatusError as error:
            if error.status != 404:
                raise
            return None

    async def create(self, file: str, path: str, model: str | None, marks: Mapping[str, str]) -> BatchView:
        """Create a batch of an uploaded file."""
        dialect = self._dialect
        body = dialect.create(file, dialect.url_prefix + path, model, marks)
        made = (await self._calls.send(Request(body, dialect.jobs_path))).body
        if dialect.created_in is not None and isinstance(made, Mapping):
            made = made.get(dialect.created_in)
        return self._read(made)

    async def batches(self) -> list[BatchView]:
        """All batches, the newest first.

        Raises:
            NoBatchesError: The endpoint has none.
        """
        try:
            async with aclosing(self._listed(self._dialect.jobs_path, "")) as jobs:
                found = [self._read(each) async for each in jobs]
        except StatusError as error:
            self._raise_if_missing(error, f"GET {self._dialect.jobs_path}")
            raise
        if self._dialect.has_metadata or not found:
            return found
        names = await self._file_names()
        return [
            attrs.evolve(batch, metadata=marks_in_name(names.get(batch.input_file or "", "")))
            for batch in found
        ]

    async def batch(self, id: str) -> BatchView:
        """A batch."""
        return self._read(await self._job(f"/{id}", "GET"))

    async def cancel(self, id: str) -> None:
        """Cancel a batch; it ends some time later. One that has ended stays as it is."""
        try:
            await self._job(f"/{id}/cancel", "POST")
        except StatusError as error:
            if not was_refused(error) and error.status != 409:
                raise

    @asynccontextmanager
    async def content(self, file: str) -> AsyncIterator[tuple[Headers, AsyncIterator[bytes]]]:
        """The content of a file, in parts. If it begins like a page, reading it raises `InvalidReply`."""
        request = Request(None, f"/files/{file}/content", "GET")
        async with (
            self._calls.stream(request) as (headers, parts),
            aclosing(_without_page(parts)) as content,
        ):
            yield headers, content

    async def _job(self, path: str, method: str) -> Any:
        """The JSON of one batch.

        It may have a member ``error`` of the batch, which `DirectCalls.send` takes for an error of the call.
        """
        request = Request(None, f"{self._dialect.jobs_path}{path}", method)
        async with self._calls.stream(request) as (_, parts):
            content = b"".join([part async for part in parts])
        try:
            return msgspec.json.decode(content)
        except ValueError:
            raise _not_json(content) from None

    async def _file_names(self) -> dict[str, str]:
        """The names of all files by their ids, the newest first."""
        async with aclosing(self._listed("/files", self._dialect.list_files)) as files:
            return {_text(each, "id"): str(each.get("filename")) async for each in files}

    def _raise_if_missing(self, error: StatusError, request: str) -> None:
        if error.status in {404, 405, 501}:
            raise NoBatchesError(
                f"{self._calls.endpoint.base_url} has no batches ({request}: status {error.status}); "
                "leave out engine=, and the calls are made at once"
            ) from error

    async def _listed(self, path: str, query: str) -> AsyncGenerator[Mapping[str, Any], None]:
        after: str | None = None
        for number in range(_MOST_PAGES):
            page = "&".join(filter(None, (query, self._dialect.page(number, after))))
            try:
                body = (await self._calls.send(Request(None, f"{path}?{page}".rstrip("?"), "GET"))).body
            except StatusError as error:
                if after is None or not was_refused(error):
                    raise
                # The last object of the page before was deleted in between. The list must be read again.
                raise InvalidReply(f"the list has changed while it was read ({error})") from error
            objects = list(_objects(body))
            for each in objects:
                yield each
            more = isinstance(body, Mapping) and body.get("has_more", self._dialect.pages_have_no_end)
            if not objects or not more:
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


async def _without_page(parts: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    is_first = True
    async for part in parts:
        if is_first and part.lstrip().startswith(b"<"):
            raise _not_json(part)
        is_first = False
        yield part


def _not_json(content: bytes) -> InvalidReply:
    """The error for an answer with status 200 that is a page or another text."""
    text = content[:_SHOWN].decode(errors="replace")
    return InvalidReply(
        f"{text!r} (status 200, but the body is not JSON; does base_url lead to the API?)", is_json=False
    )


def _objects(body: Any) -> Iterator[Mapping[str, Any]]:
    data = body.get("data") if isinstance(body, Mapping) else body
    if not isinstance(data, list):
        raise InvalidReply("the endpoint's answer is not a list")
    return (each for each in data if isinstance(each, Mapping))


@attrs.frozen
class PartEndpoint:
    """An endpoint for parts: its requests about files and batches, and its dialect."""

    api: EndpointApi
    calls: DirectCalls
    dialect: Dialect
