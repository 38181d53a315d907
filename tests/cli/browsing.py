"""Opens pages in Debian's Chromium, at a given width, in light or dark mode."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

FLAGS = """
--no-sandbox --disable-gpu --disable-quic --no-first-run
--disable-background-networking --disable-component-update --disable-sync
"""
LABELS = """() => [...document.querySelectorAll("svg text")]
    .map(text => ({
        text: text.textContent,
        svg: text.closest("svg").ariaLabel,
        ...text.getBoundingClientRect().toJSON(),
    }))
    .filter(label => label.width > 0)"""
CONTRASTS = """() => {
    const light = color => {
        const [r, g, b] = color.match(/[\\d.]+/g).slice(0, 3).map(c => c / 255)
            .map(c => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const ground = light(getComputedStyle(document.documentElement).backgroundColor);
    const contrast = (element, property) => {
        const ink = light(getComputedStyle(element)[property]);
        return (Math.max(ink, ground) + 0.05) / (Math.min(ink, ground) + 0.05);
    };
    return [
        ...[...document.querySelectorAll("h1, h2, p, dt, .value, .note, th, td, .example, footer")]
            .map(element => contrast(element, "color")),
        ...[...document.querySelectorAll("svg text")].map(element => contrast(element, "fill")),
    ];
}"""


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


def opened(
    browser: Browser, page: Path, width: int, scheme: Any = "light", *, with_script: bool = False
) -> Page:
    """Open the page in a new window; fail on a console message, a dialogue or a further request."""
    context = browser.new_context(
        viewport={"width": width, "height": 800}, color_scheme=scheme, java_script_enabled=with_script
    )
    window = context.new_page()
    messages: list[str] = []
    requests: list[str] = []
    window.on("console", lambda message: messages.append(message.text))
    window.on("pageerror", lambda error: messages.append(str(error)))
    window.on("dialog", lambda dialog: messages.append(dialog.message))
    window.on("request", lambda request: requests.append(request.url))
    window.goto(page.as_uri(), wait_until="networkidle")
    assert requests == [page.as_uri()]
    assert messages == []
    return window


def boxes(labels: list[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Pairs of overlapping labels of one picture."""
    for number, one in enumerate(labels):
        for other in labels[:number]:
            apart = (
                one["right"] <= other["left"]
                or other["right"] <= one["left"]
                or one["bottom"] <= other["top"] + 2
                or other["bottom"] <= one["top"] + 2
            )
            if one["svg"] == other["svg"] and not apart:
                yield one, other


def assert_legible(window: Page) -> None:
    width = window.viewport_size["width"]  # type: ignore[index]
    assert window.evaluate("document.documentElement.scrollWidth") <= width
    for svg in window.locator("svg.chart").all():
        box = svg.bounding_box()
        assert box
        assert box["width"] > 200
        assert box["height"] > 100
    labels = window.evaluate(LABELS)
    assert len(labels) >= 6 * window.locator("svg.chart").count()
    assert list(boxes(labels)) == []
    assert all(label["left"] >= 0 and label["right"] <= width for label in labels)
    assert window.locator("text='NaN'").count() == 0
