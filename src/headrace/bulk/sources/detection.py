"""The form of an input, found by its content and not by its name."""

from __future__ import annotations

from typing import Literal

from headrace.bulk.sources.encodings import encoding_by_mark, encoding_without_mark
from headrace.bulk.sources.files import InputFile
from headrace.errors import InputError

SourceKind = Literal["csv", "jsonl", "json", "batch", "parquet", "arrow", "excel", "rows"]

_BINARY: tuple[tuple[bytes, Literal["parquet", "arrow", "zip"]], ...] = (
    (b"PAR1", "parquet"),
    (b"ARROW1\x00\x00", "arrow"),
    (b"\xff\xff\xff\xff", "arrow"),  # the stream format
    (b"PK\x03\x04", "zip"),
    (b"PK\x05\x06", "zip"),
)

_AFTER_A_NAME = (b",", b";", b"\t", b"|", b"\r", b"\n")
"""What follows ``PAR1`` if that is the name of the first column of a CSV file."""

_REFUSED = (
    (b"FEA1", "is Feather of version 1; write it again as version 2, which is Arrow"),
    (
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
        "is an old or locked Excel file; save it as .xlsx without a password",
    ),
    (b"\xfd7zXZ\x00", "is compressed with xz; decompress it first, or use gzip or zstd"),
    (b"7z\xbc\xaf\x27\x1c", "is a 7z archive; unpack it first"),
    (b"SQLite format 3\x00", "is an SQLite database; export a table as CSV"),
    (b"Obj\x01", "is Avro; convert it to Parquet"),
    (b"%PDF-", "is a PDF; headrace run reads tables and lists of objects"),
)

_JSON_VALUE = b'{["]-0123456789'
"""What may follow ``[`` in JSON. Not a letter: a column of a CSV file may be called ``[name]``."""


def detect_kind(file: InputFile) -> SourceKind:
    """The kind of an input; "jsonl" also for OpenAI's batch format.

    Raises:
        InputError: It is empty, or of a kind that is not supported.
    """
    head = file.head
    binary = next((kind for magic, kind in _BINARY if head.startswith(magic)), None)
    if head[4:5] in _AFTER_A_NAME and binary == "parquet":
        binary = None
    if binary is not None:
        kind: SourceKind = "excel" if binary == "zip" else binary
        if file.compression:
            what = "a ZIP file" if binary == "zip" else binary.capitalize()
            raise InputError(f"{file.name}: is {what} inside {file.compression}; decompress it first")
        if binary == "zip":
            _check_workbook(file)
        if file.encoding is not None:
            raise InputError(
                f"{file.name}: is {kind.capitalize()}, which has no encoding; leave out encoding="
            )
        return kind
    for magic, problem in _REFUSED:
        if head.startswith(magic):
            raise InputError(f"{file.name}: {problem}")
    if head.startswith(b"BZh") and head[4:10] == b"1AY&SY":
        raise InputError(f"{file.name}: is compressed with bzip2; decompress it first, or use gzip or zstd")
    if file.encoding is None and encoding_by_mark(head) is None:
        _check_text(file)
    return _text_kind(file)


def _check_workbook(file: InputFile) -> None:
    """Raise `InputError` for a ZIP file that is not a workbook of Excel."""
    import zipfile

    try:
        with file.raw() as content, zipfile.ZipFile(content) as archive:
            names = set(archive.namelist())
    except (zipfile.BadZipFile, EOFError, NotImplementedError) as error:
        raise InputError(
            f"{file.name}: is a damaged Excel or ZIP file: {error}; copy or download the file again"
        ) from None
    if "xl/workbook.xml" in names:
        return
    if "xl/workbook.bin" in names:
        raise InputError(f"{file.name}: is an Excel file of the kind .xlsb; save it as .xlsx")
    if "content.xml" in names and "mimetype" in names:
        raise InputError(f"{file.name}: is an OpenDocument file; save it as .xlsx or CSV")
    raise InputError(f"{file.name}: is a ZIP archive; unpack it and name a file in it")


def _check_text(file: InputFile) -> None:
    """Raise `InputError` for content that is neither UTF-8 nor likely to be another encoding of text."""
    likely = encoding_without_mark(file.head)
    if likely is not None:
        raise InputError(
            f"{file.name}: is probably {likely} without a byte order mark; name the encoding with encoding="
        )
    if b"\0" in file.head:
        try:
            file.head[:-4].decode()  # a character may be cut at the end
        except UnicodeDecodeError:
            raise InputError(
                f"{file.name}: is a binary file of an unknown kind; "
                "convert it to CSV, JSONL, JSON, Parquet, Arrow or .xlsx"
            ) from None


def _text_kind(file: InputFile) -> SourceKind:
    with file.open_text() as content:
        # The file may begin with any number of blank lines.
        for block in iter(lambda: content.read(1 << 16), b""):
            text = block.removeprefix(b"\xef\xbb\xbf").lstrip()
            if text.startswith(b"{"):
                return "jsonl"
            if text.startswith(b"["):
                after = text[1:].lstrip()
                return "json" if not after or after[0] in _JSON_VALUE else "csv"
            if text[:9].lower().startswith((b"<!doctype", b"<html", b"<?xml")):
                raise InputError(f"{file.name}: is HTML or XML; convert it to CSV or JSON")
            if text:
                return "csv"
    raise InputError(f"{file.name}: the file is empty")
