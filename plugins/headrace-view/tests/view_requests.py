"""Requests to the page without a server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from headrace_view.runs import Runs
from headrace_view.web import Guard, loopback_hosts, make_app

OWN = {"host": "127.0.0.1", "origin": "http://127.0.0.1"}


@contextmanager
def opened(*outputs: Path, **options: Any) -> Iterator[Guard]:
    """The page about outputs."""
    runs = Runs(outputs)
    for number in range(len(outputs)):
        runs.get(number)
    while runs.step():
        pass
    yield Guard(make_app(runs, **options), "t", loopback_hosts("127.0.0.1"))
    runs.close()


async def get(app: Guard, path: str, **parameters: str) -> Any:
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        answer = await client.get(f"/t/api/{path}", params=parameters, headers=OWN)
    return answer.json() if answer.status_code == 200 else (answer.status_code, answer.text)


async def post(app: Guard, path: str, body: Any, kind: str = "application/json") -> tuple[int, str]:
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        answer = await client.post(f"/t/api/{path}", content=content, headers={**OWN, "content-type": kind})
    return answer.status_code, answer.text
