"""Only regular files are opened, and never with a wait."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest

from headrace._support.regular_file import open_regular, read_regular

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such files in folders")


def replace_by_pipe(path: Path) -> None:
    os.mkfifo(path)


def replace_by_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


def replace_by_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("replace", [replace_by_pipe, replace_by_socket, replace_by_device, Path.mkdir])
def test_what_is_no_regular_file_is_an_error_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, replace: object
) -> None:
    monkeypatch.chdir(tmp_path)  # the path of a socket is short
    path = Path("out.jsonl")
    assert callable(replace)
    replace(path)
    before = os.listdir("/dev/fd")
    with pytest.raises(OSError) as caught:
        open_regular(path)
    assert caught.value.strerror
    assert len(os.listdir("/dev/fd")) == len(before)


def test_a_regular_file_is_read_also_through_a_link(tmp_path: Path) -> None:
    file, link = tmp_path / "a", tmp_path / "b"
    file.write_bytes(b"some\nlines\n")
    link.symlink_to(file)
    assert read_regular(link) == b"some\nlines\n"
    with open_regular(str(file)) as opened:
        assert opened.readline() == b"some\n"
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "c")
