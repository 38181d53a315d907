"""An unexpected error is attributed to the right policy, however the policy is written."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from headrace import PolicyError, Stage
from headrace.testing import FakeEndpoint

CLOSURE_OVER_SELF = """
class Policy:
    def wrap(self, send):
        async def guarded(call):
            self.check()
            return await send(call)
        return guarded
    def check(self):
        raise LookupError("x")
"""
CLOSURE_WITHOUT_SELF = """
class Policy:
    def wrap(self, send):
        async def guarded(call):
            raise LookupError("x")
        return guarded
"""
FUNCTION_OF_THE_MODULE = """
def guard(send):
    async def guarded(call):
        check()
        return await send(call)
    return guarded
def check():
    raise LookupError("x")
class Policy:
    def wrap(self, send):
        return guard(send)
"""
CALLABLE_OBJECT = """
class Guard:
    def __init__(self, send):
        self.send = send
    async def __call__(self, call):
        raise LookupError("x")
class Policy:
    def wrap(self, send):
        return Guard(send)
"""
PASSING = """
class Policy:
    def wrap(self, send):
        async def passing(call):
            return await send(call)
        return passing
"""


def policy(source: str, module: str, name: str, stage: int) -> Any:
    """A policy whose class is defined by ``source``, in a module with this name."""
    space = ModuleType(module)
    exec(source, vars(space))  # noqa: S102
    made = space.Policy()
    made.name, made.stage = name, Stage(stage)
    return made


@pytest.mark.anyio
@pytest.mark.parametrize(
    "source", [CLOSURE_OVER_SELF, CLOSURE_WITHOUT_SELF, FUNCTION_OF_THE_MODULE, CALLABLE_OBJECT]
)
@pytest.mark.parametrize("stage", [10, 30, 50])
async def test_the_policy_is_found_among_policies_of_other_packages(source: str, stage: int) -> None:
    policies = [policy(PASSING, f"package{n}.module", f"sound-{n}", n) for n in (20, 40)]
    policies.append(policy(source, "mine.policies", "guilty", stage))
    async with FakeEndpoint().client(policies) as client:
        with pytest.raises(PolicyError, match=r"^policy 'guilty' raised LookupError: x$"):
            await client.chat("Hallo")


@pytest.mark.anyio
async def test_a_method_of_a_base_class_in_another_module_belongs_to_the_policy() -> None:
    base = policy(CLOSURE_WITHOUT_SELF, "library.base", "base", 10)
    kind: Callable[[], Any] = type("Derived", (type(base),), {"__module__": "mine.policies"})
    guilty = kind()
    guilty.name, guilty.stage = "guilty", base.stage
    sound = policy(PASSING, "other.policies", "sound", 50)
    async with FakeEndpoint().client([guilty, sound]) as client:
        with pytest.raises(PolicyError, match="policy 'guilty'"):
            await client.chat("Hallo")


@pytest.mark.anyio
async def test_code_in_another_package_belongs_to_the_policy_that_called_it() -> None:
    library = ModuleType("library")
    exec("def check():\n    raise LookupError('x')", vars(library))  # noqa: S102
    guilty = policy(CLOSURE_OVER_SELF, "mine.policies", "guilty", 20)
    guilty.check = vars(library)["check"]
    sound = policy(PASSING, "other.policies", "sound", 10)
    async with FakeEndpoint().client([guilty, sound]) as client:
        with pytest.raises(PolicyError, match="policy 'guilty'"):
            await client.chat("Hallo")
