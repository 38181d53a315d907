"""Keys of endpoints: a secret that shows itself to nobody, and one that a callable gives, again and again.

A key that expires is asked for before the first request of a client, and again when the endpoint refused it
with a 401. The rule for those who need a key at the same time:

    what the asking comes to                  what happens to all who wait for it
    ----------------------------------------  ---------------------------------------------------------
    another key                               they go on with it
    the key that was refused                  they go on without: it is not sent again
    the callable raises, or gives no key      each raises a `CredentialError`; whoever comes later asks anew
    the task that asks is cancelled           one of the others asks
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar, NoReturn, TypeAlias

import anyio

from headrace._support.redaction import Redactor, Redactors
from headrace.errors import CredentialError, SettingsError


class Secret:
    """A string that shows itself to nobody who does not ask: not in repr, str, logs or pickles."""

    __slots__ = ("_value",)

    is_fixed: ClassVar[bool] = True
    """False for a key that is asked for, and so changes."""

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The string itself."""
        return self._value

    def redactor(self) -> Redactor | Redactors:
        """What blots it out of text."""
        return Redactor(self._value)

    def __repr__(self) -> str:
        return "Secret(…)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is not pickled; pass the name of an environment variable instead")


KeyProvider: TypeAlias = Callable[[], str | Secret | Awaitable[str | Secret]]
"""Gives a key, as a function or as an async one."""


class _Asking:
    """One call of the source, for all who wait for it."""

    __slots__ = ("failure", "is_done", "over")

    def __init__(self) -> None:
        self.over = anyio.Event()
        self.is_done = False
        self.failure: CredentialError | None = None


class RefreshableKey(Secret):
    """The current one of the keys that a callable gives; it belongs to the event loop of one client."""

    __slots__ = ("_asking", "_redactors", "_source", "version")

    is_fixed = False

    def __init__(self, source: KeyProvider) -> None:
        super().__init__("")
        self._source = source
        self._asking: _Asking | None = None
        self._redactors = Redactors()
        self.version: int = 0
        """How many different keys there have been in a row; 0: none was asked for yet."""

    def for_another_client(self) -> RefreshableKey:
        """The same for another client: what waits in one event loop cannot be woken from another."""
        return RefreshableKey(self._source)

    def reveal(self) -> str:
        """The key of now; raises `CredentialError` before the first one was asked for."""
        if self.version == 0:
            raise CredentialError("no key yet: a client asks for it before its first request")
        return self._value

    def redactor(self) -> Redactor | Redactors:
        """What blots the latest keys out of text, those to come included."""
        return self._redactors

    async def refresh(self, version: int) -> bool:
        """Wait for another key than the one of ``version``, or for the first one (0).

        Returns False where the source gives the same one again. Raises `CredentialError` where it gives none.
        """
        while self.version == version:
            asking = self._asking
            if asking is None:
                asking = self._asking = _Asking()
                try:
                    await self._ask(asking)
                finally:
                    self._asking = None
                    asking.over.set()
            else:
                await asking.over.wait()
            if asking.failure is not None:
                # One for each who waits: a client writes into it which request it was.
                raise CredentialError(*asking.failure.args) from asking.failure.__cause__
            if asking.is_done:
                break
        return self.version != version

    async def _ask(self, asking: _Asking) -> None:
        try:
            given: Any = self._source()
            if inspect.isawaitable(given):
                given = await given
        except Exception as error:
            # Its words may hold a secret that nobody here knows; where the cause is shown, it is the user's.
            asking.failure = self._failure(f"raised {type(error).__name__} (see __cause__)")
            asking.failure.__cause__ = error
        else:
            wrong = self._take(given.reveal() if isinstance(given, Secret) else given)
            if wrong:
                asking.failure = self._failure(f"gave {wrong}")
        asking.is_done = True

    def _failure(self, what: str) -> CredentialError:
        name = getattr(self._source, "__qualname__", None) or type(self._source).__name__
        so = "there is none in place of the refused one (401)" if self.version else "nothing was sent"
        return CredentialError(f"no key: {name}, given as api_key, {what}, so {so}")

    def _take(self, key: Any) -> str | None:
        """Make this the current key; returns what is wrong with one that cannot be sent."""
        if not isinstance(key, str):
            return f"a {type(key).__name__}, not a str or Secret"
        if not is_token(key):
            return "a key that is empty or holds a space, a line break or a character outside ASCII"
        if key != self._value:
            self._redactors.add(key)
            self._value = key
            self.version += 1
        return None


def as_secret(key: str | Secret | KeyProvider | None) -> Secret | None:
    """A string or a callable as a `Secret`, a `Secret` as it is; raises `SettingsError` for anything else."""
    if isinstance(key, str):
        return Secret(key)
    if key is None or isinstance(key, Secret):
        return key
    if isinstance(key, type) or not callable(key):
        raise SettingsError(
            f"api_key must be a str, a headrace.Secret or a callable that gives one, not {type(key).__name__}"
        )
    return RefreshableKey(key)


def is_token(value: str) -> bool:
    """True for printable ASCII without spaces: what a URL, a path or a key may be made of."""
    return bool(value) and value.isascii() and value.isprintable() and " " not in value
