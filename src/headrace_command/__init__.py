"""The way into the ``headrace`` command: small, so that Ctrl-C is handled while all else is imported.

`signal` itself imports a dozen modules; what it is made of is there already.
"""

import _signal  # type: ignore[import-not-found]
import os

INTERRUPTED = 130
"""The exit status of a command that Ctrl-C ended, as shells have it."""


def main() -> None:
    """Run the ``headrace`` command."""
    interruptible = _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler  # else it is ignored
    if interruptible:
        # An exception in the midst of an import could be taken for another one's, or be lost in a callback.
        _signal.signal(_signal.SIGINT, _leave)
    from headrace.cli import commands

    run = commands()
    try:
        if interruptible:
            _signal.signal(_signal.SIGINT, _signal.default_int_handler)
        run(prog_name="headrace")
    except KeyboardInterrupt:  # before the command line is read
        _leave()
    finally:
        if interruptible:
            _signal.signal(_signal.SIGINT, _leave)


def _leave(*_: object) -> None:
    """End at once: nothing has begun that could be left half done."""
    os.write(2, b"headrace: interrupted\n")
    os._exit(INTERRUPTED)
