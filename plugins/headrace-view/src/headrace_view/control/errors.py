"""The error of this package."""

from __future__ import annotations

from headrace import HeadraceError


class NoRunError(HeadraceError):
    """No run is alive that takes control messages for an output."""
