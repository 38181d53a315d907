"""A copy of stdin or of a pipe can be read by several passes at the same time."""

from __future__ import annotations

import os
import tempfile
import threading
from pathlib import Path

from headrace.bulk import Source
from headrace.bulk.sources.copied_file import CopiedFile


def test_two_passes_over_a_pipe_do_not_disturb_each_other(tmp_path: Path) -> None:
    content = "id,text\n" + "".join(f"q{number},{'x' * 100}\n" for number in range(5000))
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=(content,))
    writer.start()
    source = Source(pipe)
    writer.join()
    pairs = zip(source.items(), source.items(), strict=True)
    assert [(one.id, other.id) for one, other in pairs] == [(f"q{n}", f"q{n}") for n in range(5000)]


def test_a_pass_has_its_own_position() -> None:
    with tempfile.TemporaryFile() as copy:
        copy.write(b"0123456789")
        copy.flush()
        with CopiedFile(copy.fileno()) as first, CopiedFile(copy.fileno()) as second:
            assert first.read(4) == b"0123"
            assert second.read() == b"0123456789"
            assert (first.seek(-2, os.SEEK_CUR), first.read(2)) == (2, b"23")
            assert (first.seek(-1, os.SEEK_END), first.read()) == (9, b"9")
