"""The stop signal of a session, for processes on all machines: files in the output folder."""

from __future__ import annotations

from pathlib import Path

import attrs
import msgspec

from headrace import CircuitOpen, HeadraceError, JournalError, StatusError, WorkerLost
from headrace.bulk import ItemResult
from headrace_ray.shared_files import replace_file


class _StopReason(msgspec.Struct):
    """Why a session stops, as it is stored."""

    kind: str
    message: str
    code: str | None = None
    retry_after: float | None = None
    status: int | None = None


INTERRUPT = "interrupt"

_ERRORS: dict[str, type[HeadraceError]] = {"journal": JournalError, "lost": WorkerLost}


@attrs.frozen
class StopSignal:
    """The stop signal of a session.

    After a stop, calls in flight finish, unless they are dropped as well. The first request sets the reason.
    All machines see the signal, because they share the output folder.
    """

    out: Path
    session: str

    @property
    def shared(self) -> Path:
        """The folder that the session's processes share; it exists as long as the session."""
        return self.out / f".shared-{self.session}"

    @property
    def session_ended(self) -> bool:
        """Whether the session has ended, or another one has replaced it."""
        return not self.shared.exists()

    @property
    def _reason_file(self) -> Path:
        return self.out / f".stop-{self.session}"

    @property
    def _drop_file(self) -> Path:
        return self.out / f".drop-{self.session}"

    @property
    def requested(self) -> bool:
        """Whether no more items may be drawn."""
        return self._reason_file.exists()

    @property
    def drop_requested(self) -> bool:
        """Whether calls in flight must be dropped."""
        return self._drop_file.exists()

    def request(self, reason: HeadraceError | str, *, drop: bool = False) -> None:
        """Request a stop because of an error or `INTERRUPT`; ``drop`` also drops calls in flight."""
        if not self.requested:
            replace_file(self._reason_file, msgspec.json.encode(_stop_reason(reason)))
        if drop:
            self._drop_file.touch()

    def reason(self) -> HeadraceError | str | None:
        """Return why the stop was requested, None if it was not."""
        try:
            stored = msgspec.json.decode(self._reason_file.read_bytes(), type=_StopReason)
        except FileNotFoundError:
            return None
        if stored.kind == INTERRUPT:
            return INTERRUPT
        if stored.kind in _ERRORS:
            return _ERRORS[stored.kind](stored.message)
        return ItemResult(
            0, code=stored.code, message=stored.message, retry_after=stored.retry_after, status=stored.status
        ).error

    def clear(self) -> None:
        """Remove the files of the signal."""
        for file in (self._reason_file, self._drop_file):
            file.unlink(missing_ok=True)


def _stop_reason(reason: HeadraceError | str) -> _StopReason:
    """Return a reason as it is stored."""
    if isinstance(reason, str):
        return _StopReason(reason, reason)
    for kind, error in _ERRORS.items():
        if isinstance(reason, error):
            return _StopReason(kind, str(reason))
    wait = reason.retry_after if isinstance(reason, CircuitOpen) else None
    status = reason.status if isinstance(reason, StatusError) else None
    return _StopReason("call", str(reason), getattr(reason, "code", None), wait, status)
