"""A temporary file that is a descriptor, so that its owner alone decides when it is closed."""

from __future__ import annotations

import os
import tempfile


def temporary_descriptor() -> int:
    """A new temporary file without a name; the caller closes it.

    It is no file object: one that is garbage may be collected before its owner closes it.
    """
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
