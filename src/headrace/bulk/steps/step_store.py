"""Where the answers of steps are kept, so that no step is paid twice: in a journal, or in memory."""

from __future__ import annotations

from typing import Protocol

from headrace.bulk.output_line import OutputLine, decode_line


class StepStore(Protocol):
    """Keeps the answers of steps; `StepsJournal` does on disk, `StepsInMemory` for a run without an output.

    ``append`` takes lines; what this session has appended is found after ``note_session``. ``forget`` is
    called with the id of a row that is done, whose steps are not needed any more.
    """

    def find(self, id: str, step: str, request: str, /) -> OutputLine | None:
        """The line of an answer, by the id of the row, the step and the digest of the request."""

    def append(self, lines: bytes, /) -> None: ...
    def note_session(self) -> None: ...
    def forget(self, id: str, /) -> None: ...
    async def sync(self) -> None: ...


class StepsInMemory:
    """The answers of the rows that are not done; see `StepStore`."""

    def __init__(self) -> None:
        self._lines: dict[str, list[OutputLine]] = {}

    def find(self, id: str, step: str, request: str) -> OutputLine | None:
        """See `StepStore.find`."""
        for line in reversed(self._lines.get(id, ())):
            if (line.headrace.step, line.headrace.request) == (step, request):
                return line
        return None

    def append(self, lines: bytes) -> None:
        """Keep lines."""
        for raw in lines.split(b"\n")[:-1]:
            line = decode_line(raw)
            self._lines.setdefault(line.custom_id, []).append(line)

    def note_session(self) -> None:
        """Do nothing: the lines are found at once."""

    def forget(self, id: str) -> None:
        """Forget the answers of a row."""
        self._lines.pop(id, None)

    async def sync(self) -> None:
        """Do nothing."""
