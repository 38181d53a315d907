"""`python -m tests.crash --kills 200 --seed 1`: kill `headrace run` again and again, and check its output.

The number of kills and of minutes is limited. Everything is on the loopback, and ends with this process. The
files of a run that fails a check are kept.
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
from tests.crash.inputs import FORMS, STEP_FORMS


def main() -> None:
    """Run as a command."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.crash", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--kills", type=int, default=200, help="(%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the random moments (%(default)s)")
    parser.add_argument("--items", type=int, default=1_000, help="in each run (%(default)s)")
    parser.add_argument("--minutes", type=float, default=30.0, help="no kills after this time (%(default)s)")
    parser.add_argument("--steps", action="store_true", help="jobs with three steps")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    folder = Path(tempfile.mkdtemp(prefix="headrace-crash-"))
    campaign = Campaign(
        folder,
        kills=options.kills,
        seed=options.seed,
        items=options.items,
        forms=STEP_FORMS if options.steps else FORMS,
        limit=options.minutes * 60,
        tell=lambda text: print(text, flush=True),
    )
    try:
        print(campaign.perform())
    except LostError as error:
        sys.exit(f"python -m tests.crash: {error}\nits files are in {folder}")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
