"""What must be true of every view of the page: legible, named, inside of the window, usable by keyboard."""

from __future__ import annotations

from typing import Any, Literal

from playwright.sync_api import Page

_THEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
_LEAST_CONTRAST = 4.5
_LEAST_TARGET = 24
"""Pixels of a thing to click."""

_UNNAMED = """() => [...document
    .querySelectorAll("button, input, select, dialog, table, [role=region], [role=group], progress")]
    .filter(each => !(each.labels?.length || each.ariaLabel || each.getAttribute("aria-labelledby")
        || each.textContent.trim()))
    .map(each => each.outerHTML)"""
_CONTRASTS = """() => {
    const numbers = color => color.match(/[\\d.]+/g).map(Number);
    const light = color => {
        const [r, g, b] = numbers(color).slice(0, 3).map(c => c / 255)
            .map(c => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const ground = element => {
        for (let each = element; each; each = each.parentElement) {
            const color = getComputedStyle(each).backgroundColor;
            if (numbers(color)[3] !== 0) return light(color);
        }
        throw new Error("no ground");
    };
    const found = [];
    const check = (element, color, what) => {
        const [ink, paper] = [light(color), ground(element)];
        const contrast = (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
        if (contrast < LEAST) found.push(`${what}: ${contrast.toFixed(2)}`);
    };
    for (const element of document.body.querySelectorAll("*")) {
        if (!element.checkVisibility() || element.disabled) continue;
        const hasText = [...element.childNodes].some(node => node.nodeType === 3 && node.data.trim());
        const style = getComputedStyle(element);
        if (hasText && element.namespaceURI.endsWith("svg")) check(element, style.fill, element.textContent);
        else if (hasText || element.value) check(element, style.color, element.textContent || element.value);
        const { placeholder } = element;
        if (placeholder) check(element, getComputedStyle(element, "::placeholder").color, placeholder);
        const before = getComputedStyle(element, "::before");
        if (!["none", "normal", '""'].includes(before.content)) check(element, before.color, before.content);
    }
    return found;
}""".replace("LEAST", str(_LEAST_CONTRAST))
_SMALL = """() => [...document.querySelectorAll("button, input, select, summary")]
    .filter(each => each.checkVisibility())
    .map(each => [each.getBoundingClientRect(), each.outerHTML.slice(0, 120)])
    .filter(([box]) => box.width < LEAST || box.height < LEAST)
    .map(([box, html]) => `${box.width}x${box.height} ${html}`)""".replace("LEAST", str(_LEAST_TARGET))
_UNSEEN_FOCUS = """() => {
    const before = document.activeElement, place = document.querySelector("dialog[open]") ?? document;
    const found = [];
    for (const each of place.querySelectorAll("button, input, select, summary, [tabindex='0']")) {
        if (!each.checkVisibility() || each.disabled) continue;
        each.focus({ preventScroll: true });
        const style = getComputedStyle(each);
        const room = parseFloat(style.outlineWidth) + parseFloat(style.outlineOffset);
        const box = each.getBoundingClientRect();
        let clipped = false;
        for (let around = each.parentElement; around; around = around.parentElement) {
            if (getComputedStyle(around).overflowX === "visible") continue;
            const its = around.getBoundingClientRect();
            clipped ||= box.left - room < its.left || box.right + room > its.right;
        }
        if (document.activeElement !== each || style.outlineStyle === "none" || clipped) {
            found.push(`${clipped ? "clipped" : "no outline"}: ${each.outerHTML.slice(0, 120)}`);
        }
    }
    before?.focus({ preventScroll: true });
    return found;
}"""
_OUTSIDE = """() => [...document.body.querySelectorAll("h1, h2, h3, p, dt, dd, th, td, button, label")]
    .filter(each => each.checkVisibility() && each.clientWidth > 1)
    .filter(each => each.scrollWidth > each.clientWidth + 1)
    .map(each => each.outerHTML.slice(0, 120))"""
"""Elements whose text is longer than they are wide."""


def assert_usable(window: Page, view: str) -> None:
    """A view is usable in both themes; it keeps the focus, and leaves the window in the dark theme.

    Args:
        window: The window.
        view: What is shown, for the message of a failure.
    """
    window.keyboard.press("Shift")  # the focus is shown to people with a keyboard
    found: dict[str, Any] = {"unnamed": window.evaluate(_UNNAMED), "outside": window.evaluate(_OUTSIDE)}
    found["too small"] = window.evaluate(_SMALL)
    found["focus"] = window.evaluate(_UNSEEN_FOCUS)
    for theme in _THEMES:
        window.emulate_media(color_scheme=theme)
        found[f"contrast in {theme}"] = window.evaluate(_CONTRASTS)
    width = window.viewport_size["width"]  # type: ignore[index]
    page = window.evaluate("document.documentElement.scrollWidth")
    if page > width:
        found["width"] = [page]
    wrong = {what: each for what, each in found.items() if each}
    assert not wrong, f"{view}: {wrong}"
