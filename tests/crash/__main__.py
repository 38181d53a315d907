"""`python -m tests.crash --kills 200 --seed 1`: kill `headrace run` again and again, and look what is left.

Bounded in kills and in minutes; everything is on the loopback, and ends with this process. The files of a run
that breaks a promise stay.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from tests.crash.campaign import Campaign
from tests.crash.checks import LostError


def main() -> None:
    """Run as a command."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.crash", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--kills", type=int, default=200, help="(%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="another one, other moments (%(default)s)")
    parser.add_argument("--items", type=int, default=1_000, help="in each run (%(default)s)")
    parser.add_argument("--minutes", type=float, default=30.0, help="no kill comes later (%(default)s)")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    folder = Path(tempfile.mkdtemp(prefix="headrace-crash-"))
    campaign = Campaign(
        folder,
        kills=asked.kills,
        seed=asked.seed,
        items=asked.items,
        limit=asked.minutes * 60,
        tell=lambda said: print(said, flush=True),
    )
    try:
        print(campaign.perform())
    except LostError as error:
        sys.exit(f"python -m tests.crash: {error}\nits files are in {folder}")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
