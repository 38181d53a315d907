"""The ``Retry-After`` of a response: how long to wait before the next request.

``retry-after-ms`` (milliseconds; OpenAI and Azure send it) takes precedence over ``Retry-After`` (seconds or
a date: RFC 9110, section 10.2.3), because it is more precise. Values that are malformed or not in the future
are ignored.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

# float() would also accept "inf", "nan", "-10", "1_000" and digits of other scripts.
_NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?")


def retry_after_seconds(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds to wait (above 0) according to ``headers``; None without a valid value.

    ``now`` is the wall clock in seconds since 1970. A date is compared with the ``Date`` of the same response
    if it has one, so that a wrong or jumping local clock does not change the wait.
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
    """An HTTP date (IMF-fixdate) as seconds since 1970; None for anything else."""
    from email.utils import format_datetime, parsedate_to_datetime  # imported late: few responses need it

    text = text.strip()
    try:
        moment = parsedate_to_datetime(text)
        # Formatted again, it must be the same text: the parser accepts wrong weekdays and other mistakes.
        return moment.timestamp() if format_datetime(moment, usegmt=True) == text else None
    except (ValueError, TypeError, OverflowError):
        return None
