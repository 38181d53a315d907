"""The embedded endpoint in memory, in virtual time."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import httpx

from headrace.testing.server import Behaviour, create_app
from headrace.testing.simulation.virtual_time import run_in_virtual_time

CHAT = "/v1/chat/completions"


def line_of(custom_id: str, url: str = CHAT, **body: Any) -> dict[str, Any]:
    """A line of an input file; without another body, a chat that says its id."""
    chat = {"model": "m", "messages": [{"role": "user", "content": f"I am {custom_id}"}]}
    return {"custom_id": custom_id, "method": "POST", "url": url, "body": body or chat}


def content_of(lines: Iterable[Any]) -> bytes:
    """The content of an input file; lines that are bytes are written as they are."""
    return b"".join(
        (line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n" for line in lines
    )


class Endpoint:
    """A client of the endpoint that takes JSON apart."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http: httpx.AsyncClient = http

    async def upload(self, content: bytes, name: str = "in.jsonl", **fields: str) -> httpx.Response:
        """Upload a file."""
        form = {"purpose": "batch"} | fields
        return await self.http.post("/files", data=form, files={"file": (name, content)})

    async def create(self, content: bytes, endpoint: str = CHAT, **members: Any) -> dict[str, Any]:
        """Upload a file, and create a batch with it."""
        file = (await self.upload(content)).json()
        body = {"input_file_id": file["id"], "endpoint": endpoint, "completion_window": "24h"} | members
        return await self.json("POST", "/batches", json=body)

    async def batch(self, id: str) -> dict[str, Any]:
        """The batch with this id."""
        return await self.json("GET", f"/batches/{id}")

    async def json(self, method: str, path: str, status: int = 200, **options: Any) -> dict[str, Any]:
        """The response to a request, which has this status."""
        response = await self.http.request(method, path, **options)
        assert response.status_code == status, response.text
        found: dict[str, Any] = response.json()
        return found

    async def lines(self, file_id: str | None) -> dict[str, dict[str, Any]]:
        """The lines of an output or error file by their ids, in their order; none without a file."""
        if file_id is None:
            return {}
        content = (await self.http.get(f"/files/{file_id}/content")).content
        lines = [json.loads(line) for line in content.splitlines()]
        found = {line["custom_id"]: line for line in lines}
        assert len(found) == len(lines)
        return found


def in_virtual_time(main: Callable[[Endpoint], Awaitable[None]], **behaviour: Any) -> None:
    """Run ``main`` with an endpoint of this behaviour, in virtual time."""
    app = create_app(Behaviour(**behaviour))

    async def run() -> None:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://endpoint.test/v1") as http:
            await main(Endpoint(http))

    run_in_virtual_time(run, seed=0)
