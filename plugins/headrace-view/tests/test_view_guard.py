"""Who may use the page: token, host, origin and method of each request, and the headers of each response."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from starlette.types import Message

from headrace_view.runs import Runs
from headrace_view.web import Guard, loopback_hosts, make_app
from view_lines import make_line, write_output

TOKEN = "a-token_of-the-page"
HOST = "127.0.0.1:8123"
OWN = {"host": HOST, "origin": f"http://{HOST}"}


@pytest.fixture
def anyio_backend() -> str:
    """The server of the page runs on asyncio only."""
    return "asyncio"


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Guard]:
    """The page about a run, behind its guard, without a server."""
    runs = Runs([write_output(tmp_path / "out.jsonl", [make_line(1)])])
    assert runs.get(0)
    while runs.step():
        pass
    yield Guard(make_app(runs), TOKEN, loopback_hosts("127.0.0.1"))
    runs.close()


async def ask(app: Guard, path: str, headers: dict[str, str], method: str = "GET") -> httpx.Response:
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url=f"http://{HOST}") as client:
        return await client.request(method, path, headers=headers)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        (OWN, 200),
        ({"host": "localhost:8123"}, 200),
        ({"host": "[::1]:8123"}, 200),
        ({"host": "192.168.1.5:8123"}, 200),
        ({"host": "evil.example:8123"}, 403),
        ({"host": "127.0.0.1.evil.example"}, 403),
        ({"host": ""}, 403),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "https://127.0.0.1:8123"}, 403),
        ({"origin": "http://127.0.0.1:9999"}, 403),
        ({"sec-fetch-site": "same-origin"}, 200),
        ({"sec-fetch-site": "none"}, 200),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
    ],
)
async def test_only_requests_of_the_page_itself_are_answered(
    app: Guard, headers: dict[str, str], status: int
) -> None:
    for path in ("", "api/runs", "static/view.js", "api/runs/0/rows"):
        assert (await ask(app, f"/{TOKEN}/{path}", headers)).status_code == status


@pytest.mark.anyio
@pytest.mark.parametrize(
    "path",
    [
        "/",
        "",
        "/api/runs",
        f"/{TOKEN[:-1]}/",
        f"/{TOKEN}x/",
        f"//{TOKEN}/",
        f"/x/{TOKEN}/",
        f"/{TOKEN.upper()}/",
    ],
)
async def test_without_the_token_nothing_is_answered(app: Guard, path: str) -> None:
    refused = await ask(app, path, OWN)
    assert (refused.status_code, refused.text) == (
        404,
        "the page's whole URL is needed, as headrace view prints it",
    )


@pytest.mark.anyio
@pytest.mark.parametrize(
    "path",
    ["static/../app.py", "static/%2e%2e/app.py", "static//etc/passwd", "static/", "x"]
    + [f"api/runs/{'9' * digits}/rows" for digits in (1, 30, 5000)]
    + [f"api/runs/0/rows/{'9' * digits}" for digits in (1, 30, 5000)],
)
async def test_nothing_else_is_served(app: Guard, path: str) -> None:
    assert (await ask(app, f"/{TOKEN}/{path}", OWN)).status_code == 404


@pytest.mark.anyio
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
async def test_nothing_can_be_changed_without_buttons(app: Guard, method: str) -> None:
    for path in ("", "api/runs/0/rows", "api/runs/0/control"):
        answer = await ask(app, f"/{TOKEN}/{path}", OWN, method)
        assert answer.status_code in (404, 405)
        assert (await ask(app, f"/{TOKEN}/{path}", {"host": HOST}, method)).status_code == 403


@pytest.mark.anyio
@pytest.mark.parametrize("path", [f"/{TOKEN}/", f"/{TOKEN}/api/runs", f"/{TOKEN}/nothing", "/"])
async def test_every_response_forbids_foreign_content(app: Guard, path: str) -> None:
    headers = (await ask(app, path, OWN)).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert "require-trusted-types-for 'script'" in policy
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    assert "access-control-allow-origin" not in headers


@pytest.mark.anyio
async def test_the_page_has_no_inline_script_or_style(app: Guard) -> None:
    page = (await ask(app, f"/{TOKEN}/", OWN)).text
    assert page.count("<script") == 1
    assert "style=" not in page
    assert "<style" not in page
    assert "http" not in page.replace("http-equiv", "")


@pytest.mark.anyio
async def test_a_path_without_a_slash_is_refused(app: Guard) -> None:
    """A server gets it from ``OPTIONS * HTTP/1.1``, which httpx cannot send."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    headers = [(b"host", HOST.encode())]
    await app({"type": "http", "method": "OPTIONS", "path": "*", "headers": headers}, receive, send)
    assert sent[0]["status"] == 404
