"""`python -m tests.interrupts --interrupts 300 --seed 1`: Ctrl-C at random moments, in each use case."""

from __future__ import annotations

import argparse
import sys

from tests.interrupts.campaign import WAYS, BrokenError, Campaign


def main() -> None:
    """Run as a command."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.interrupts", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--interrupts", type=int, default=300, help="of each way (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="another one, other moments (%(default)s)")
    parser.add_argument(
        "ways",
        nargs="*",
        metavar="KIND/LOOP",
        help=f"which ones (all): {', '.join('/'.join(way) for way in WAYS)}",
    )
    options = parser.parse_args()
    ways = [way for way in WAYS if not options.ways or "/".join(way) in options.ways]
    campaign = Campaign(interrupts=options.interrupts, seed=options.seed, ways=ways)
    try:
        campaign.perform()
    except BrokenError as error:
        sys.exit(f"{campaign.figures}\npython -m tests.interrupts: {error}")
    print(campaign.figures)


if __name__ == "__main__":
    main()
