"""Reads the lines of a batch's output and error files, in any order and with any damage."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Any

import attrs
import msgspec


class _Response(msgspec.Struct):
    status_code: int | None = None
    request_id: str | None = None
    body: msgspec.Raw = msgspec.Raw(b"null")


class ResultLine(msgspec.Struct):
    """The result of one row: a response with any status, or the reason why there is none.

    The reason is an object with a code and a message at OpenAI, and a text or another object elsewhere.
    """

    custom_id: str
    response: _Response | None = None
    error: Any = None

    @property
    def status(self) -> int | None:
        """The status of the response; None without one."""
        return None if self.response is None else self.response.status_code

    @property
    def body(self) -> bytes:
        """The body of the response; empty without one. Mistral has an error beside it, and no body."""
        body = b"" if self.response is None else bytes(self.response.body)
        if body == b"null" and self.error:
            return msgspec.json.encode({"error": {"message": self.reason}})
        return body

    @property
    def reason(self) -> str:
        """Why the request got no response."""
        error = self.error
        named = (error.get("message"), error.get("code")) if isinstance(error, Mapping) else (error,)
        text = next((each for each in named if isinstance(each, str) and each), None)
        return text or _as_text(error)[:_LONGEST_REASON]


_LONGEST_REASON = 200
"""Characters of a reason that has an unknown form."""


def _as_text(error: Any) -> str:
    return msgspec.json.encode(error).decode() if error else "no reason"


_decode = msgspec.json.Decoder(ResultLine).decode


@attrs.define
class FileReport:
    """What was wrong with the files of a batch.

    Attributes:
        lines: Lines that were read, of any kind.
        malformed: Lines that cannot be read as results.
        foreign: Results of rows that are not in the part.
        unused: Results of rows of the part that have changed, or that this session does not have.
        repeated: Further results of rows that have one.
        cut: Whether a file ended within a line.
    """

    lines: int = 0
    malformed: int = 0
    foreign: int = 0
    unused: int = 0
    repeated: int = 0
    cut: bool = False

    def __str__(self) -> str:
        found = [
            f"{number:,} {one if number == 1 else many}"
            for number, one, many in (
                (self.malformed, "malformed line", "malformed lines"),
                (self.foreign, "line of another request", "lines of other requests"),
                (self.repeated, "second line of a row", "second lines of a row"),
                (self.unused, "result of a changed or missing row", "results of changed or missing rows"),
            )
            if number
        ]
        return ", ".join([*found, *(["a last line that is cut off"] if self.cut else [])])


def read_result_line(line: bytes) -> ResultLine | None:
    """Read a line; None for a malformed one."""
    try:
        line.decode()  # msgspec does not check the text of a body that it skips
        return _decode(line)
    except (ValueError, RecursionError):
        return None


async def split_lines(parts: AsyncIterator[bytes], report: FileReport) -> AsyncGenerator[bytes, None]:
    """The lines of a file that arrives in parts; a last one without an end is yielded too."""
    begun: list[bytes] = []  # joined only when the line ends: a line may have 100 MB
    async for part in parts:
        *ends, rest = part.split(b"\n")
        for end in ends:
            line = b"".join((*begun, end)) if begun else end
            begun.clear()
            if line.strip():
                report.lines += 1
                yield line
        if rest:
            begun.append(rest)
    last = b"".join(begun)
    if last.strip():
        report.lines += 1
        report.cut = read_result_line(last) is None
        if not report.cut:
            yield last
