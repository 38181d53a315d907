"""Parses a request body, or names its invalid field."""

import re
from typing import TypeVar

import msgspec

from headrace.testing.server.response_plan import RejectedRequest

Body = TypeVar("Body")

# msgspec gives the path only in its message: "… missing required field `model`", "… - at `$.messages[0]`".
_MISSING = re.compile(r"missing required field `([^`]+)`")
_PATH = re.compile(r" - at `\$\.?([^`]*)`$")


def parse_body(content: bytes, kind: type[Body]) -> Body:
    """Parse the body as an object of this class.

    Raises:
        RejectedRequest: The body is not JSON or not such an object. Status 400; `param` is the field.
    """
    try:
        return msgspec.json.decode(content, type=kind)
    except msgspec.ValidationError as error:
        raise RejectedRequest(400, f"Invalid request: {error}", param=_field(str(error))) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        message = f"We could not parse the JSON body of your request: {error}"
        raise RejectedRequest(400, message, code="invalid_json") from None


def _field(message: str) -> str | None:
    path = _PATH.search(message)
    missing = _MISSING.search(message)
    names = [found[1] for found in (path, missing) if found and found[1]]
    return ".".join(names) or None
