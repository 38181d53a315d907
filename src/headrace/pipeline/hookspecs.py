"""The hooks that plugins implement. Each is called once, when a client is made or the CLI starts.

Hooks are synchronous factories. No hook is called during a call, and the order in which plugins are found
does not matter: policies are sorted by stage and name.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    import click

    from headrace.bulk.control import RunControl
    from headrace.pipeline.bulk_engines import Engine
    from headrace.policies import Observer, Policy
    from headrace.settings import Settings
    from headrace.transports import Transport

hookspec: pluggy.HookspecMarker = pluggy.HookspecMarker("headrace")
hookimpl: pluggy.HookimplMarker = pluggy.HookimplMarker("headrace")
"""Marks a function of a plugin as the implementation of the hook with the same name."""


@hookspec
def headrace_policies(settings: Settings) -> Iterable[Policy] | None:
    """The policies of this plugin, for every client without ``policies=``.

    Called when a client is made. Since 0.1.

    Args:
        settings: The settings of the client; claim a section with ``settings.section(name, kind)``.

    Returns:
        Policies; None or an empty iterable for none.
    """


@hookspec
def headrace_observers(settings: Settings) -> Iterable[Observer] | None:
    """The observers of this plugin. A policy with a method ``notify`` is an observer without this hook.

    Called when a client without ``policies=`` is made. Since 0.1.

    Args:
        settings: The settings of the client; claim a section with ``settings.section(name, kind)``.

    Returns:
        Observers; None or an empty iterable for none.
    """


@hookspec
def headrace_transport(settings: Settings) -> Transport | None:
    """The transport for a client; two plugins that both return one are an error.

    Called when a client without ``transport=`` is made, unless ``settings.core.transport`` is "native" or
    "httpx". Since 0.1.

    Args:
        settings: The settings of the client; claim a section with ``settings.section(name, kind)``.

    Returns:
        A transport; None to leave the choice to others.
    """


@hookspec
def headrace_engines() -> Iterable[Engine] | None:
    """Engines for bulk runs, for ``headrace run --engine NAME``; two engines of one name are an error.

    Called once, when that command starts. Since 0.1.

    Returns:
        Engines; None or an empty iterable for none.
    """


@hookspec
def headrace_run_context(control: RunControl) -> AbstractAsyncContextManager[object] | None:
    """A context in which a bulk run is performed, for example one that serves its control messages.

    Called when a run with an output file begins, also if its client was made with ``policies=``. The context
    is entered in a task of its own before the first call, and left when the run ends or is cancelled. An
    error of it is logged as a warning, and the run goes on. Since 0.2.

    Args:
        control: Shows and changes the run.

    Returns:
        An async context manager; None for none.
    """


@hookspec
def headrace_commands(cli: click.Group) -> None:
    """Add commands to the ``headrace`` command line with ``cli.add_command`` or ``cli.command``.

    Called once, when it starts. Since 0.1.

    Args:
        cli: The group of commands.
    """
