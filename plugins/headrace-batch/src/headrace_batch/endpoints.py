"""The endpoints of a client, as those of parts."""

from __future__ import annotations

from contextlib import suppress

from headrace import Client, Endpoint, SettingsError
from headrace.bulk import EngineSetup
from headrace_batch.batch_api import EndpointApi, PartEndpoint
from headrace_batch.dialect import NoBatchesError
from headrace_batch.known_dialects import dialect_of


def check_hosts(client: Client) -> None:
    """Make sure that an endpoint of a client may have batches, as far as the hosts tell.

    Raises:
        NoBatchesError: None may have any.
    """
    for number, endpoint in enumerate(client.endpoints, 1):
        try:
            dialect_of(endpoint)
        except NoBatchesError:
            if number == len(client.endpoints):
                raise
        else:
            return


class PartEndpoints:
    """Finds the endpoint of a part."""

    def __init__(self, setup: EngineSetup) -> None:
        self._setup = setup
        self._by_url: dict[str, PartEndpoint] = {}
        self._by_model: dict[str | None, PartEndpoint] = {}

    def for_model(self, model: str | None) -> PartEndpoint:
        """The first endpoint that serves a model."""
        found = self._by_model.get(model)
        if found is None:
            endpoints = self._setup.client.endpoints
            serving = next((each for each in endpoints if each.serves(model)), None)
            if serving is None:
                raise SettingsError(f"no endpoint has the model {model!r}")
            found = self._by_model[model] = self._open(serving)
        return found

    def at(self, base_url: str) -> PartEndpoint:
        """The endpoint with a URL.

        Raises:
            SettingsError: The client does not have it any more.
        """
        found = next((each for each in self._setup.client.endpoints if each.base_url == base_url), None)
        if found is None:
            raise SettingsError(
                f"batches of this run are at {base_url}, but the client has no such endpoint; add it again"
            )
        return self._open(found)

    def all(self) -> list[PartEndpoint]:
        """The endpoints that may have batches; others matter only if a row goes there.

        Raises:
            NoBatchesError: None may have any.
        """
        check_hosts(self._setup.client)
        found: list[PartEndpoint] = []
        for endpoint in self._setup.client.endpoints:
            with suppress(NoBatchesError):
                found.append(self._open(endpoint))
        return found

    def _open(self, endpoint: Endpoint) -> PartEndpoint:
        if endpoint.base_url not in self._by_url:
            calls, dialect = self._setup.direct_calls(endpoint), dialect_of(endpoint)
            self._by_url[endpoint.base_url] = PartEndpoint(EndpointApi(calls, dialect), calls, dialect)
        return self._by_url[endpoint.base_url]
