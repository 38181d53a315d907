"""`python -m tests.cancellation --calls 20000`: cancel calls at random moments, and check what they leave.

In memory: on trio in virtual time, on asyncio ten times faster than real time.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.cancellation.campaign import LeftBehindError, perform

SCALES = {"trio": 1.0, "asyncio": 0.1}


def main() -> None:
    """Run as a command."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.cancellation", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--calls", type=int, default=20_000, help="on each event loop (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="another one, other moments (%(default)s)")
    parser.add_argument("--backend", choices=SCALES, help="just this one")
    options = parser.parse_args()
    for backend in [options.backend] if options.backend else SCALES:
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="headrace-cancellation-") as folder:
            try:
                figures = perform(options.calls, options.seed, backend, Path(folder), SCALES[backend])
            except LeftBehindError as error:
                sys.exit(f"python -m tests.cancellation: {error}")
        print(f"{backend}, {time.monotonic() - began:.0f} s: {figures}", flush=True)


if __name__ == "__main__":
    main()
