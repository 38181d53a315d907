"""The journal of the steps: torn and damaged lines, and what it finds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.bulk.steps.conftest import PromptEndpoint
from tests.bulk.steps.test_steps import PERFORMED, STEPS, perform

from headrace.errors import HeadraceError, JournalError


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """The output of a run, and the journal of its steps."""
    return tmp_path / "out.jsonl", tmp_path / "out.jsonl.steps"


@pytest.mark.anyio
@pytest.mark.parametrize("cut", [1, 10, 200])
async def test_a_torn_last_line_is_removed_and_only_its_step_is_sent_again(
    shop: PromptEndpoint, files: tuple[Path, Path], cut: int
) -> None:
    out, steps = files
    await perform(shop, out=out)
    whole = steps.read_bytes()
    steps.write_bytes(whole[:-cut])
    out.write_bytes(b"")
    shop.prompts.clear()
    result = await perform(shop, out=out)
    assert (result.succeeded, shop.prompts.total()) == (7, 1)
    assert len(steps.read_bytes().splitlines()) == PERFORMED


DAMAGE = {
    "not JSON": (b"x\n", "damaged: JSON is malformed"),
    "torn": (b'{"custom_id":\n', "damaged: "),
    "another file": (b'{"custom_id":"P1","headrace":{}}\n', "damaged: Object missing required field"),
    "no answer": (b'{"id":"headrace-1","custom_id":"P1"}\n', "damaged: Object missing required field"),
}


@pytest.mark.anyio
@pytest.mark.parametrize("name", DAMAGE)
async def test_any_other_foreign_line_is_damage(
    shop: PromptEndpoint, files: tuple[Path, Path], name: str
) -> None:
    out, steps = files
    await perform(shop, out=out)
    damage, reason = DAMAGE[name]
    first, *others = steps.read_bytes().splitlines(keepends=True)
    steps.write_bytes(b"".join([first, damage, *others]))
    with pytest.raises(JournalError) as error:
        await perform(shop, out=out)
    assert str(error.value).startswith(f"{steps}:2: {reason}")
    assert str(error.value).endswith("; repair or remove that line")


@pytest.mark.anyio
async def test_a_line_of_another_row_or_request_is_no_answer(
    shop: PromptEndpoint, files: tuple[Path, Path]
) -> None:
    out, steps = files
    await perform(shop, out=out)
    steps.write_bytes(steps.read_bytes().replace(b'"custom_id":"P4"', b'"custom_id":"P9"'))
    out.write_bytes(b"")
    shop.prompts.clear()
    await perform(shop, out=out)
    assert shop.prompts == {"Sort P4": 1}


@pytest.mark.anyio
@pytest.mark.parametrize("what", ["folder", "removed"])
async def test_a_journal_that_cannot_be_written_stops_the_run(
    shop: PromptEndpoint, files: tuple[Path, Path], what: str
) -> None:
    out, steps = files
    message = f"{steps}: is a directory; name a file in it"
    if what == "folder":
        steps.mkdir()
    else:
        message = f"{steps}: it was deleted during the run, and its lines are lost; to begin anew, run the"

        def answer(prompt: str) -> Any:
            steps.unlink(missing_ok=True)
            return "garden"

        shop.answer = answer
    with pytest.raises(HeadraceError) as error:
        await perform(shop, out=out, steps=STEPS[:1])
    assert str(error.value).startswith(message)
