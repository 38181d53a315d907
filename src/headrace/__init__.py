"""headrace: many thousand concurrent LLM calls to OpenAI-compatible endpoints, on trio and asyncio."""

import logging
import typing

from headrace._support.public_names import fixup_module_metadata as _fixup_module_metadata
from headrace._support.public_names import renamed_member as _renamed_member
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

# Without a handler, Python would print a library's warnings to stderr.
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
_fixup_module_metadata(__all__, globals())

__all__ += ["Step", "audio", "file", "image", "run"]

if typing.TYPE_CHECKING:
    from headrace.bulk.run import run
    from headrace.bulk.steps import Step
    from headrace.wire.message_parts import audio, file, image
else:  # for a type checker too, any name would exist

    def __getattr__(name: str) -> object:
        """Functions that few programs need; and names of version 0.1, removed in 0.3."""
        if name in {"audio", "file", "image"}:
            from headrace.wire import message_parts

            return getattr(message_parts, name)
        if name == "run":
            from headrace.bulk.run import run

            return run
        if name == "Step":
            from headrace.bulk.steps import Step

            return Step
        renamed = {"Answered": "ParsedReply", "Ending": "StreamResult", "Piece": "Chunk"}
        return _renamed_member(name, renamed, globals())
