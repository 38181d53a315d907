"""Text in other encodings than UTF-8: known by its mark, named by the user, or refused with a good guess."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.bulk import Source
from headrace.errors import InputError

MARKED = ["utf-8-sig", "utf-16", "utf-32"]
NAMED = [
    "utf-8",
    "utf-16-le",
    "utf-16-be",
    "utf-32-le",
    "utf-32-be",
    "utf-7",
    "gb18030",
    "cp1252",
    "shift_jis",
]
quick = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def encodable(encoding: str) -> st.SearchStrategy[str]:
    """Texts that an encoding can represent."""
    characters = st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"])
    text = st.text(characters, min_size=1)
    if encoding in ("cp1252", "shift_jis"):
        return text.map(lambda each: each.encode(encoding, "ignore").decode(encoding) or "x")
    return text


FORMS: dict[str, Callable[[str], str]] = {
    "csv": lambda text: 'id,text\n"1","' + text.replace('"', '""') + '"\n',
    "jsonl": lambda text: json.dumps({"id": "1", "text": text}, ensure_ascii=False) + "\n",
    "json": lambda text: json.dumps([{"id": "1", "text": text}], ensure_ascii=False, indent=1),
}


@pytest.mark.parametrize("form", FORMS)
@quick
@given(data=st.data(), encoding=st.sampled_from(MARKED + NAMED), block=st.sampled_from([3, 1 << 17]))
def test_text_in_any_encoding_is_read_back(
    tmp_path: Path, form: str, data: st.DataObject, encoding: str, block: int
) -> None:
    text = data.draw(encodable(encoding))
    content = FORMS[form](text).encode(encoding)
    path = tmp_path / "in"
    path.write_bytes(content)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("headrace.bulk.sources.encodings._BLOCK", block)
        source = Source(path, encoding=None if encoding in MARKED else encoding)
        assert [dict(item.row) for item in source.items()] == [{"id": "1", "text": text}]
    assert source.kind == form


def test_compressed_text_may_have_any_encoding(tmp_path: Path) -> None:
    path = tmp_path / "in.gz"
    path.write_bytes(gzip.compress("id,text\n1,Größe\n".encode("utf-16")))
    assert next(Source(path).items()).row == {"id": "1", "text": "Größe"}


@pytest.mark.parametrize(
    ("text", "encoding", "likely"),
    [
        ("Müller", "cp1252", "cp1252"),
        ("Preis: 5 € für “Größe”", "cp1252", "cp1252"),
        ("Привет, мир", "cp1251", "cp1251"),
        ("こんにちは、世界", "shift_jis", "shift_jis"),
        ("你好，世界", "gb18030", "gb18030"),
        ("안녕하세요 세계", "euc_kr", "euc_kr"),
        ("こんにちは、世界" * 1000, "shift_jis", "shift_jis"),
        ("Łódź, święto", "cp1250", "cp1250"),
        ("Jürgen aus Köln", "cp850", "cp850"),
        ("Jürgen aus Köln", "mac_roman", "mac_roman"),
    ],
)
@pytest.mark.parametrize("form", FORMS)
def test_text_that_is_not_utf8_is_refused_with_its_line_and_the_likely_encoding(
    tmp_path: Path, text: str, encoding: str, likely: str, form: str
) -> None:
    path = tmp_path / "in"
    path.write_bytes(FORMS[form](text).encode(encoding))
    with pytest.raises(InputError) as caught:
        list(Source(path).items())
    message = str(caught.value)
    place = {"csv": ":2", "jsonl": ":1", "json": ", row 1"}[form]
    assert message.startswith(f"{path}{place}: not UTF-8, but probably ")
    assert likely in message
    assert message.endswith("; name the encoding with encoding=")
    assert next(Source(path, encoding=encoding).items()).row == {"id": "1", "text": text}


@pytest.mark.parametrize(
    ("content", "encoding", "message"),
    [
        (
            b"a,b\n1,2\nM\xfcller,3\n",
            None,
            ":3: not UTF-8, but probably cp1252; name the encoding with encoding=",
        ),
        (b'{"a": 1}\n{"a": "M\xfc"}\n', None, ":2: not UTF-8, but probably cp1252; name"),
        (b"a\nx\nx\x9bX\x81y\n", None, ":3: not UTF-8; name the encoding with encoding=, like cp1252"),
        (b"a,b\n1,2\nx\x9bX\x81y,3\n", "cp1252", ":3: not cp1252; name the encoding with encoding=, like"),
        (
            "a\n1\nü".encode("utf-16")[:-1],
            None,
            ":3: not UTF-16 (truncated data); copy or download the file again, or name",
        ),
        (
            "a,b\n1,ü\n".encode("utf-16-le"),
            None,
            ": is probably utf-16-le without a byte order mark; name",
        ),
        (
            "a,b\n1,2\n".encode("utf-16-be"),
            None,
            ": is probably utf-16-be without a byte order mark; name",
        ),
        (
            "a,b\n1,2\n".encode("utf-32-le"),
            None,
            ": is probably utf-32-le without a byte order mark; name",
        ),
        (
            "a,b\n1,2\n".encode("utf-32-be"),
            None,
            ": is probably utf-32-be without a byte order mark; name",
        ),
        (b"", "utf-16", ": the file is empty"),
    ],
)
def test_messages_about_encodings_name_the_line(
    tmp_path: Path, content: bytes, encoding: str | None, message: str
) -> None:
    path = tmp_path / "in"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        list(Source(path, encoding=encoding).items())
    assert str(caught.value).startswith(f"{path}{message}")
    assert "\n" not in str(caught.value)


def test_a_bad_line_far_down_is_named_exactly(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_bytes(b"a,b\n" + b"x,y\n" * 30_000 + b"\xff,z\n" + b"x,y\n" * 1000)
    for encoding, number in ((None, 30_002), ("ascii", 30_002), ("shift_jis", 30_002)):
        with pytest.raises(InputError, match=rf"in\.csv:{number}: not "):
            list(Source(path, encoding=encoding).items())


@pytest.mark.parametrize("encoding", ["klingon", "base64", "rot13", "", "undefined", "x\0y"])
def test_an_unknown_encoding_is_refused_with_those_that_are_known(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "in.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError) as caught:
        Source(tmp_path / "in.csv", encoding=encoding)
    assert str(caught.value).startswith(f"encoding={encoding!r}: is no encoding of text; ")
    with pytest.raises(InputError, match=r"encoding='cp1525': .* did you mean 'cp1252'\?"):
        Source(tmp_path / "in.csv", encoding="cp1525")


def test_an_encoding_is_a_part_of_the_digest_unless_it_is_utf8(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_text("a,b\n1,2\n")
    digests = [Source(path, encoding=each).digest() for each in (None, "UTF8", "cp1252", "latin-1")]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3
