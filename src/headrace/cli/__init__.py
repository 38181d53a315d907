"""The command line. A command imports what it needs when it runs."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import click

__all__ = ["commands"]


def commands() -> click.Group:
    """The ``headrace`` command; exits if the packages that it needs are not installed."""
    try:
        import click  # noqa: F401
    except ImportError:
        sys.exit("headrace: the command line is not installed; pip install 'headrace[standard]'")
    from headrace.cli.main import cli

    return cli
