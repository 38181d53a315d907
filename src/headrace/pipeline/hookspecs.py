"""The contract with plugins: pluggy hooks, each called once, when a client or the CLI starts.

Hooks are synchronous factories. What they return is sorted by stage and name and folded into one chain
of coroutines; no hook is called on the path of a call. The order in which plugins are found means nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    import click

    from headrace.pipeline.engines import Engine
    from headrace.policies import Observer, Policy
    from headrace.settings import Settings
    from headrace.transports import Transport

hookspec: pluggy.HookspecMarker = pluggy.HookspecMarker("headrace")
hookimpl: pluggy.HookimplMarker = pluggy.HookimplMarker("headrace")
"""Marks a plugin's function as the implementation of the hook of the same name."""


@hookspec
def headrace_policies(settings: Settings) -> Iterable[Policy] | None:
    """The policies this plugin contributes to every client that names none itself.

    Called when a client is made. Claim settings with ``settings.section(name, kind)``. None or an empty
    iterable: nothing for this client. Since 0.1.
    """


@hookspec
def headrace_observers(settings: Settings) -> Iterable[Observer] | None:
    """Observers that are told of events; a policy that has ``notify`` is one without this hook.

    Called when a client is made that names no policies itself. Claim settings with
    ``settings.section(name, kind)``. None or an empty iterable: nothing for this client. Since 0.1.
    """


@hookspec
def headrace_transport(settings: Settings) -> Transport | None:
    """The transport for a client, None to leave it to others.

    Called when a client is made without a transport of its own, unless ``settings.core.transport`` is
    "native" or "httpx". Claim settings with ``settings.section(name, kind)``. Two plugins that both answer
    are an error. Since 0.1.
    """


@hookspec
def headrace_engines() -> Iterable[Engine] | None:
    """Engines that bulk runs can be handed to, by ``headrace run --engine NAME``.

    Called once, when that command starts. None or an empty iterable: nothing. Two engines of one name are an
    error. Since 0.1.
    """


@hookspec
def headrace_commands(cli: click.Group) -> None:
    """Add commands to the ``headrace`` command line, by ``cli.add_command`` or ``cli.command``.

    Called once, when it starts. Since 0.1.
    """
