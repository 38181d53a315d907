"""How long an answer asks its caller to stay away, read from its headers.

``retry-after-ms`` (milliseconds, as OpenAI and Azure send it) comes before ``Retry-After`` (seconds or a
date: RFC 9110, section 10.2.3), being the finer of the two. Both are text from outside: whatever is not a
moment to come, plainly written, counts as not said.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

# Neither "inf", "nan", "-10", "1_000" nor digits of other scripts, all of which float() would take.
_NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?")


def retry_after_seconds(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds to wait, above 0, as ``headers`` ask; None where they ask for nothing that makes sense.

    ``now`` is the wall clock in seconds since 1970. A date is measured from the answer's own ``Date`` where
    it has one, so that neither a skewed clock nor one that jumps changes the wait.
    """
    milliseconds = _number(headers.get("retry-after-ms", ""))
    if milliseconds is not None:
        return milliseconds / 1000
    value = headers.get("retry-after", "")
    seconds = _number(value)
    if seconds is not None:
        return seconds
    moment = _date(value)
    if moment is None:
        return None
    sent = _date(headers.get("date", ""))
    ahead = moment - (now if sent is None else sent)
    return ahead if ahead > 0 else None


def _number(text: str) -> float | None:
    text = text.strip()
    if not _NUMBER.fullmatch(text):
        return None
    number = float(text)
    return number if 0 < number < math.inf else None


def _date(text: str) -> float | None:
    """Seconds since 1970 of an HTTP date (IMF-fixdate), None for anything else."""
    from email.utils import format_datetime, parsedate_to_datetime  # not with the module: few need it

    text = text.strip()
    try:
        moment = parsedate_to_datetime(text)
        # Written back, it must be what was read: the parser overlooks wrong weekdays and much else.
        return moment.timestamp() if format_datetime(moment, usegmt=True) == text else None
    except (ValueError, TypeError, OverflowError):
        return None
