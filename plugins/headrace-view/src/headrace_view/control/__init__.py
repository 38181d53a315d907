"""Control messages to a bulk run that goes on, over its Unix socket."""

from headrace_view.control.async_client import AsyncControlClient, connect_async
from headrace_view.control.blocking_client import ControlClient, connect
from headrace_view.control.errors import NoRunError

__all__ = ["AsyncControlClient", "ControlClient", "NoRunError", "connect", "connect_async"]
