"""headrace: many thousand LLM calls at once over OpenAI-compatible endpoints, on trio and asyncio."""

import logging

from headrace.assembly import Piece
from headrace.client import Client
from headrace.embeddings import Embeddings
from headrace.endpoints import Endpoint
from headrace.errors import *  # noqa: F403
from headrace.errors import __all__ as _errors
from headrace.exports import publish as _publish
from headrace.hookspecs import hookimpl
from headrace.keys import Secret
from headrace.limiters import PriorityCapacityLimiter
from headrace.model import Call, Ending, Event, Observer, Outcome, Policy, Request, Send, Stage, Timeout
from headrace.rate_limits import RateLimits
from headrace.reply import Answered, Body, Headers, Reply, Usage
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
    "Answered",
    "Body",
    "Call",
    "Client",
    "Embeddings",
    "Ending",
    "Endpoint",
    "Event",
    "Headers",
    "Observer",
    "Outcome",
    "OutcomeStream",
    "Piece",
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
