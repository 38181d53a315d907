"""Fetches the file of a batch's requests from the endpoint."""

from __future__ import annotations

import os
from pathlib import Path

import attrs
import msgspec

from headrace.plugins import EncodedBody
from headrace_batch.batch_api import EndpointApi, PartEndpoint
from headrace_batch.part_file import PartWriter, custom_id_of, part_path, remove_file, request_line


class BatchRequest(msgspec.Struct):
    """A request in the file of a batch, as any program may have written it."""

    custom_id: str
    body: msgspec.Raw
    url: str | None = None


_decode = msgspec.json.Decoder(BatchRequest).decode


@attrs.frozen
class FetchedRequests:
    """What the file of a batch holds.

    Attributes:
        rows: How many requests it has.
        malformed: Lines that are not requests.
        size: Bytes of the part's file.
        digest: The digest of the part's file.
    """

    rows: int
    malformed: int
    size: int
    digest: str


async def download(api: EndpointApi, file: str, path: Path) -> None:
    """Store the content of a file of the endpoint."""
    fresh = path.with_suffix(".new")
    with fresh.open("wb") as written:
        async with api.content(file) as (_, parts):
            async for data in parts:
                written.write(data)
        written.flush()
        os.fsync(written.fileno())
    os.replace(fresh, path)


def read_request(line: bytes) -> BatchRequest | None:
    """Read a line; None if it is not a request."""
    try:
        line.decode()  # msgspec does not check the text of a body that it skips
        found = _decode(line)
        EncodedBody(bytes(found.body))
    except (ValueError, RecursionError):
        return None
    return found if found.url is None or found.url.startswith("/") else None


async def fetch_requests(endpoint: PartEndpoint, file: str, folder: Path, number: int) -> FetchedRequests:
    """Store the requests of a batch that another program made, as the file of a part."""
    fetched = part_path(folder, number).with_suffix(".fetched")
    await download(endpoint.api, file, fetched)
    malformed = 0
    writer = PartWriter(folder, number)
    with fetched.open("rb") as lines:
        for line in lines:
            if not line.strip():
                continue
            found = read_request(line.removeprefix(b"\xef\xbb\xbf"))
            if found is None:
                malformed += 1
                continue
            url = found.url or endpoint.dialect.url_prefix + "/chat/completions"
            id = custom_id_of(found.custom_id)
            writer.add(request_line(id, url, endpoint.dialect.line, bytes(found.body)))
    remove_file(fetched)
    return FetchedRequests(writer.rows, malformed, writer.size, writer.finish())
