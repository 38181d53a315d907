"""Record a terminal session of ``headrace demo`` as ``docs/images/demo.svg``, which plays once.

    uv run --isolated --no-dev --extra standard --group docs python docs/site/record_demo.py

The command runs in a terminal of its own. Each text of a line is an element that is shown for its time.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import pty
import struct
import sys
import sysconfig
import termios
import time
from html import escape
from pathlib import Path

import attrs
import pyte

OUT = Path(__file__).parents[1] / "images" / "demo.svg"
COMMAND = "headrace demo"
COLUMNS, ROWS = 88, 20
CELL, LINE, MARGIN, BAR = 7.8, 19, 18, 34
TYPING = 0.06  # seconds for each letter of the command
STEP = 0.15  # seconds; changes that follow sooner are one
PAUSE = 1.0  # seconds; the recording shortens longer pauses, such as the start of Python, to this
COLORS = {
    "default": "#d5dde3",
    "black": "#6b7a86",
    "red": "#ff8b80",
    "green": "#7fd6a4",
    "brown": "#e8c46a",
    "blue": "#7fb8f0",
    "magenta": "#d7a3ec",
    "cyan": "#6fd3d8",
    "white": "#ffffff",
}


@attrs.define
class Shown:
    """The markup of one line of the screen, and from when to when it was there, in seconds."""

    row: int
    markup: str
    start: float
    end: float | None = None


def record(screen: pyte.Screen) -> list[tuple[float, dict[int, str]]]:
    """The screen's lines, each time that they have changed."""
    child, terminal = pty.fork()
    if child == 0:
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        os.environ |= {
            "TERM": "xterm-256color",
            "PATH": os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]]),
        }
        os.execvp("headrace", COMMAND.split())
    stream = pyte.ByteStream(screen)
    last, shown_at = time.monotonic(), 0.0
    frames: list[tuple[float, dict[int, str]]] = []
    while True:
        try:
            read = os.read(terminal, 65536)
        except OSError:  # how Linux says that the command has ended
            break
        if not read:
            break
        stream.feed(read)
        now = time.monotonic()
        shown_at, last = shown_at + min(now - last, PAUSE), now
        if frames and shown_at - frames[-1][0] < STEP:
            frames[-1] = (frames[-1][0], lines_of(screen))
        else:
            frames.append((shown_at, lines_of(screen)))
    _, status = os.waitpid(child, 0)
    assert status == 0, f"the demo ended with status {status}"
    return frames


def lines_of(screen: pyte.Screen) -> dict[int, str]:
    """The markup of each line that is not empty."""
    lines = {}
    for row, text in enumerate(screen.display):
        if not text.strip():
            continue
        cells = [screen.buffer[row][column] for column in range(len(text.rstrip()))]
        spans = []
        for (color, bold), run in itertools.groupby(cells, key=lambda cell: (cell.fg, cell.bold)):
            letters = escape("".join(cell.data for cell in run))
            paint = COLORS.get(color) or f"#{color}"
            weight = ' font-weight="bold"' if bold else ""
            spans.append(f'<tspan fill="{paint}"{weight}>{letters}</tspan>')
        lines[row] = "".join(spans)
    return lines


def shown(frames: list[tuple[float, dict[int, str]]]) -> list[Shown]:
    """Each text of each line with its time, after the command was typed."""
    prompt = f'<tspan fill="{COLORS["green"]}">$ </tspan>'
    result = [
        Shown(0, prompt + f'<tspan fill="{COLORS["white"]}">{COMMAND[:letters]}</tspan>', letters * TYPING)
        for letters in range(len(COMMAND) + 1)
    ]
    for one, after in itertools.pairwise(result):
        one.end = after.start
    typed = (len(COMMAND) + 4) * TYPING
    there: dict[int, Shown] = {}
    for when, lines in frames:
        for row in there.keys() | lines.keys():
            before, markup = there.get(row), lines.get(row)
            if before is not None and before.markup == markup:
                continue
            if before is not None:
                before.end = typed + when
                del there[row]
            if markup is not None:
                there[row] = Shown(row + 1, markup, typed + when)
                result.append(there[row])
    return result


def drawn(texts: list[Shown]) -> str:
    rows = 1 + max(text.row for text in texts)
    width, height = COLUMNS * CELL + 2 * MARGIN, rows * LINE + BAR + MARGIN
    elements = []
    for text in texts:
        when = f"{1 if text.end is None else text.end - text.start:.2f}s {text.start:.2f}s"
        last = "" if text.end is not None else ' class="last"'
        y = BAR + LINE * (text.row + 0.75)
        elements.append(
            f'<text x="{MARGIN}" y="{y:g}"{last} style="animation:show {when}">{text.markup}</text>'
        )
    dots = "".join(f'<circle cx="{22 + 18 * number}" cy="19" r="5" fill="#44525d"/>' for number in range(3))
    return f"""\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" role="img">
<title>A terminal session of {COMMAND}</title>
<style>
text {{ font: 13px ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; white-space: pre }}
text {{ visibility: hidden }}
text.last {{ animation-fill-mode: forwards !important }}
@keyframes show {{ from, to {{ visibility: visible }} }}
@media (prefers-reduced-motion: reduce) {{
text {{ animation: none !important }}
text.last {{ visibility: visible }}
}}
</style>
<rect x="0.5" y="0.5" width="{width - 1:g}" height="{height - 1:g}" rx="9" fill="#1c262d" stroke="#44525d"/>
{dots}
{chr(10).join(elements)}
</svg>
"""


if __name__ == "__main__":
    texts = shown(record(pyte.Screen(COLUMNS, ROWS)))
    OUT.write_text(drawn(texts), encoding="utf-8")
    sys.exit(print(f"{OUT}: {len(texts)} texts, {OUT.stat().st_size / 1024:.0f} KiB"))
