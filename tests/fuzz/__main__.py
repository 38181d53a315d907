"""Fuzz the parsers of responses for any time: ``python -m tests.fuzz --seconds 600``."""

from __future__ import annotations

import argparse
import faulthandler
import random
import resource
import sys
import time

from tests.fuzz.checks import CHECKS

_MEMORY = 2 << 30
_LONGEST = 30.0
"""Seconds after which an input counts as endless."""


def main() -> int:
    """Run the checks in turn, with a new seed each. Returns 1 and prints the seed if one fails."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seconds", type=float, default=60.0)
    options.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 48))
    options.add_argument("--check", choices=CHECKS, help="just this one")
    chosen = options.parse_args()
    checks = [CHECKS[chosen.check]] if chosen.check else list(CHECKS.values())
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    seed, end = chosen.seed, time.monotonic() + chosen.seconds
    while time.monotonic() < end:
        faulthandler.dump_traceback_later(_LONGEST, exit=True)
        for check in checks:
            for at in range(seed, seed + 100):
                try:
                    check(random.Random(at))
                except BaseException:
                    print(f"failed: --check {check.__name__} --seed {at}", file=sys.stderr)
                    raise
        seed += 100
    faulthandler.cancel_dump_traceback_later()
    print(f"{seed - chosen.seed:,} inputs for each of {len(checks)} checks, from seed {chosen.seed}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
