"""Reads a request body into the class it should have, or says which field is wrong."""

import re
from typing import TypeVar

import msgspec

from headrace.testing.server.plan import Refusal

Body = TypeVar("Body")

# msgspec names the place only in its message: "… missing required field `model`", "… - at `$.messages[0]`".
_MISSING = re.compile(r"missing required field `([^`]+)`")
_PLACE = re.compile(r" - at `\$\.?([^`]*)`$")


def read(content: bytes, kind: type[Body]) -> Body:
    """The body as an object of that class.

    Raises:
        Refusal: 400, the body is not JSON or not such an object; `param` names the field.
    """
    try:
        return msgspec.json.decode(content, type=kind)
    except msgspec.ValidationError as error:
        raise Refusal(400, f"Invalid request: {error}", param=_field(str(error))) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        message = f"We could not parse the JSON body of your request: {error}"
        raise Refusal(400, message, code="invalid_json") from None


def _field(message: str) -> str | None:
    place = _PLACE.search(message)
    missing = _MISSING.search(message)
    names = [found[1] for found in (place, missing) if found and found[1]]
    return ".".join(names) or None
