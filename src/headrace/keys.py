"""Keys of endpoints: a secret that is never shown, and a key that comes from a function.

A client calls the function before its first request, and again when the endpoint rejects the key with a 401.
Calls that need the key at the same time share one call of the function:

    result of the function                    what the waiting calls do
    ----------------------------------------  ---------------------------------------------------------
    a new key                                 continue with it
    the rejected key again                    fail with the 401; the key is not sent again
    an error, or not a valid key              raise a `CredentialError`; later calls call the function again
    its task is cancelled                     one of the waiting calls calls the function
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar, NoReturn, TypeAlias

import anyio

from headrace._support.redaction import MultiRedactor, Redactor
from headrace.errors import CredentialError, SettingsError


class Secret:
    """A string that repr, str, logs and pickles do not show; see `reveal`.

    Args:
        value: The string.
    """

    __slots__ = ("_value",)

    is_fixed: ClassVar[bool] = True
    """False for a key that comes from a function, and so may change."""

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The string."""
        return self._value

    def redactor(self) -> Redactor | MultiRedactor:
        """Removes the secret from text."""
        return Redactor(self._value)

    def __repr__(self) -> str:
        return "Secret(…)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret cannot be pickled; pass the name of an environment variable instead")


KeyProvider: TypeAlias = Callable[[], str | Secret | Awaitable[str | Secret]]
"""A function that returns a key; it may be async."""


class _Refresh:
    """One call of the key provider, shared by all tasks that wait for it."""

    __slots__ = ("failure", "finished", "is_done")

    def __init__(self) -> None:
        self.finished = anyio.Event()
        self.is_done = False
        self.failure: CredentialError | None = None


class RefreshableKey(Secret):
    """The current key of a key provider; belongs to the event loop of one client."""

    __slots__ = ("_provider", "_redactors", "_refresh", "version")

    is_fixed = False

    def __init__(self, provider: KeyProvider) -> None:
        super().__init__("")
        self._provider = provider
        self._refresh: _Refresh | None = None
        self._redactors = MultiRedactor()
        self.version: int = 0
        """The number of key changes so far; 0 before the first key."""

    def for_another_client(self) -> RefreshableKey:
        """A copy for another client, because tasks of one event loop cannot be woken from another."""
        return RefreshableKey(self._provider)

    def reveal(self) -> str:
        """The current key; raises `CredentialError` before there is one."""
        if self.version == 0:
            raise CredentialError("no key yet: a client gets it before its first request")
        return self._value

    def redactor(self) -> Redactor | MultiRedactor:
        """Removes the latest keys from text, including future ones."""
        return self._redactors

    async def refresh(self, version: int) -> bool:
        """Get a newer key than that of ``version`` (0 for the first key), and wait for it.

        Returns False if the provider returns the same key again; raises `CredentialError` if it returns none.
        """
        while self.version == version:
            refresh = self._refresh
            if refresh is None:
                refresh = self._refresh = _Refresh()
                try:
                    await self._call_provider(refresh)
                finally:
                    self._refresh = None
                    refresh.finished.set()
            else:
                await refresh.finished.wait()
            if refresh.failure is not None:
                # A new error for each waiting task, because a client adds its request to it.
                raise CredentialError(*refresh.failure.args) from refresh.failure.__cause__
            if refresh.is_done:
                break
        return self.version != version

    async def _call_provider(self, refresh: _Refresh) -> None:
        try:
            key: Any = self._provider()
            if inspect.isawaitable(key):
                key = await key
        except Exception as error:
            # Its message may contain an unknown secret, so only the cause keeps it.
            refresh.failure = self._failure(f"raised {type(error).__name__} (see __cause__)")
            refresh.failure.__cause__ = error
        else:
            problem = self._set_key(key.reveal() if isinstance(key, Secret) else key)
            if problem:
                refresh.failure = self._failure(f"returned {problem}")
        refresh.is_done = True

    def _failure(self, what: str) -> CredentialError:
        name = getattr(self._provider, "__qualname__", None) or type(self._provider).__name__
        effect = "no new key replaces the rejected one (401)" if self.version else "nothing was sent"
        return CredentialError(f"no key: {name}, passed as api_key=, {what}, so {effect}")

    def _set_key(self, key: Any) -> str | None:
        """Make this the current key; returns the reason if it cannot be sent."""
        if not isinstance(key, str):
            return f"a {type(key).__name__}, not a str or Secret"
        if not is_token(key):
            return "a key that is empty or contains a space, a line break or a character outside ASCII"
        if key != self._value:
            self._redactors.add(key)
            self._value = key
            self.version += 1
        return None


def as_secret(key: str | Secret | KeyProvider | None) -> Secret | None:
    """A string or a function as a `Secret`; raises `SettingsError` for a value of another type."""
    if isinstance(key, str):
        return Secret(key)
    if key is None or isinstance(key, Secret):
        return key
    if isinstance(key, type) or not callable(key):
        raise SettingsError(
            "api_key= must be a str, a headrace.Secret or a function that returns one, "
            f"not {type(key).__name__}"
        )
    return RefreshableKey(key)


def is_token(value: str) -> bool:
    """Whether a value is printable ASCII without spaces, as a URL, a path or a key must be."""
    return bool(value) and value.isascii() and value.isprintable() and " " not in value
