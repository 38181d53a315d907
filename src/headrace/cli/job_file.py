"""Job files of `headrace run`: TOML with the options of a run, and with its steps."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from headrace._support.text import quoted
from headrace.cli.job_keys import JOB_KEYS, REQUEST_KEYS, STEP_KEYS, checked
from headrace.errors import InputError

if TYPE_CHECKING:
    from headrace.bulk.steps import Step

SUFFIX = ".toml"
_STEP = "step"

_OF_COMMAND = frozenset(
    ("retry_failed", "only", "changed", "keep_done", "fresh", "dry_run", "sample", "engine", "json")
) | {"quiet", "verbose"}
"""Options about one session, which would be wrong for the next one."""

_OF_ALL = "steps: "
"""The beginning of messages about all steps together."""

_KEYWORD = re.compile(r"(?<![\w'\"-])([a-z]\w*)=(?=[\s,;:.)]|$)")
"""A name as messages write it for Python."""


@attrs.frozen
class JobFile:
    """A job file whose keys and types are checked.

    Attributes:
        path: The file.
        values: The values of its top level by key; paths are relative to the working directory.
        steps: The values of each ``[[step]]``.
    """

    path: Path
    values: Mapping[str, Any]
    steps: tuple[Mapping[str, Any], ...]

    @classmethod
    def read(cls, path: Path) -> JobFile:
        """Read a file.

        Raises:
            InputError: It cannot be read, is not TOML, or has a key or a value that is wrong.
        """
        import tomllib

        try:
            content = tomllib.loads(path.read_bytes().decode("utf-8-sig"))
        except OSError as error:
            raise InputError(f"{path}: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise InputError(f"{path}: not UTF-8 ({error.reason}); save the file as UTF-8") from None
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            raise InputError(f"{path}: not TOML: {error}") from None
        steps = content.pop(_STEP, [])
        if not isinstance(steps, list) or not all(isinstance(step, dict) for step in steps):
            raise InputError(f"{path}: step must be an array of tables; begin each step with [[step]]")
        for key in _OF_COMMAND & content.keys():
            raise InputError(
                f"{path}: {key} belongs on the command line: --{key.replace('_', '-')}; remove it here"
            )
        values = checked(content, {**JOB_KEYS, _STEP: _no_step}, str(path), path.parent)
        values.pop(_STEP, None)
        for key in values:
            if steps and key in REQUEST_KEYS:
                raise InputError(f"{path}: {key} belongs to a step, because the job has steps; move it there")
        found = cls(path, values, tuple(_checked_step(path, *each) for each in enumerate(steps, 1)))
        if "input" not in values:
            raise InputError(
                f'{path}: input is missing; name the file with the rows, like input = "rows.csv"'
            )
        return found

    def options(self) -> dict[str, Any]:
        """The values as those of the options of `headrace run`, for click's ``default_map``.

        Raises:
            InputError: A value cannot be written as that of an option.
        """
        import msgspec

        found = dict(self.values)
        del found["input"]
        for key in ("choices", "fail_on"):
            if key in found:
                if comma := next((each for each in found[key] if "," in each), None):
                    raise InputError(f"{self.path}: {key}: {quoted(comma)} has a comma; write it without")
                found[key] = ",".join(found[key])
        for key in ("parameters", "extra_body"):
            if key in found:
                members = found[key].items()
                found[key] = [f"{name}={msgspec.json.encode(value).decode()}" for name, value in members]
        if "tags" in found:
            found["tags"] = [f"{name}={value}" for name, value in found["tags"].items()]
        if "priority" in found:
            found["priority"] = str(found["priority"])
        return found

    def make_steps(self) -> list[Step] | None:
        """The steps as Python has them; None for a job without steps.

        Raises:
            InputError: A name is not valid, or the file of a schema cannot be read.
        """
        from headrace.bulk.steps import Step
        from headrace.cli.options import json_file

        steps: list[Step] = []
        for values in self.steps:
            arguments = dict(values)
            for part in ("prompt", "system"):
                if (file := arguments.pop(f"{part}_file", None)) is not None:
                    arguments[part] = Path(file)
            if (schema := arguments.pop("schema", None)) is not None:
                where = f"{self.path}: step {quoted(values['name'])}: schema"
                arguments["answer"] = json_file(where, schema)
            try:
                steps.append(Step(**arguments))
            except InputError as error:
                raise self.mistake(error) from None
        return steps or None

    def mistake(self, error: InputError) -> InputError:
        """An error of the steps as one of this file: that of a step names keys in place of keywords."""
        message = str(error)
        if message.startswith(_OF_ALL):  # it may name options, which are not in this file
            return InputError(f"{self.path}: {message.removeprefix(_OF_ALL)}")
        keys = _KEYWORD.sub(r"\1", message)
        return InputError(f"{self.path}: {keys}")


def _no_step(value: Any, folder: Path) -> None:
    """Only there so that ``step`` is a known key."""


def _checked_step(path: Path, number: int, values: Mapping[str, Any]) -> Mapping[str, Any]:
    name = values.get("name")
    where = f"{path}: step {quoted(name) if isinstance(name, str) else number}"
    found = checked(values, STEP_KEYS, where, path.parent)
    if name is None:
        raise InputError(f'{where}: name is missing; add one, like name = "category"')
    return found
