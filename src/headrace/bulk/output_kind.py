"""Messages about files that are not the output of a run; each says what the file is."""

from __future__ import annotations

import msgspec

from headrace._support.lenient_json import NOT_JSON, decode_json
from headrace.bulk.output_line import OutputLine, decode_line
from headrace.errors import InputError

_NAME_ONE = "name the output of a run"
_FOREIGN = "is not the output of a run: its first line {}; name the file that a run wrote"
_SIDECAR = ".journal"
_BINARY = {
    b"\x1f\x8b": f"is compressed with gzip; decompress it, then {_NAME_ONE}",
    b"\x28\xb5\x2f\xfd": f"is compressed with zstd; decompress it, then {_NAME_ONE}",
    b"PAR1": f"is a Parquet file; {_NAME_ONE}, which a table is made of",
    b"ARROW1": f"is an Arrow file; {_NAME_ONE}",
    b"PK\x03\x04": f"is an Excel file or a ZIP file; {_NAME_ONE}",
    b"<!": f"is an HTML page; {_NAME_ONE}, which a report is made of",
}
"""What files are, by their first bytes."""


def cannot_be_read(path: object, error: OSError) -> str:
    """The message about an output that cannot be opened."""
    if isinstance(error, IsADirectoryError):
        return f"{path}: is a directory; {_NAME_ONE}"
    return f"{path}: {error.strerror}"


def read_output_line(raw: bytes, name: str, number: int) -> OutputLine:
    """Read a line of a file that should be an output.

    Args:
        raw: The line.
        name: The file, for messages.
        number: The number of the line, from 1.

    Raises:
        InputError: It is not an output line. About a first line, the message says what the file is.
    """
    try:
        line = decode_line(raw)
        if line.index is None:
            raise msgspec.ValidationError(f"its id is {line.id!r}")
    except NOT_JSON as error:
        if number == 1 and (kind := _kind_of(raw, name)):
            raise InputError(f"{name}: {kind}") from None
        raise InputError(f"{name}:{number}: not an output line of headrace run: {error}") from None
    return line


def check_torn_line(raw: bytes, name: str, number: int) -> None:
    """Check a line without a line feed at its end, which may be the beginning of an output line.

    Raises:
        InputError: It is the first line, and it is not.
    """
    if number > 1:
        return
    try:
        decode_json(raw)
    except NOT_JSON:
        if raw.startswith(b"{"):
            return
    read_output_line(raw, name, number)


def _kind_of(raw: bytes, name: str) -> str:
    """What a file is that begins with this line; empty for an output with a damaged first line."""
    for magic, kind in _BINARY.items():
        if raw.startswith(magic):
            return kind
    try:
        value = decode_json(raw)
    except NOT_JSON:
        if raw.startswith(b"{"):
            return ""
        return _FOREIGN.format("is not JSON")
    if isinstance(value, dict) and "headrace" in value:
        if "id" in value:
            return ""
        return f"is the sidecar of a run; name its output, {name.removesuffix('.journal')}"
    return _FOREIGN.format("is other JSON")
