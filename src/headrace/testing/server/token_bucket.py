"""The rate limit of the endpoint: a token bucket without a clock; callers pass the time."""

import math


class TokenBucket:
    """Lets `rate` requests per second through on average, and one second's worth of them at once.

    The bucket starts full, holds `max(1, rate * seconds)` tokens, and a refused request takes none.

    Args:
        rate: tokens per second, above zero.
        seconds: how many seconds' worth it holds.
    """

    def __init__(self, rate: float, seconds: float = 1.0) -> None:
        self._rate = rate
        self._capacity = max(1.0, rate * seconds)
        self._tokens = self._capacity
        self._filled_at = -math.inf

    def wait(self, now: float, amount: float = 1.0) -> float:
        """Seconds until that many tokens are there, 0.0 if they are. At most the capacity is needed.

        Args:
            now: seconds on a clock that never goes back.
            amount: how many.
        """
        self._tokens = min(self._capacity, self._tokens + (now - self._filled_at) * self._rate)
        self._filled_at = now
        return max(0.0, (min(amount, self._capacity) - self._tokens) / self._rate)

    def take(self, now: float, amount: float = 1.0) -> float:
        """Take tokens. Returns 0.0 if they were there, else the seconds until they will be.

        Args:
            now: seconds on a clock that never goes back.
            amount: how many.
        """
        wait = self.wait(now, amount)
        if wait == 0:
            self._tokens -= min(amount, self._capacity)
        return wait

    def headers(self, what: str = "requests") -> dict[str, str]:
        """The `x-ratelimit-*` headers for what is limited, after the latest `take`, as OpenAI has them."""
        return {
            f"x-ratelimit-limit-{what}": str(int(self._capacity)),
            f"x-ratelimit-remaining-{what}": str(int(self._tokens)),
            f"x-ratelimit-reset-{what}": _duration((self._capacity - self._tokens) / self._rate),
        }


def _duration(seconds: float) -> str:
    if seconds < 1:
        return f"{math.ceil(seconds * 1000)}ms"
    minutes, rest = divmod(seconds, 60)
    return f"{int(minutes)}m{rest:.3f}s" if minutes else f"{rest:.3f}s"
