"""Reads the lines of a batch's output and error files, in any order and with any damage."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator

import attrs
import msgspec


class _Response(msgspec.Struct):
    status_code: int
    request_id: str | None = None
    body: msgspec.Raw = msgspec.Raw(b"null")


class _Error(msgspec.Struct):
    code: str | None = None
    message: str | None = None


class ResultLine(msgspec.Struct):
    """The result of one row: a response with any status, or the reason why there is none."""

    custom_id: str
    response: _Response | None = None
    error: _Error | None = None

    @property
    def status(self) -> int | None:
        """The status of the response."""
        return None if self.response is None else self.response.status_code

    @property
    def body(self) -> bytes:
        """The body of the response; empty without one."""
        return b"" if self.response is None else bytes(self.response.body)

    @property
    def reason(self) -> str:
        """Why the request got no response."""
        error = self.error or _Error()
        return error.message or error.code or "no reason"


_decode = msgspec.json.Decoder(ResultLine).decode


@attrs.define
class FileReport:
    """What was wrong with the files of a batch.

    Attributes:
        lines: Lines that were read, of any kind.
        malformed: Lines that cannot be read as results.
        foreign: Results of rows that are not in the part, or that nobody waits for.
        repeated: Further results of rows that have one.
        cut: Whether a file ended within a line.
    """

    lines: int = 0
    malformed: int = 0
    foreign: int = 0
    repeated: int = 0
    cut: bool = False

    def __str__(self) -> str:
        found = [
            f"{number:,} {what}"
            for number, what in (
                (self.malformed, "malformed lines"),
                (self.foreign, "lines of other rows"),
                (self.repeated, "second lines of a row"),
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
    rest = b""
    async for part in parts:
        *lines, rest = (rest + part).split(b"\n")
        for line in lines:
            if line.strip():
                report.lines += 1
                yield line
    if rest.strip():
        report.lines += 1
        report.cut = read_result_line(rest) is None
        if not report.cut:
            yield rest
