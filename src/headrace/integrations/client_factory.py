"""Makes clients of a library that use headrace, and sorts their options."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Iterable, Mapping
from pkgutil import resolve_name
from types import ModuleType
from typing import Any, Generic, TypeVar

from headrace._support.text import nearest
from headrace.errors import SettingsError
from headrace.integrations.bridge import BridgeStream, BridgeTransport
from headrace.integrations.call_factory import STREAMED
from headrace.integrations.request_templates import TemplatingClient
from headrace.policies import Observer, Policy

ClientT = TypeVar("ClientT")

MAX_IN_FLIGHT = 1000
"""Requests at once: as many as the SDKs' own clients allow."""

_TRANSPORT_OPTIONS = frozenset({"cert", "http1", "http2", "limits", "mounts", "proxy", "trust_env", "verify"})
_SHARED_OPTIONS = frozenset({"trust_env"})


class BridgeClient(TemplatingClient):
    """The part of a client that both libraries share; a base class in front of the library's own."""

    def send(self, request: Any, **options: Any) -> Coroutine[Any, Any, Any]:
        """Send a request; see ``send`` of the library's ``AsyncClient``."""
        # The library does not pass on to a transport whether the caller reads the response as a stream.
        request.extensions[STREAMED] = options.get("stream", False)
        return super().send(request, **options)  # type: ignore[misc, no-any-return]


class ClientFactory(Generic[ClientT]):
    """Makes clients of a library that send their requests through headrace; called like a function."""

    def __init__(self, library: ModuleType, client: type[ClientT], transport: type[BridgeTransport]) -> None:
        attributes = {"library": library, "__module__": transport.__module__}
        self._library = library
        self._client: Any = type("_Client", (BridgeClient, client), attributes)
        self._stream: Any = type("_Stream", (BridgeStream, library.AsyncByteStream), attributes)
        self._transport = transport

    def __call__(
        self,
        *,
        policies: Iterable[Policy] | None = None,
        observers: Iterable[Observer] = (),
        max_in_flight: int = MAX_IN_FLIGHT,
        **options: Any,
    ) -> ClientT:
        """An ``AsyncClient`` of the library that sends its requests through headrace.

        A streamed response may have any size; one that is read as a whole is limited to
        ``max_response_bytes``. Redirects are followed unless ``follow_redirects=False``; credentials are not
        sent to another origin. Over SOCKS or https proxies the library makes the requests itself, within the
        same policies. HTTP/2 is used if the server chooses it, as in headrace's own client; ``http2=False``
        offers only HTTP/1.1.

        Args:
            policies: The policies to use. By default those of the installed plugins, with their settings.
            observers: Receive events.
            max_in_flight: Requests at once, by default 1000. More requests wait, up to the pool timeout.
            options: Options of the library's ``AsyncClient``, and sections of plugin settings such as
                ``retry={"attempts": 5}``.

        Returns:
            A client; close it like any other.

        Raises:
            SettingsError: An option or setting is unknown or out of range.
            PluginError: A plugin cannot be loaded.
        """
        transport_options, sections, client_options = _split(self._library.AsyncClient, options)
        bridge = self._transport(
            self._library,
            self._stream,
            policies=policies,
            observers=observers,
            max_in_flight=max_in_flight,
            options=transport_options,
            sections=sections,
        )
        # Like the SDKs' own clients, and unlike the libraries'.
        client: ClientT = self._client(transport=bridge, **({"follow_redirects": True} | client_options))
        return client

    def __reduce__(self) -> tuple[Callable[[str], Any], tuple[str]]:
        # Pickled by its name, as a function is.
        return resolve_name, (f"{self._transport.__module__}:async_client",)


def _split(client: type, options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Options of the transport, sections of settings, and options of the client.

    Raises `SettingsError` for an unknown option.
    """
    known = set(inspect.signature(client.__init__).parameters) - {"self"}  # type: ignore[misc]
    transport_options = {name: value for name, value in options.items() if name in _TRANSPORT_OPTIONS}
    client_options = {
        name: value for name, value in options.items() if name in known - _TRANSPORT_OPTIONS | _SHARED_OPTIONS
    }
    if "transport" in client_options:
        raise SettingsError("transport= is set by headrace; remove it, or use the library's own client")
    sections = {name: value for name, value in options.items() if name not in known}
    for name, value in sections.items():
        if not isinstance(value, Mapping):
            raise SettingsError(f"async_client has no option {name!r}; {nearest(name, known)}")
    return transport_options, sections, client_options
