"""Serves pages about runs, and opens them in Debian's Chromium.

Some of it is in the tests of the core, too: the tests of this plugin run without those.
"""

from __future__ import annotations

import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import attrs
import pytest
import uvicorn
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from headrace_view.runs import Runs
from headrace_view.server import bind, follow, server_settings
from headrace_view.web import Guard, loopback_hosts, make_app

FLAGS = """
--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-smooth-scrolling
--disable-background-networking --disable-component-update --disable-sync
"""

expect.set_options(timeout=20_000)  # other tests run at the same time


@attrs.frozen
class Served:
    """A page that is served; ``messages`` are what windows wrote to their consoles.

    Messages that match ``expected`` are left out: the browser's own about a request that was refused.
    """

    url: str
    browser: Browser
    expected: str = r"(?!)"
    messages: list[str] = attrs.field(factory=list)

    @contextmanager
    def window(self, width: int = 1440) -> Iterator[Page]:
        """The page in a new window, with its first rows and charts; no message may come."""
        context = self.browser.new_context(viewport={"width": width, "height": 900})
        window = context.new_page()
        requests: list[str] = []
        window.on("console", lambda message: self.messages.append(message.text))
        window.on("pageerror", lambda error: self.messages.append(str(error)))
        window.on("request", lambda request: requests.append(request.url))
        window.goto(self.url)
        window.wait_for_selector("#charts svg")
        window.wait_for_selector("#rows tbody tr")
        yield window
        assert [url for url in requests if not url.startswith(self.url)] == []
        context.close()
        assert [each for each in self.messages if not re.search(self.expected, each)] == []


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser; without one the test is skipped, except in CI."""
    program = shutil.which("chromium")
    if program is None:
        assert not os.environ.get("CI"), "chromium is not installed"
        pytest.skip("chromium is not installed")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=program, args=FLAGS.split())
        yield launched
        launched.close()


@contextmanager
def serving(*outputs: Path, port: int = 0, reads_on: bool = True, **options: Any) -> Iterator[str]:
    """The URL of a page about outputs; the server runs in a thread, and reads on from the first lines."""
    runs, bound = Runs(outputs), bind("127.0.0.1", port)
    app = Guard(make_app(runs, **options), "token", loopback_hosts("127.0.0.1"))
    server, ready = uvicorn.Server(server_settings(app)), threading.Event()

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            if reads_on:
                tasks.start_soon(follow, runs)
            ready.set()  # the socket is bound: connections wait until they are accepted
            bound.listen()
            await server.serve(sockets=[bound])
            tasks.cancel_scope.cancel()

    thread = threading.Thread(target=anyio.run, args=[main])
    thread.start()
    ready.wait()
    try:
        yield f"http://127.0.0.1:{bound.getsockname()[1]}/token/"
    finally:
        server.should_exit = True
        thread.join()
        bound.close()
        runs.close()


def assert_charts(window: Page) -> None:
    """The four charts are drawn, inside of the window, and in colours of the theme."""
    charts = window.locator("#charts .drawn")
    expect(charts.locator("h3")).to_have_text(["Throughput", "Latency", "Cost", "Failures"])
    expect(window.locator("#charts .drawn:has(svg)")).to_have_count(4)
    for chart in charts.all():
        box = chart.locator("svg").first.bounding_box()
        assert box
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= window.viewport_size["width"]  # type: ignore[index]
        assert box["height"] > 100
    expect(charts.locator("text='NaN'")).to_have_count(0)
    inks = "() => [...document.querySelectorAll('#charts svg text')].map(each => getComputedStyle(each).fill)"
    colours = {light_of(colour) for colour in window.evaluate(inks)}
    ground = light_of(window.evaluate("getComputedStyle(document.documentElement).backgroundColor"))
    assert all(abs(colour - ground) > 250 for colour in colours)


def light_of(colour: str) -> int:
    return sum(map(int, re.findall(r"\d+", colour)[:3]))


def click(control: Locator) -> None:
    control.click()


def press_enter(control: Locator) -> None:
    control.press("Enter")


USES: tuple[Callable[[Locator], None], ...] = (click, press_enter)
"""The ways to use a control: by mouse, and by keyboard."""
