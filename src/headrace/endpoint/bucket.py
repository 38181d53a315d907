"""The endpoint's rate limit: a token bucket that knows no clock but the time it is told."""

import math


class TokenBucket:
    """Lets `rate` requests per second through on average, and one second's worth of them at once.

    The bucket starts full, holds `max(1, rate)` tokens, and a refused request takes none.

    Args:
        rate: tokens per second, above zero.
    """

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._capacity = max(1.0, rate)
        self._tokens = self._capacity
        self._filled_at = -math.inf

    def take(self, now: float) -> float:
        """Take a token. Returns 0.0 if there was one, else the seconds until there will be.

        Args:
            now: seconds on a clock that never goes back.
        """
        self._tokens = min(self._capacity, self._tokens + (now - self._filled_at) * self._rate)
        self._filled_at = now
        if self._tokens >= 1.0:
            self._tokens -= 1.0
            return 0.0
        return (1.0 - self._tokens) / self._rate

    def headers(self) -> dict[str, str]:
        """The `x-ratelimit-*-requests` headers after the latest `take`, as OpenAI writes them."""
        return {
            "x-ratelimit-limit-requests": str(int(self._capacity)),
            "x-ratelimit-remaining-requests": str(int(self._tokens)),
            "x-ratelimit-reset-requests": _duration((self._capacity - self._tokens) / self._rate),
        }


def _duration(seconds: float) -> str:
    if seconds < 1:
        return f"{math.ceil(seconds * 1000)}ms"
    minutes, rest = divmod(seconds, 60)
    return f"{int(minutes)}m{rest:.3f}s" if minutes else f"{rest:.3f}s"
