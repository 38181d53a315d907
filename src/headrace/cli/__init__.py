"""The command line. Thin: a command imports what it needs when it runs."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the ``headrace`` command."""
    try:
        import click  # noqa: F401
    except ImportError:
        sys.exit("headrace: the command line needs more: pip install 'headrace[standard]'")
    from headrace.cli.main import cli

    cli(prog_name="headrace")
