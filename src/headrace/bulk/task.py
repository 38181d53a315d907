"""Makes the request for each item of a bulk run, and checks its answer."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any, Literal, TypeAlias

import attrs

from headrace._support.text import shortened
from headrace.bulk.fail_on import DEFAULT_FAIL_ON, parse_fail_on
from headrace.bulk.nested_keys import find_value
from headrace.bulk.prompts import Prompt, PromptLike, TemplateLanguage, make_prompt
from headrace.bulk.prompts.examples import Example, read_examples
from headrace.bulk.prompts.media_columns import MediaColumns, as_names
from headrace.bulk.request_template import RequestTemplate
from headrace.bulk.sample_arguments import check_samples
from headrace.bulk.sources import Item, TaskInput
from headrace.calls import Request
from headrace.errors import AnswerError, HeadraceError, InputError, InvalidReply, RequestError
from headrace.replies import Reply
from headrace.wire.choice_matching import match_choice, normalize_choice
from headrace.wire.finish_reasons import with_finish_reason
from headrace.wire.request_bodies import as_request, encode_body, encode_json
from headrace.wire.structured_output import ResponseFormat, response_format_for

OnMissing: TypeAlias = Literal["refuse", "fail-row"]
"""What happens if a row lacks a column: nothing is sent, or the item of that row fails."""

_OF_ROWS = (
    *("prompt", "template", "system", "messages", "examples", "model_column", "parameters", "tags"),
    *("priority", "extra_body", "choices", "answer"),
)
"""The arguments of a `Task` that make the request of a row; a line of the batch format has its own."""

_OF_MEDIA = ("image", "file", "audio", "max_pixels")


def _as_choices(choices: Iterable[str] | None) -> tuple[str, ...]:
    if isinstance(choices, str) or not isinstance(choices, Iterable | None):
        raise InputError(f"choices={shortened(repr(choices), 80)}: must be a list of texts")
    found = tuple(choices or ())
    for choice in found:
        if not isinstance(choice, str):
            raise InputError(f"choices=: {shortened(repr(choice), 80)} is not a text")
    found = tuple(choice.strip() for choice in found)
    if choices is not None and not all(found):
        raise InputError("choices=: one of them is empty")
    if len({normalize_choice(choice) for choice in found}) != len(found):
        raise InputError("choices=: two of them differ only in upper and lower case")
    return found


def _check_utf8(keyword: str, texts: Iterable[str | None]) -> None:
    """Raise `InputError` for bytes of a terminal that are not UTF-8, and for half a surrogate pair."""
    for text in texts:
        try:
            (text or "").encode()
        except UnicodeEncodeError as error:
            character = repr(error.object[error.start])
            raise InputError(f"{keyword}=: has {character}, which is not UTF-8; write it in UTF-8") from None


def _as_format(answer: Any) -> ResponseFormat | None:
    try:
        return None if answer is None else response_format_for(answer)
    except RequestError as error:
        raise InputError(f"answer=: {error}") from None


@attrs.frozen
class Task:
    """Makes the request for each item of a run.

    In ``parameters``, ``tags`` and ``priority``, ``"@name"`` is the value of the column ``name``. ``"@@"`` at
    the beginning is one @. An empty cell sets nothing.

    Args:
        source: The items.
        prompt: A template over the columns of the input, the path of a file with one, or a function from row
            to text or messages; None for ``messages`` alone, and for OpenAI's batch format, whose lines are
            whole requests.
        model: The model for requests that name none.
        choices: The allowed answers. The prompt asks the model for one of them; any other answer is an
            `AnswerError`.
        system: A system message for each prompt: a template, or the path of a file with one.
        parameters: Parameters of the API for all requests, like ``temperature``.
        answer: The type of each answer, as with `Client.chat`; not together with ``choices``.
        template: The language of ``prompt`` and ``system``: "braces" (``{name}``) or "jinja"; None for Jinja
            in files that end in ``.j2``, else braces.
        messages: The column with a conversation: a list of messages, or its JSON. The prompt follows it.
        examples: A file of examples, or their rows: the columns of the prompt, and ``answer``.
        model_column: The column of the models; if it is empty, ``model`` is used.
        tags: Tags of each request; see `Request`.
        priority: The priority of each request; see `Request`.
        extra_body: Members of each request's body that only your endpoint has.
        image: The column of images, or several; see `headrace.bulk.run`, also for the following.
        file: The column of files, or several.
        audio: The column of audio, or several.
        max_pixels: Scale larger images down to this many pixels (width × height); None for no limit.
        on_missing: "refuse": a row that lacks a column is an error before anything is sent; "fail-row": the
            item of that row fails, and the others are sent.
        fail_on: The finish reasons that make an item fail; see `headrace.bulk.run`.
        samples: The number of answers for each row; None for one that is not kept as a list. A request asks
            for all of them, and `headrace.bulk.run` makes further calls for those that do not come.
        vote: Whether the answer of a row is the most frequent one of its samples.

    Raises:
        InputError: The arguments do not fit together or are not valid.
    """

    source: TaskInput
    prompt: PromptLike | None
    model: str | None
    choices: tuple[str, ...] = attrs.field(default=None, converter=_as_choices)
    system: str | os.PathLike[str] | Prompt | None = None
    parameters: Mapping[str, Any] = attrs.field(factory=dict)
    answer: ResponseFormat | None = attrs.field(default=None, converter=_as_format)
    template: TemplateLanguage | None = attrs.field(default=None, kw_only=True)
    messages: str | None = attrs.field(default=None, kw_only=True)
    examples: tuple[Example, ...] = attrs.field(default=None, converter=read_examples, kw_only=True)
    model_column: str | None = attrs.field(default=None, kw_only=True)
    tags: Mapping[str, str] = attrs.field(factory=dict, kw_only=True)
    priority: int | str = attrs.field(default=0, kw_only=True)
    extra_body: Mapping[str, Any] = attrs.field(factory=dict, kw_only=True)
    image: tuple[str, ...] = attrs.field(default=None, converter=as_names, kw_only=True)
    file: tuple[str, ...] = attrs.field(default=None, converter=as_names, kw_only=True)
    audio: tuple[str, ...] = attrs.field(default=None, converter=as_names, kw_only=True)
    max_pixels: int | None = attrs.field(default=None, kw_only=True)
    on_missing: OnMissing = attrs.field(default="refuse", kw_only=True)
    fail_on: Set[str] = attrs.field(default=DEFAULT_FAIL_ON, converter=parse_fail_on, kw_only=True)
    samples: int | None = attrs.field(default=None, kw_only=True)
    vote: bool = attrs.field(default=False, kw_only=True)
    _requests: RequestTemplate | None = attrs.field(init=False, repr=False, eq=False)

    def __attrs_post_init__(self) -> None:
        # Files are read here, once: a task that gets these values reads none.
        object.__setattr__(self, "prompt", make_prompt(self.prompt, "prompt", self.template))
        object.__setattr__(self, "system", make_prompt(self.system, "system", self.template))
        for keyword, texts in (
            ("prompt", [getattr(self.prompt, "text", None)]),
            ("system", [getattr(self.system, "text", None)]),
            ("model", [self.model]),
            ("choices", self.choices),
        ):
            _check_utf8(keyword, texts)
        if self.answer is not None and (self.choices or "response_format" in self.parameters):
            raise InputError(
                "answer= sets the form of the answer; leave out choices= and the parameter response_format"
            )
        if self.on_missing not in ("refuse", "fail-row"):
            raise InputError(f"on_missing={self.on_missing!r}: must be 'refuse' or 'fail-row'")
        requests = None
        if self.source.kind == "batch":
            names = (*_OF_ROWS, *_OF_MEDIA, "samples", "vote")
            unused = [f"{name}=" for name in names if getattr(self, name) not in (None, 0, (), {})]
            if unused:
                raise InputError(
                    f"{self.source.name}: this is OpenAI's batch format, whose lines are whole requests; "
                    f"leave out {', '.join(unused)}"
                )
        elif self.prompt is None and self.messages is None:
            raise InputError(f"{self.source.name}: prompt= is missing; it may name columns, like {{name}}")
        elif self.model is None and self.model_column is None:
            raise InputError("no model: set model=, or HEADRACE_MODEL")
        else:
            arguments = {name: getattr(self, name) for name in _OF_ROWS if name != "template"}
            check_samples(
                self.samples,
                vote=self.vote,
                **{name: arguments[name] for name in ("choices", "answer", "parameters", "extra_body")},
            )
            if self.samples is not None and self.samples > 1:
                arguments["parameters"] = {**self.parameters, "n": self.samples}
            requests = RequestTemplate(model=self.model, media=self._media_columns(), **arguments)
        object.__setattr__(self, "_requests", requests)

    def _media_columns(self) -> MediaColumns:
        binary: Set[str] = getattr(self.source, "binary_columns", frozenset())
        return MediaColumns(**{name: getattr(self, name) for name in _OF_MEDIA}, binary=binary)

    @property
    def columns(self) -> Sequence[str] | None:
        """The columns that a request is made of; None for the whole row, or a whole line."""
        return None if self._requests is None else self._requests.columns

    def digest(self, item: Item) -> int:
        """A checksum of the part of a row that its request is made of; never 0.

        A done item whose digest has changed must not count as done. Of an image, a file or audio, the value
        of the cell counts. The content of a file does not, because all files would be read before a run.
        """
        columns = self.columns
        if item.request is not None:
            used = encode_body(item.request.body or {})
        elif columns is None:
            used = encode_json(item.row)
        else:
            row = item.row
            try:
                used = encode_json([row[name] for name in columns])
            except KeyError:  # a nested key, or a column that is missing
                used = encode_json([row[name] if name in row else find_value(row, name) for name in columns])
        return zlib.crc32(used) or 1

    def check_item(self, item: Item) -> None:
        """Raise `InputError` for an item that lacks a column, unless ``on_missing`` allows it."""
        if self._requests is None:
            self._whole_request(item)
        elif self.on_missing == "refuse" and not self._requests.is_complete(item.row):
            self._requests.check(item.row, self.source.where(item.line))

    def request(self, item: Item) -> Request:
        """The request for an item; raises `InputError` with file and line if the item has none.

        Such an error concerns this item only; the others can be sent.
        """
        if item.request is not None:
            return item.request  # the client checks the rest
        if item.error is not None:
            raise item.error
        if self._requests is None:
            return self._whole_request(item)
        if self.on_missing == "fail-row":
            self._requests.check(item.row, self.source.where(item.line))
        where = self.source.where(item.line) if self._requests.has_media else ""
        try:
            return self._requests.request(item.row, item.id, where)
        except InputError as error:
            raise InputError(f"{self.source.where(item.line)}: {error}") from error.__cause__
        except KeyError:  # the input has changed since it was checked
            self._requests.check(item.row, self.source.where(item.line))
            raise

    def _whole_request(self, item: Item) -> Request:
        """The request that a line of the batch format holds."""
        try:
            request = as_request(item.request or item.row, self.model)
        except RequestError as error:
            raise InputError(f"{self.source.where(item.line)}: {error}") from None
        return attrs.evolve(request, id=item.id) if request.id is None else request

    def fingerprint(self) -> dict[str, Any]:
        """The values that must be the same when a run is resumed; the items may differ."""
        requests = self._requests
        prompt, system = (None, None) if requests is None else (requests.prompt, requests.system)
        return {
            "prompt": prompt.text if prompt else None,
            "model": self.model,
            "choices": list(self.choices),
            "system": system.text if system else None,
            "parameters": dict(self.parameters) or None,
            "answer": None if self.answer is None else dict(self.answer.schema),
            "id_column": self.source.id_column,
            "samples": self.samples,
            "vote": self.vote or None,
            **({} if requests is None else requests.fingerprint()),
        }


def read_choice(choices: Sequence[str], reply: Reply) -> tuple[str | None, HeadraceError | None]:
    """The choice in a reply, or the error if it contains none; both None without choices."""
    if not choices:
        return None, None
    try:
        text = reply.text
    except InvalidReply as error:
        return None, error
    choice = match_choice(choices, text)
    if choice is not None:
        return choice, None
    excerpt = text if len(text) <= 80 else text[:79] + "…"
    return None, with_finish_reason(reply, AnswerError(f"the answer {excerpt!r} is not one of the choices"))
