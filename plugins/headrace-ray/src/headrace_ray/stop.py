"""How a session's processes, on whatever machine, are told to stop: by what is in its output's folder."""

from __future__ import annotations

import os
from pathlib import Path

import attrs
import msgspec

from headrace import CircuitOpen, HeadraceError, JournalError, StatusError, WorkerLost
from headrace.bulk import ItemResult


class _Why(msgspec.Struct):
    kind: str
    message: str
    code: str | None = None
    retry_after: float | None = None
    status: int | None = None


INTERRUPT = "interrupt"

_OTHERS: dict[str, type[HeadraceError]] = {"journal": JournalError, "lost": WorkerLost}


@attrs.frozen
class Stop:
    """The stop of a session: not given, given (calls in flight are finished), or to drop those too.

    The first who gives it says why; the folder is one that all machines see, as the output is.
    """

    out: Path
    session: str

    @property
    def shared(self) -> Path:
        """The folder that the session's processes have in common, there for as long as the session is."""
        return self.out / f".shared-{self.session}"

    @property
    def over(self) -> bool:
        """True once the session has ended, or another one has taken its place."""
        return not self.shared.exists()

    @property
    def _why(self) -> Path:
        return self.out / f".stop-{self.session}"

    @property
    def _drop(self) -> Path:
        return self.out / f".drop-{self.session}"

    @property
    def given(self) -> bool:
        """True once nothing more is to be drawn."""
        return self._why.exists()

    @property
    def dropping(self) -> bool:
        """True once calls in flight are to be dropped."""
        return self._drop.exists()

    def give(self, reason: HeadraceError | str, *, drop: bool = False) -> None:
        """Give it: for an error, or `INTERRUPT`."""
        if not self.given:
            fresh = self.out / f".stop-{self.session}.{os.getpid()}"
            fresh.write_bytes(msgspec.json.encode(_why(reason)))
            os.replace(fresh, self._why)
        if drop:
            self._drop.touch()

    def reason(self) -> HeadraceError | str | None:
        """Why it was given, None where it was not."""
        try:
            why = msgspec.json.decode(self._why.read_bytes(), type=_Why)
        except FileNotFoundError:
            return None
        if why.kind == INTERRUPT:
            return INTERRUPT
        if why.kind in _OTHERS:
            return _OTHERS[why.kind](why.message)
        return ItemResult(
            0, code=why.code, message=why.message, retry_after=why.retry_after, status=why.status
        ).error

    def clear(self) -> None:
        """Remove its files."""
        for file in (self._why, self._drop):
            file.unlink(missing_ok=True)


def _why(reason: HeadraceError | str) -> _Why:
    if isinstance(reason, str):
        return _Why(reason, reason)
    for kind, error in _OTHERS.items():
        if isinstance(reason, error):
            return _Why(kind, str(reason))
    wait = reason.retry_after if isinstance(reason, CircuitOpen) else None
    status = reason.status if isinstance(reason, StatusError) else None
    return _Why("call", str(reason), getattr(reason, "code", None), wait, status)
