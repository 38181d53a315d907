"""Checks the arguments of `Client` and `Client.map`."""

from __future__ import annotations

import math
from collections.abc import AsyncIterable, Collection, Iterable, Mapping
from typing import Any

import anyio

from headrace._support.text import nearest
from headrace.errors import RequestError, SettingsError
from headrace.limiter_tokens import Limiter
from headrace.limiters import PriorityCapacityLimiter
from headrace.pipeline.plugin_manager import Plugins
from headrace.settings import CoreSettings, Settings
from headrace.transports import Transport
from headrace.transports.factory import OWN_TRANSPORTS, make_transport

_TRANSPORT_SETTINGS = frozenset({"cert", "cert_key", "cert_password", "proxy"})


def check_keywords(keywords: Mapping[str, Any], parameters: Collection[str]) -> None:
    """Raise `SettingsError` for a keyword that is not a parameter, a setting of the core or a section."""
    known = {*parameters, *CoreSettings.__annotations__}
    for name, value in keywords.items():
        if name not in known and not isinstance(value, Mapping):
            raise SettingsError(f"Client has no keyword {name!r}; {nearest(name, known)}")


def check_keywords_have_effect(
    keywords: Collection[str], settings: Settings, *, own_transport: bool, own_policies: bool
) -> None:
    """Raise `SettingsError` for a setting that has no effect with ``transport=`` or ``policies=``."""
    if own_transport:
        for name in _TRANSPORT_SETTINGS.intersection(keywords):
            raise SettingsError(f"{name}= has no effect with transport=; pass it to the transport itself")
    if not own_policies:
        settings.check_claimed()
        return
    for name in keywords:
        if name not in CoreSettings.__annotations__ and not settings.is_claimed(name):
            raise SettingsError(f"{name}= has no effect with policies=; pass it to the policy itself")


def choose_limiter(limiter: Limiter | None, max_in_flight: int | None, core: CoreSettings) -> Limiter:
    """The limiter that was passed, or a new one."""
    if limiter is None:
        return PriorityCapacityLimiter(core.max_in_flight)
    if max_in_flight is not None:
        raise SettingsError("limiter= and max_in_flight= set the same limit; remove one of them")
    if not isinstance(limiter, (PriorityCapacityLimiter, anyio.CapacityLimiter)):
        raise SettingsError(
            f"limiter={limiter!r}: must be a headrace.PriorityCapacityLimiter or an anyio.CapacityLimiter"
        )
    return limiter


def choose_transport(
    transport: Transport | str | None, plugins: Plugins | None, settings: Settings
) -> Transport:
    """The transport that was passed, or a new one by its name or from a plugin."""
    if transport is None or isinstance(transport, str):
        if settings.core.transport in OWN_TRANSPORTS:
            return make_transport(settings.core)
        return (plugins or Plugins()).transport(settings) or make_transport(settings.core)
    if isinstance(transport, type):
        raise SettingsError(
            f"transport= is the class {transport.__name__}; did you mean {transport.__name__}()?"
        )
    if not isinstance(transport, Transport):
        raise SettingsError(f"transport={transport!r} is not a transport: it needs send(call) and aclose()")
    return transport


def check_map_arguments(
    requests: Any, max_in_flight: int | None, buffer: int | None, stop_on: str | None, limiter: Limiter
) -> None:
    """Check the arguments of `Client.map`."""
    if max_in_flight is not None and max_in_flight < 1:
        raise SettingsError(f"max_in_flight={max_in_flight}: must be at least 1")
    if buffer is not None and buffer < 0:
        raise SettingsError(f"buffer={buffer}: must be at least 0")
    if isinstance(requests, (str, Mapping)) or not isinstance(requests, (Iterable, AsyncIterable)):
        raise RequestError(f"map takes an iterable of requests, not a {type(requests).__name__}")
    if stop_on not in {None, "shared_errors"}:
        raise SettingsError(f"stop_on={stop_on!r}: must be 'shared_errors' or None")
    if max_in_flight is None and limiter.total_tokens == math.inf:
        raise SettingsError("the limiter of the client has no limit; pass max_in_flight= to map")
