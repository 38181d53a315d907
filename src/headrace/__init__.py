"""headrace: many thousand LLM calls at once over OpenAI-compatible endpoints, on trio and asyncio."""

import logging
import warnings

from headrace.assembly import Chunk
from headrace.client import Client
from headrace.embeddings import Embeddings
from headrace.endpoints import Endpoint
from headrace.errors import *  # noqa: F403
from headrace.errors import __all__ as _errors
from headrace.exports import publish as _publish
from headrace.hookspecs import hookimpl
from headrace.keys import Secret
from headrace.limiters import PriorityCapacityLimiter
from headrace.model import Call, Event, Observer, Outcome, Policy, Request, Send, Stage, StreamResult, Timeout
from headrace.rate_limits import RateLimits
from headrace.reply import Body, Headers, ParsedReply, Reply, Usage
from headrace.requests import RequestLike
from headrace.settings import Settings
from headrace.streaming import Stream
from headrace.tools import ToolCall, Tools
from headrace.transports import Transport
from headrace.workers import OutcomeStream

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


def __getattr__(name: str) -> object:
    """Names of 0.1, until 0.3."""
    new = {"Answered": "ParsedReply", "Ending": "StreamResult", "Piece": "Chunk"}.get(name)
    if new is None:
        raise AttributeError(f"module 'headrace' has no attribute {name!r}")
    warnings.warn(f"headrace.{name} is headrace.{new} now", DeprecationWarning, stacklevel=2)
    return globals()[new]
