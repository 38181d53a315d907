"""The control messages that a bulk run takes: typed and versioned, as JSON.

``{"type": "set", "version": 1, "name": "max-in-flight", "value": 400}``. Members and types are only added in
later versions. A version is raised when an old run would misunderstand a message.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from headrace._support.lenient_json import NOT_JSON
from headrace._support.text import nearest, quoted
from headrace.bulk.policy_limits import LimitValue
from headrace.errors import ControlRefused

VERSION = 1
"""The version of the messages that this headrace sends, and the highest one that its runs take."""


class _Message(msgspec.Struct, frozen=True, tag_field="type", kw_only=True):
    version: int = VERSION


class GetStatus(_Message, tag="status", frozen=True):
    """Asks for the snapshot of the run."""


class PauseRun(_Message, tag="pause", frozen=True):
    """No more items are sent; those in flight are finished."""


class ResumeRun(_Message, tag="resume", frozen=True):
    """Items are sent again after a pause."""


class StopRun(_Message, tag="stop", frozen=True):
    """Ends the session; items in flight are finished, and the same command continues the run."""


class SetLimit(_Message, tag="set", frozen=True):
    """Changes a limit of the run.

    Attributes:
        name: The limit, like "max-in-flight" or "budget".
        value: The new value; None or "none" for no limit.
    """

    name: str
    value: LimitValue


class RetryFailed(_Message, tag="retry-failed", frozen=True):
    """The items that failed are sent again in this run."""


class CancelItems(_Message, tag="cancel", frozen=True):
    """Items that are in flight, or were not sent yet, fail.

    Attributes:
        ids: Their ids.
    """

    ids: list[str]


ControlMessage: TypeAlias = GetStatus | PauseRun | ResumeRun | StopRun | SetLimit | RetryFailed | CancelItems

_TYPES = ("cancel", "pause", "resume", "retry-failed", "set", "status", "stop")


class _Envelope(msgspec.Struct):
    type: str
    version: int


_decode_envelope = msgspec.json.Decoder(_Envelope).decode
_decode_message = msgspec.json.Decoder(ControlMessage).decode
_encode = msgspec.json.Encoder().encode


def encode_message(message: ControlMessage) -> bytes:
    """A message as JSON, on one line without an end of line.

    Raises:
        ControlRefused: A text in it cannot be UTF-8, as an argument of a command that is not.
    """
    try:
        return _encode(message)
    except UnicodeEncodeError as error:
        raise ControlRefused(f"{quoted(error.object)}: is not text in UTF-8") from None


def decode_message(line: bytes) -> ControlMessage:
    """A message from its JSON.

    Raises:
        ControlRefused: It is not JSON, or its type, its version or a member is not known or not valid.
    """
    try:
        envelope = _decode_envelope(line)
        if envelope.version != VERSION:
            raise ControlRefused(
                f"this run takes control messages of version {VERSION}, not {envelope.version}; "
                "use the version of headrace that runs it"
            )
        if envelope.type not in _TYPES:
            raise ControlRefused(
                f"unknown control message {quoted(envelope.type)}; {nearest(envelope.type, _TYPES)}"
            )
        message: ControlMessage = _decode_message(line)
    except NOT_JSON as error:
        raise ControlRefused(f"not a control message: {error}") from None
    return message
