"""Finds the policies and endpoints that calls in flight wait for, from the frames of their tasks."""

from __future__ import annotations

from collections.abc import Collection
from types import FrameType

import anyio
import attrs

from headrace._support.task_frames import frames_of
from headrace.client import Client
from headrace.limiter_tokens import acquire_all
from headrace.pipeline.attempt import with_raise_for_status
from headrace.pipeline.error_attribution import innermost_policy


@attrs.frozen
class UnfinishedCalls:
    """The policies and endpoints that the calls in flight wait for.

    Attributes:
        policies: Names of the policies in which calls hang; not those that wait for a token or an answer.
        endpoints: Base URLs of the endpoints whose answers are awaited; each attempt has its timeout.
    """

    policies: tuple[str, ...]
    endpoints: tuple[str, ...]

    @classmethod
    def of_all(cls, found: Collection[UnfinishedCalls]) -> UnfinishedCalls:
        """What the calls of several processes wait for."""
        return cls(
            tuple(sorted({name for each in found for name in each.policies})),
            tuple(sorted({url for each in found for url in each.endpoints})),
        )


def unfinished_calls(client: Client) -> UnfinishedCalls:
    """What the calls of a client's maps wait for."""
    policies, endpoints = set[str](), set[str]()
    for frames in _frames_of_calls(client):
        attempt = next((frame for frame in frames if _is_attempt(frame)), None)
        if attempt is not None:
            endpoints.add(attempt.f_locals["call"].endpoint.base_url)
        elif all(frame.f_code is not acquire_all.__code__ for frame in frames):
            policy = innermost_policy(client.policies, frames)
            if policy is not None:
                policies.add(policy)
    return UnfinishedCalls(tuple(sorted(policies)), tuple(sorted(endpoints)))


def _frames_of_calls(client: Client) -> list[list[FrameType]]:
    """The frames of each task that makes a call. If it started other tasks (a hedge does), only theirs."""
    tasks = {task.id: task for task in anyio.get_running_tasks()}
    frames = {id: list(frames_of(task.coro)) for id, task in tasks.items()}
    parents = {task.parent_id for task in tasks.values()}

    def belongs_to_call(id: int | None) -> bool:
        while id is not None and id in tasks:
            if any(_is_call(frame, client) for frame in frames[id]):
                return True
            id = tasks[id].parent_id
        return False

    return [frames[id] for id in tasks if id not in parents and belongs_to_call(id)]


def _is_call(frame: FrameType, client: Client) -> bool:
    return frame.f_code is Client._outcome.__code__ and frame.f_locals["self"] is client


def _is_attempt(frame: FrameType) -> bool:
    return frame.f_globals.get("__name__") == with_raise_for_status.__module__ and "call" in frame.f_locals
