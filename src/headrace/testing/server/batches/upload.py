"""Reads an upload: a form whose file goes to its store while it arrives."""

from collections.abc import Callable
from hashlib import blake2b
from typing import TYPE_CHECKING

import attrs

from headrace.testing.server.asgi import Receive
from headrace.testing.server.response_plan import RejectedRequest
from headrace.testing.server.stored_content import StoredContent

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

UPLOAD_LIMIT = 512 * 1024 * 1024
"""The longest accepted file, in bytes."""

_FIELD_LIMIT = 1024
_FILE = "file"


@attrs.frozen
class Upload:
    """An uploaded form.

    Args:
        content: The content of its file.
        filename: The name of its file.
        fields: Its other fields.
        digest: A digest of all of these.
    """

    content: StoredContent
    filename: str
    fields: dict[str, str]
    digest: bytes


async def read_upload(receive: Receive, content_type: str) -> Upload | None:
    """The form in the body of the request, or None if the client has disconnected.

    Args:
        receive: Receives the body.
        content_type: The request's header of this name.

    Raises:
        RejectedRequest: The body is not a form with one file, or the file is too long. Status 400. Or
            python-multipart is not installed; it comes with `headrace[cli]`. Status 501.
    """
    try:
        from python_multipart.exceptions import FormParserError
        from python_multipart.multipart import MultipartParser, parse_options_header
    except ImportError as error:
        needed = "The endpoint cannot read uploads without python-multipart: pip install 'headrace[cli]'"
        raise RejectedRequest(501, needed, type="server_error") from error
    form = _Form(parse_options_header)
    parser, refusal = None, None
    kind, options = parse_options_header(content_type)
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        more = message.get("more_body", False)
        # After an error, the body is read to its end: a client that still writes would not see the response.
        if kind != b"multipart/form-data" or refusal is not None:
            continue
        try:
            parser = parser or MultipartParser(options.get(b"boundary", b""), form.callbacks())
            parser.write(message.get("body", b""))
        except FormParserError as error:
            refusal = RejectedRequest(400, f"We could not parse the form: {error}")
        except RejectedRequest as error:
            refusal = error
    if refusal is not None:
        raise refusal
    if not form.ended or form.filename is None:
        raise RejectedRequest(400, "Send a multipart form with a file in the field 'file'.", param=_FILE)
    return form.upload(form.filename)


class _Form:
    """Takes the parts of a form from the parser. Other headers than the name and the filename are ignored."""

    def __init__(self, parse_header: Callable[[bytes], tuple[bytes, dict[bytes, bytes]]]) -> None:
        self.filename: str | None = None
        self.ended = False
        self._parse_header = parse_header
        self._fields: dict[str, str] = {}
        self._content = StoredContent()
        self._digest = blake2b()
        self._header = [b"", b""]
        self._name = ""
        self._is_file = False
        self._value = b""

    def callbacks(self) -> "MultipartCallbacks":
        return {
            "on_part_begin": self._begin_part,
            "on_header_field": lambda data, start, end: self._extend_header(0, data[start:end]),
            "on_header_value": lambda data, start, end: self._extend_header(1, data[start:end]),
            "on_header_end": self._end_header,
            "on_part_data": lambda data, start, end: self._add_data(data[start:end]),
            "on_part_end": self._end_part,
            "on_end": self._end,
        }

    def upload(self, filename: str) -> Upload:
        for text in (filename, *self._fields, *self._fields.values()):
            self._digest.update(text.encode() + b"\0")
        return Upload(self._content, filename, self._fields, self._digest.digest())

    def _begin_part(self) -> None:
        self._name, self._value, self._is_file = "", b"", False

    def _extend_header(self, at: int, data: bytes) -> None:
        self._header[at] += data

    def _end_header(self) -> None:
        (name, value), self._header = self._header, [b"", b""]
        if name.lower() != b"content-disposition":
            return
        _, options = self._parse_header(value)
        self._name = options.get(b"name", b"").decode(errors="replace")
        self._is_file = self._name == _FILE
        if self._is_file:
            self.filename = options.get(b"filename", b"upload").decode(errors="replace")

    def _add_data(self, data: bytes) -> None:
        if self._is_file:
            if len(self._content) + len(data) > UPLOAD_LIMIT:
                raise RejectedRequest(400, "File is too large.")
            self._content.append(data)
            self._digest.update(data)
        else:
            self._value += data
            if len(self._value) > _FIELD_LIMIT:
                raise RejectedRequest(400, f"The field '{self._name}' is too long.", param=self._name)

    def _end_part(self) -> None:
        if not self._is_file:
            self._fields[self._name] = self._value.decode(errors="replace")

    def _end(self) -> None:
        self.ended = True
