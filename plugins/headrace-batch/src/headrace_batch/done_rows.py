"""Which rows are in the output, by the ``custom_id`` of their calls."""

from __future__ import annotations

from headrace.bulk import EngineSetup, decode_line
from headrace_batch.part_file import custom_id_of, is_hashed, row_id_of


class DoneRows:
    """Tells whether a row is in the output.

    The run knows its ids, but a ``custom_id`` may have a hash of one. Then the ids are read from the output.

    Args:
        setup: The run.
    """

    def __init__(self, setup: EngineSetup) -> None:
        self._setup = setup
        self._hashed: set[str] = set()
        self._read = 0

    def __contains__(self, custom_id: str) -> bool:
        row_id = row_id_of(custom_id, self._setup.calls)
        if self._setup.is_done(row_id):
            return True
        if not is_hashed(row_id):
            return False
        self._read_further()
        return row_id in self._hashed

    def _read_further(self) -> None:
        if self._setup.out.stat().st_size == self._read:
            return
        with self._setup.out.open("rb") as lines:
            lines.seek(self._read)
            for line in lines:
                if not line.endswith(b"\n"):
                    break
                self._read += len(line)
                if is_hashed(row_id := custom_id_of(decode_line(line).custom_id)):
                    self._hashed.add(row_id)
