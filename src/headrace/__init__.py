"""headrace: many thousand LLM calls at once over OpenAI-compatible endpoints, on trio and asyncio."""

import logging
import warnings
from typing import TYPE_CHECKING

from headrace._support.public_names import publish as _publish
from headrace.calls import Call, Event, Outcome, Request, StreamResult, Timeout
from headrace.client import Client
from headrace.client.embeddings import Embeddings
from headrace.client.map import OutcomeStream
from headrace.client.stream import Stream
from headrace.endpoint import Endpoint
from headrace.errors import *  # noqa: F403
from headrace.errors import __all__ as _errors
from headrace.keys import Secret
from headrace.limiters import PriorityCapacityLimiter
from headrace.pipeline.hookspecs import hookimpl
from headrace.policies import Observer, Policy, Send, Stage
from headrace.replies import Body, Headers, ParsedReply, Reply, Usage
from headrace.settings import Settings
from headrace.settings.rate_limits import RateLimits
from headrace.transports import Transport
from headrace.wire.request_bodies import RequestLike
from headrace.wire.stream_accumulator import Chunk
from headrace.wire.tools import ToolCall, Tools

__version__ = "0.1.0"

# A library says nothing on stderr of its own accord.
logging.getLogger("headrace").addHandler(logging.NullHandler())

__all__ = [
    "Body",
    "Call",
    "Chunk",
    "Client",
    "Embeddings",
    "Endpoint",
    "Event",
    "Headers",
    "Observer",
    "Outcome",
    "OutcomeStream",
    "ParsedReply",
    "Policy",
    "PriorityCapacityLimiter",
    "RateLimits",
    "Reply",
    "Request",
    "RequestLike",
    "Secret",
    "Send",
    "Settings",
    "Stage",
    "Stream",
    "StreamResult",
    "Timeout",
    "ToolCall",
    "Tools",
    "Transport",
    "Usage",
    "__version__",
    "hookimpl",
]
__all__ += _errors
_publish(__all__, globals())


if not TYPE_CHECKING:  # a type checker would take any name for one of headrace

    def __getattr__(name: str) -> object:
        """Names of 0.1, until 0.3."""
        new = {"Answered": "ParsedReply", "Ending": "StreamResult", "Piece": "Chunk"}.get(name)
        if new is None:
            raise AttributeError(f"module 'headrace' has no attribute {name!r}")
        warnings.warn(f"headrace.{name} is headrace.{new} now", DeprecationWarning, stacklevel=2)
        return globals()[new]
