"""The rate limit of the endpoint: a token bucket that gets the time from its caller."""

import math


class TokenBucket:
    """Allows `rate` tokens per second on average, and a burst of `seconds` times as many.

    The bucket starts full and holds `max(1, rate * seconds)` tokens. A rejected request takes none.

    Args:
        rate: Tokens per second; must be above 0.
        seconds: Burst size, as seconds' worth of the rate.
    """

    def __init__(self, rate: float, seconds: float = 1.0) -> None:
        self._rate = rate
        self._capacity = max(1.0, rate * seconds)
        self._tokens = self._capacity
        self._filled_at = -math.inf

    def wait(self, now: float, amount: float = 1.0) -> float:
        """The seconds until this many tokens, but at most the capacity, are available; 0.0 if they are.

        Args:
            now: Seconds on a monotonic clock.
            amount: Number of tokens.
        """
        self._tokens = min(self._capacity, self._tokens + (now - self._filled_at) * self._rate)
        self._filled_at = now
        return max(0.0, (min(amount, self._capacity) - self._tokens) / self._rate)

    def take(self, now: float, amount: float = 1.0) -> float:
        """Take tokens if they are available.

        Args:
            now: Seconds on a monotonic clock.
            amount: Number of tokens.

        Returns:
            0.0 if the tokens were taken, otherwise the seconds until they are available.
        """
        wait = self.wait(now, amount)
        if wait == 0:
            self._tokens -= min(amount, self._capacity)
        return wait

    def headers(self, what: str = "requests") -> dict[str, str]:
        """The `x-ratelimit-*` headers of OpenAI after the latest `take`; ``what`` is the limited quantity."""
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
