"""Rules: the model or endpoint to which a call is redirected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from headrace import Call, Endpoint, SettingsError
from headrace.plugins import encode_body, nearest


@attrs.frozen
class RedirectTarget:
    """An ``endpoint`` (None: any that serves the model) and a ``model`` (None: the call's own)."""

    endpoint: Endpoint | None
    model: str | None


def parse_target(setting: str, value: str, endpoints: Sequence[Endpoint]) -> RedirectTarget:
    """Parse a rule's value into a target among the client's endpoints.

    A model's name may contain a slash, so these are tried in order: ``"ENDPOINT/MODEL"``, a model that an
    endpoint lists, an endpoint's name, and any model if an endpoint lists none.

    Raises:
        SettingsError: None of these fits.
    """
    for endpoint in endpoints:
        model = value.removeprefix(f"{endpoint.name}/")
        if model not in {"", value} and endpoint.serves(model):
            return RedirectTarget(endpoint, model)
    if any(value in (endpoint.models or ()) for endpoint in endpoints):
        return RedirectTarget(None, value)
    for endpoint in endpoints:
        if endpoint.name == value:
            return RedirectTarget(endpoint, None)
    if value and any(endpoint.serves(value) for endpoint in endpoints):
        return RedirectTarget(None, value)
    known = {endpoint.name for endpoint in endpoints}
    known |= {model for endpoint in endpoints for model in endpoint.models or ()}
    raise SettingsError(
        f"route: {setting}={value!r}: must be the name of an endpoint or of a model; {nearest(value, known)}"
    )


@attrs.frozen
class Redirection:
    """The new destination of a call: the endpoints that serve it, and its new body (None: unchanged)."""

    endpoints: tuple[Endpoint, ...]
    body: Mapping[str, Any] | None

    def apply(self, call: Call) -> None:
        """Change the call to go there."""
        if self.body is not None:
            call.request = attrs.evolve(call.request, body=self.body)
            call.content = encode_body(self.body)
        call.endpoints, call.endpoint = self.endpoints, self.endpoints[0]


def resolve_redirection(call: Call, target: RedirectTarget) -> Redirection | None:
    """Return how a call gets to ``target``; None if it is already there or cannot go there."""
    model, body = call.request.model, call.request.body
    wanted = model if target.model is None else target.model
    endpoints = call.all_endpoints if target.endpoint is None else (target.endpoint,)
    endpoints = tuple([endpoint for endpoint in endpoints if endpoint.serves(wanted)])
    if not endpoints or body is None:
        return None
    if wanted != model:
        return Redirection(endpoints, {**body, "model": wanted})
    return None if target.endpoint in {None, call.endpoint} else Redirection(endpoints, None)
