"""The entry point of the ``headrace`` command. It is small, so that Ctrl-C works during the other imports.

It uses `_signal`, which is already loaded: importing `signal` loads a dozen modules.
"""

import _signal  # type: ignore[import-not-found]
import os

INTERRUPTED = 130
"""The exit status of a command that Ctrl-C ended, as in shells."""


def main() -> None:
    """Run the ``headrace`` command."""
    interruptible = _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler
    if interruptible:
        # An exception during an import could be caught as another error, or be lost in a callback.
        _signal.signal(_signal.SIGINT, _leave)
    from headrace.cli import commands

    run = commands()
    try:
        try:
            if interruptible:
                _signal.signal(_signal.SIGINT, _signal.default_int_handler)
            run(prog_name="headrace")
        finally:
            if interruptible:
                _signal.signal(_signal.SIGINT, _leave)
    except KeyboardInterrupt:  # before the command line was parsed, or after the command has ended
        _leave()


def _leave(*_: object) -> None:
    """Exit at once: the command has not begun, or has ended."""
    os.write(2, b"headrace: interrupted\n")
    os._exit(INTERRUPTED)
