"""Cells with images, files and audio: which parts they become, and which are refused."""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.wire import media_files as files

import headrace
from headrace.bulk.prompts.conversation import add_parts
from headrace.bulk.prompts.media_columns import MediaColumns, as_names
from headrace.errors import InputError
from headrace.wire.request_bodies import Message

PNG, GIF = files.image_file("PNG"), files.image_file("GIF")
URL = "https://img.test/rose.png"


def base64_of(content: bytes) -> str:
    return base64.b64encode(content).decode()


URI = f"data:image/gif;base64,{base64_of(GIF)}"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Paths are relative to the working directory."""
    for name, content in (("rose.png", PNG), ("[1].png", GIF), ("a.pdf", files.PDF), ("a.mp3", files.MP3)):
        (tmp_path / name).write_bytes(content)
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def of_kind(kind: str) -> MediaColumns:
    """The column ``a`` of one kind."""
    return MediaColumns(**dict[str, Any]({kind: ("a",)}))


def parts_of(columns: MediaColumns, cell: Any) -> list[dict[str, Any]]:
    return [dict(part) for part in columns.parts({"a": cell}, "rows.csv:2")]


@pytest.mark.parametrize(
    ("cell", "sources"),
    [
        ("rose.png", [PNG]),
        (URI, [GIF]),
        (URL, [URL]),
        (PNG, [PNG]),
        (["rose.png", URI, GIF], [PNG, GIF, GIF]),
        ('["rose.png", "[1].png"]', [PNG, GIF]),
        (' ["rose.png", null, ""]', [PNG]),
        ("[1].png", [GIF]),
        (None, []),
        ("", []),
        (" ", []),
        (b"", []),
        ([], []),
        ("[]", []),
        ([None, ""], []),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_a_cell_of_images_becomes_parts(cell: Any, sources: list[Any]) -> None:
    columns = MediaColumns(image=("a",))
    assert parts_of(columns, cell) == [dict(headrace.image(source)) for source in sources]


@pytest.mark.parametrize("several", [False, True])
def test_a_column_of_bytes_is_decoded(several: bool) -> None:
    columns = MediaColumns(image=("a",), file=("b.c",), binary=frozenset({"a", "b.c"}))
    image = base64_of(PNG)
    row = {"a": [image, None, image] if several else image, "b": {"c": base64_of(files.PDF)}}
    found = [dict(part) for part in columns.parts(row, "")]
    assert found[:-1] == [dict(headrace.image(PNG))] * (2 if several else 1)
    assert found[-1] == dict(headrace.file(files.PDF))


def test_images_come_before_files_and_files_before_audio() -> None:
    columns = MediaColumns(audio=("a",), file=("b", "a"), image=("c",))
    row = {"a": "a.mp3", "b": "a.pdf", "c": "rose.png"}
    types = [part["type"] for part in columns.parts(row, "")]
    assert types == ["image_url", "file", "file", "input_audio"]
    assert columns.columns == ["c", "b", "a"]


def test_images_are_scaled_but_not_behind_a_url() -> None:
    columns = MediaColumns(image=("a",), max_pixels=300)
    scaled, linked = parts_of(columns, ["rose.png", URL])
    assert scaled == dict(headrace.image(PNG, max_pixels=300)) != dict(headrace.image(PNG))
    assert linked == dict(headrace.image(URL))


@pytest.mark.parametrize(
    ("kind", "cell", "message"),
    [
        ("image", 5, "column 'a': 5 is not a path, a data URI or a URL"),
        ("image", True, "column 'a': True is not a path, a data URI or a URL"),
        ("image", [[PNG]], "column 'a': [b'\\x89PNG"),
        (
            "image",
            {"bytes": "…", "path": None},
            "column 'a' holds an object; name a key of it, like 'a.bytes'",
        ),
        ("image", {}, "column 'a': {} is not a path, a data URI or a URL"),
        ("image", '["rose.png", 1]', "column 'a': 1 is not a path, a data URI or a URL"),
        (
            "image",
            "ftp://h/a.png",
            "column 'a': image 'ftp://…': ftp URLs cannot be read; pass a path or bytes",
        ),
        (
            "file",
            "https://h/a.pdf?key=1",
            "column 'a': file 'https://h/a.pdf': endpoints fetch only images; download it, and pass its path",
        ),
        ("audio", URL, f"column 'a': audio '{URL}': endpoints fetch only images; "),
    ],
)
def test_a_value_that_is_no_source_is_an_error_of_the_row(kind: str, cell: Any, message: str) -> None:
    columns = of_kind(kind)
    with pytest.raises(InputError) as caught:
        columns.parts({"a": cell}, "rows.csv:2")
    assert str(caught.value).startswith(message)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("kind", "cell", "message"),
    [
        ("image", "no.png", "image 'no.png' cannot be read: No such file or directory; check the path"),
        ("image", "folder", "image 'folder' is not a file; pass the path of a file"),
        ("image", "a\0b", "image 'a\\x00b' cannot be read: embedded null "),
        ("image", "x" * 5000, "image '…" + "x" * 80 + "' cannot be read: File name too long; check the path"),
        ("image", "a.pdf", "image 'a.pdf' is application/pdf, judged by its content; use headrace.file"),
        ("image", "data:image/png;base64,?", "image 'data:image/png;base64,…' is not valid base64: "),
        ("file", "no.pdf", "file 'no.pdf' cannot be read: No such file or directory; check the path"),
        ("audio", "rose.png", "audio 'rose.png' is image/png, judged by its content; use headrace.image"),
    ],
)
def test_a_wrong_file_is_an_error_that_names_row_and_column(kind: str, cell: str, message: str) -> None:
    (part,) = of_kind(kind).parts({"a": cell}, "rows.csv:2")
    with pytest.raises(InputError) as caught:
        dict(part)
    assert str(caught.value).startswith(f"rows.csv:2: column 'a': {message}")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 250


def test_a_file_is_checked_without_reading_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (folder / "large.png").open("wb") as file:
        file.truncate(21 * 1024 * 1024)  # sparse
    parts = MediaColumns(image=("a",)).parts({"a": ["rose.png", PNG, URI, URL, "large.png", "no.png"]}, "r:1")
    monkeypatch.delattr("builtins.open")
    for part in parts[:4]:
        part.check_file()
    with pytest.raises(InputError, match=r"^r:1: column 'a': image 'large.png' has 22,020,096 bytes, more "):
        parts[4].check_file()
    with pytest.raises(InputError, match=r"^r:1: column 'a': image 'no.png' cannot be read: No such file"):
        parts[5].check_file()
    (scaled,) = MediaColumns(image=("a",), max_pixels=9).parts({"a": "large.png"}, "r:1")
    scaled.check_file()  # it is small when it is sent


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"image": ""}, "image=: must be the name of a column, not ''"),
        ({"file": 5}, "file=: must be the name of a column, not 5"),
        ({"audio": ["a", None]}, "audio=: must be the name of a column, not None"),
        ({"image": ["a", "b", "a"]}, "image=: the column 'a' is given twice; name it once"),
        ({"max_pixels": 9}, "max_pixels=9: there are no images; name their column with image="),
        ({"max_pixels": 9, "file": "a"}, "max_pixels=9: there are no images; name their column with image="),
        ({"image": "a", "max_pixels": 0}, "max_pixels=0: must be an integer of at least 1"),
        ({"image": "a", "max_pixels": True}, "max_pixels=True: must be an integer of at least 1"),
    ],
)
def test_a_wrong_argument_is_an_error(arguments: dict[str, Any], message: str) -> None:
    image, file, audio = (as_names(arguments.get(name)) for name in ("image", "file", "audio"))
    with pytest.raises(InputError) as caught:
        MediaColumns(image=image, file=file, audio=audio, max_pixels=arguments.get("max_pixels"))
    assert str(caught.value) == message


def test_a_missing_pillow_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(InputError, match=r"^max_pixels= needs Pillow; pip install 'headrace\[images\]'$"):
        MediaColumns(image=("a",), max_pixels=9)


cells = st.recursive(
    st.none() | st.booleans() | st.integers() | st.binary() | st.text() | st.sampled_from([URI, URL, PNG]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=4,
)


@given(
    cells | cells.map(lambda cell: json.dumps(cell, default=base64_of)),
    st.sampled_from(["image", "file", "audio"]),
)
def test_any_cell_becomes_parts_or_an_error_in_one_line(cell: Any, kind: str) -> None:
    reason = ""
    try:
        parts = parts_of(of_kind(kind), cell)
    except InputError as error:
        reason = str(error)
    if reason:
        assert reason.startswith(("column 'a'", "rows.csv:2: column 'a'"))
        assert "\n" not in reason
        assert len(reason) < 500
    else:
        assert all(json.loads(json.dumps(part))["type"] for part in parts)


PART = {"type": "image_url", "image_url": {"url": URL}}
TEXT = {"type": "text", "text": "Hi"}


@pytest.mark.parametrize(
    ("messages", "last"),
    [
        ([{"role": "user", "content": "Hi"}], {"role": "user", "content": [TEXT, PART]}),
        (
            [{"role": "user", "content": [TEXT], "name": "a"}],
            {"role": "user", "content": [TEXT, PART], "name": "a"},
        ),
        ([{"role": "user", "content": ""}], {"role": "user", "content": [PART]}),
        ([{"role": "user", "content": None}], {"role": "user", "content": [PART]}),
        ([{"role": "assistant", "content": "Hi"}], {"role": "user", "content": [PART]}),
        ([], {"role": "user", "content": [PART]}),
    ],
)
def test_parts_follow_the_text_of_the_user(messages: list[dict[str, Any]], last: dict[str, Any]) -> None:
    before = json.dumps(messages)
    found: list[Message] = list(messages)
    add_parts(found, [PART])
    assert found[-1] == last
    assert json.dumps(messages) == before, "a message may be shared by several rows"
