"""`python -m headrace.testing.server`: the embedded endpoint as a separate process."""

import os
import signal
import sys
from threading import Thread

from headrace.errors import SettingsError
from headrace.testing.server.arguments import parse_arguments
from headrace.testing.server.process import READY
from headrace.testing.server.server import serve


def main() -> None:
    """Serve until a signal or, with `--until-stdin-closes`, until standard input closes."""
    arguments = parse_arguments(sys.argv[1:], os.environ)
    if arguments.until_stdin_closes:
        Thread(target=_stop_when_stdin_closes, daemon=True).start()
    try:
        serve(
            arguments.behaviour,
            arguments.host,
            arguments.port,
            ready=_announce,
            certificate=arguments.certificate,
        )
    except (OSError, SettingsError) as error:
        sys.exit(str(error))


def _announce(base_url: str) -> None:
    print(READY + base_url, flush=True)


def _stop_when_stdin_closes() -> None:
    # Not sys.stdin: a thread that waits in it still holds its lock when the interpreter ends.
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
