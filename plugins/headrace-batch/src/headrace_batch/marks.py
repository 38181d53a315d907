"""The marks by which a part is found at the endpoint: the name of its file, and its batch's metadata."""

from __future__ import annotations

import re
from collections.abc import Mapping

from headrace_batch.part import Part

RUN, PART, DIGEST = "headrace_run", "headrace_part", "headrace_digest"
"""The keys of a batch's metadata."""


def file_name(run: str, part: Part) -> str:
    """The name of a part's file at the endpoint."""
    return f"headrace-{run}-{part.number}-{part.digest}.jsonl"


def batch_marks(run: str, part: Part) -> dict[str, str]:
    """The metadata of a part's batch."""
    return {RUN: run, PART: str(part.number), DIGEST: part.digest}


_FILE_NAME = re.compile(r"headrace-(?P<run>.+)-(?P<part>[0-9]+)-(?P<digest>[0-9a-f]+)\.jsonl", re.ASCII)


def marks_in_name(name: str) -> dict[str, str]:
    """The metadata that a batch would have, from the name of its file; none from another name."""
    found = _FILE_NAME.fullmatch(name)
    return {} if found is None else {RUN: found["run"], PART: found["part"], DIGEST: found["digest"]}


def is_marked(metadata: Mapping[str, str], run: str, part: Part) -> bool:
    """Whether the metadata are those of this part."""
    return all(metadata.get(name) == value for name, value in batch_marks(run, part).items())
