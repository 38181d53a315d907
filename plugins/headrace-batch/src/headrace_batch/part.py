"""A part: the rows of one batch, and the table of what happens to it.

    stage      what is durable                            what comes next
    ---------  -----------------------------------------  ------------------------------------------------
    PLANNED    the part's file on this disk               upload it
    UPLOADING  that an upload has begun                   look for the file: there: UPLOADED, else PLANNED
    UPLOADED   the id of the file                         create the batch
    CREATING   that a create has begun                    look for the batch: there: CREATED,
                                                          else delete the file: PLANNED
    CREATED    the id of the batch                        poll it until it ends
    ENDED      that the batch has ended                   fetch its files and merge them
    KEPT       those rows of an ended, adopted batch      nothing, until a session draws some of them:
               that no session has drawn                  ENDED
    SETTLED    that all its rows are in the output, or
               are sent in another way                    nothing

What is about to be sent is durable before it is sent. So after a crash, a part in UPLOADING or CREATING is
one that the endpoint may have or not, and the endpoint is asked. A batch that the endpoint does not list may
still be on its way: the file is deleted, without which it cannot be created any more, and the endpoint is
asked again, before another batch is created.

An adopted batch was created by another program. Its part begins at CREATED. It may have requests that are not
rows of the run, or rows that a session was not asked for. When the others are merged, a part with only these
takes its place.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any

import attrs

from headrace import JournalError


class Stage(enum.StrEnum):
    """How far a part is; see the module."""

    PLANNED = "planned"
    UPLOADING = "uploading"
    UPLOADED = "uploaded"
    CREATING = "creating"
    CREATED = "created"
    ENDED = "ended"
    KEPT = "kept"
    SETTLED = "settled"


class Step(enum.Enum):
    """What to do next for a part."""

    UPLOAD = enum.auto()
    FIND_FILE = enum.auto()
    CREATE = enum.auto()
    FIND_BATCH = enum.auto()
    POLL = enum.auto()
    MERGE = enum.auto()
    NOTHING = enum.auto()


NEXT_STEP: Mapping[Stage, Step] = {
    Stage.PLANNED: Step.UPLOAD,
    Stage.UPLOADING: Step.FIND_FILE,
    Stage.UPLOADED: Step.CREATE,
    Stage.CREATING: Step.FIND_BATCH,
    Stage.CREATED: Step.POLL,
    Stage.ENDED: Step.MERGE,
    Stage.KEPT: Step.MERGE,
    Stage.SETTLED: Step.NOTHING,
}

_MAY_FOLLOW: Mapping[Stage, frozenset[Stage]] = {
    Stage.PLANNED: frozenset({Stage.UPLOADING, Stage.SETTLED}),
    Stage.UPLOADING: frozenset({Stage.PLANNED, Stage.UPLOADED, Stage.SETTLED}),
    Stage.UPLOADED: frozenset({Stage.PLANNED, Stage.CREATING, Stage.SETTLED}),
    Stage.CREATING: frozenset({Stage.PLANNED, Stage.UPLOADED, Stage.CREATED}),
    Stage.CREATED: frozenset({Stage.UPLOADED, Stage.ENDED, Stage.SETTLED}),
    Stage.ENDED: frozenset({Stage.SETTLED}),
    Stage.KEPT: frozenset({Stage.ENDED, Stage.SETTLED}),
    Stage.SETTLED: frozenset(),
}


@attrs.define
class Part:
    """The rows of one batch.

    Attributes:
        number: Its number in the run, from 1.
        rows: How many rows it has.
        size: Bytes of its file.
        digest: The digest of the file's bytes.
        path: The path of the API for all its rows, like ``/chat/completions``.
        model: The model of all its rows; None if they name none.
        endpoint: The base URL of the endpoint that gets it.
        round: How often its rows were in a batch before.
        reserved: USD of the budget that are reserved for it, as text.
        tokens: Estimated prompt tokens of its rows; 0 if they do not matter.
        adopted: Whether another program has created its batch.
        stage: How far it is.
        file: The id of its file at the endpoint.
        batch: The id of its batch.
        refused: The ids of batches that the endpoint refused for it, or that were superfluous.
        cancelled: The ids of its rows that were cancelled and have not failed yet.
        lost: Whether the session before did not find its batch or its results at the endpoint.
        outstanding: How many of its rows this session waits for.
        drawn: How many of its rows this session has drawn.
        has_reservation: Whether this session has reserved its part of the budget.
        has_room: Whether this session has found room for its tokens.
        done: How many of its rows the endpoint has finished.
    """

    number: int
    rows: int
    size: int
    digest: str
    path: str
    model: str | None
    endpoint: str
    round: int = 0
    reserved: str = "0"
    tokens: int = 0
    adopted: bool = False
    stage: Stage = Stage.PLANNED
    file: str | None = None
    batch: str | None = None
    refused: list[str] = attrs.field(factory=list)
    cancelled: set[str] = attrs.field(factory=set)
    lost: bool = False
    outstanding: int = 0
    drawn: int = 0
    has_reservation: bool = False
    has_room: bool = False
    done: int = 0

    @property
    def next_step(self) -> Step:
        """What to do next."""
        return NEXT_STEP[self.stage]

    @property
    def at_endpoint(self) -> bool:
        """Whether the endpoint has a batch for it, or may have one, that is not merged."""
        return self.stage in {Stage.CREATING, Stage.CREATED, Stage.ENDED}

    @property
    def is_open(self) -> bool:
        """Whether it has rows without a result."""
        return self.stage not in {Stage.KEPT, Stage.SETTLED}

    @property
    def takes_room(self) -> bool:
        """Whether its tokens count among those at the endpoint: a batch may be there that has not ended."""
        return self.stage in {Stage.CREATING, Stage.CREATED} or (self.has_room and self.is_before_batch)

    @property
    def is_before_batch(self) -> bool:
        """Whether no batch was created for it."""
        return self.stage in {Stage.PLANNED, Stage.UPLOADING, Stage.UPLOADED}

    def advance(self, stage: Stage, changes: Mapping[str, Any]) -> None:
        """Note that the part has reached a stage.

        Args:
            stage: The stage.
            changes: ``file``, ``batch`` or ``refused``: what became known with it.

        Raises:
            JournalError: No part can get there from its present stage; the ledger is damaged.
        """
        if stage not in _MAY_FOLLOW[self.stage]:
            raise JournalError(f"part {self.number} cannot be {stage} after {self.stage}")
        self.stage = stage
        if stage is Stage.PLANNED:
            self.file = self.batch = None
        if stage is Stage.UPLOADED:
            self.batch = None
        self.file = changes.get("file", self.file)
        self.batch = changes.get("batch", self.batch)
        if "refused" in changes:
            self.refused.append(changes["refused"])
