"""Where a call goes that another model or endpoint is to answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from headrace import Call, Endpoint, SettingsError
from headrace.plugins import encode_body, nearest


@attrs.frozen
class Target:
    """An ``endpoint`` (None: any that has the model) and a ``model`` (None: the call's own)."""

    endpoint: Endpoint | None
    model: str | None


def target_of(setting: str, value: str, endpoints: Sequence[Endpoint]) -> Target:
    """What a rule's value names among the client's endpoints.

    ``"ENDPOINT/MODEL"``, a model that an endpoint lists, an endpoint's name, or any model where an endpoint
    lists none: the first of these that fits, for the names of models may hold a slash. Raises `SettingsError`
    where none does.
    """
    for endpoint in endpoints:
        model = value.removeprefix(f"{endpoint.name}/")
        if model not in {"", value} and endpoint.serves(model):
            return Target(endpoint, model)
    if any(value in (endpoint.models or ()) for endpoint in endpoints):
        return Target(None, value)
    for endpoint in endpoints:
        if endpoint.name == value:
            return Target(endpoint, None)
    if value and any(endpoint.serves(value) for endpoint in endpoints):
        return Target(None, value)
    known = {endpoint.name for endpoint in endpoints}
    known |= {model for endpoint in endpoints for model in endpoint.models or ()}
    raise SettingsError(
        f"route: {setting}={value!r}: no endpoint is called so or has it; {nearest(value, known)}"
    )


@attrs.frozen
class Redirection:
    """Another destination of a call: the endpoints that serve it there, and its body (None: as it is)."""

    endpoints: tuple[Endpoint, ...]
    body: Mapping[str, Any] | None

    def apply(self, call: Call) -> None:
        """Have the call go there."""
        if self.body is not None:
            call.request = attrs.evolve(call.request, body=self.body)
            call.content = encode_body(self.body)
        call.endpoints, call.endpoint = self.endpoints, self.endpoints[0]


def redirection(call: Call, target: Target) -> Redirection | None:
    """How a call gets to ``target``; None where it comes from there, or cannot go."""
    model, body = call.request.model, call.request.body
    wanted = model if target.model is None else target.model
    endpoints = call.all_endpoints if target.endpoint is None else (target.endpoint,)
    endpoints = tuple([endpoint for endpoint in endpoints if endpoint.serves(wanted)])
    if not endpoints or body is None:
        return None
    if wanted != model:
        return Redirection(endpoints, {**body, "model": wanted})
    return None if target.endpoint in {None, call.endpoint} else Redirection(endpoints, None)
