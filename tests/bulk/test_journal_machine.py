"""A journal that crashes at any byte has each acknowledged item once; only its last line may be torn."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from headrace.bulk import Item, done_index
from headrace.bulk.journal import Journal
from headrace.bulk.output_path import index_of
from headrace.errors import JournalError

TOTAL = 12
PRINT = {"input": "abc", "prompt": "{x}"}
CHANCE = st.floats(0, 1, exclude_max=True)
BATCH = st.lists(st.tuples(st.integers(0, TOTAL - 1), st.booleans()), max_size=4)


def line(index: int, failed: bool) -> bytes:
    """The line of an item, with any text."""
    error = {"code": "x", "message": "ä\n\u2028"} if failed else None
    return json.dumps({"id": f"headrace-{index}", "custom_id": f"q{index}", "error": error}).encode() + b"\n"


class JournalMachine(RuleBasedStateMachine):
    """``lines`` (index, failed) must be in the file, in this order; ``known`` were read in it."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.out = self.folder / "out.jsonl"
        self.lines: list[tuple[int, bool]] = []

    @initialize()
    def begin(self) -> None:
        self._open()

    def _open(self) -> None:
        self.journal = Journal(self.out, PRINT)
        self.journal.__enter__()
        self.known = dict(self.lines)
        assert (self.journal.done, self.journal.failed) == (len(self.lines), sum(self.known.values()))

    def _close(self) -> None:
        self.journal.__exit__(None, None, None)

    def _fresh(self, batch: list[tuple[int, bool]]) -> list[tuple[int, bool]]:
        """The items of a batch that have no line yet, each once."""
        there = {index for index, _ in self.lines}
        return [(index, failed) for index, failed in dict(batch).items() if index not in there]

    @rule(batch=BATCH)
    def append(self, batch: list[tuple[int, bool]]) -> None:
        new = self._fresh(batch)
        self.journal.append([index for index, _ in new], b"".join(line(*each) for each in new))
        self.lines += new

    @rule(batch=BATCH, chance=CHANCE)
    def crash_while_appending(self, batch: list[tuple[int, bool]], chance: float) -> None:
        new = self._fresh(batch)
        data = b"".join(line(*each) for each in new)
        written = data[: int(chance * (len(data) + 1))]
        with self.out.open("ab") as file:
            file.write(written)
        self.lines += new[: written.count(b"\n")]
        self._reopen()

    @rule(tail=st.one_of(st.binary(max_size=9).filter(lambda tail: b"\n" not in tail), st.just(b"\0" * 4096)))
    def tear(self, tail: bytes) -> None:
        with self.out.open("ab") as file:
            file.write(tail)
        self._reopen()

    @rule()
    def reopen(self) -> None:
        self._close()
        self._open()

    def _reopen(self) -> None:
        self._close()
        self._open()

    @rule()
    def sync(self) -> None:
        self.journal.index.follow(self.out, self.journal.done)
        self.journal.index.write()

    @rule(chance=CHANCE)
    def tear_the_index(self, chance: float) -> None:
        index = index_of(self.out)
        if index.exists():
            os.truncate(index, int(chance * index.stat().st_size))
        self._reopen()

    @rule()
    def delete_the_index(self) -> None:
        index_of(self.out).unlink(missing_ok=True)

    @rule()
    def keep_the_index(self) -> None:
        if index_of(self.out).exists():
            shutil.copy(index_of(self.out), self.folder / "old")

    @rule()
    def put_back_an_old_index(self) -> None:
        if (self.folder / "old").exists():
            shutil.copy(self.folder / "old", index_of(self.out))
        self._reopen()

    @rule(chosen=st.sets(st.integers(0, TOTAL - 1)))
    def remove(self, chosen: set[int]) -> None:
        removed = [each for each in self.lines if each[0] in chosen]
        assert len(self.journal.remove({f"q{index}" for index in chosen}.__contains__)) == len(removed)
        self.lines = [each for each in self.lines if each not in removed]
        self.known = dict(self.lines)
        for index, _ in removed:
            assert self.journal.was_removed(Item(index, 1, f"q{index}", {}))

    @rule(batches=st.lists(BATCH, max_size=3))
    def retry_failed(self, batches: list[list[tuple[int, bool]]]) -> None:
        self.reopen()
        for batch in [*batches, []]:
            self.append(batch)
            failed = {index for index, failed in self.lines if failed}
            assert set(self.journal.remove(self.journal.has_failed)) == {f"q{index}" for index in failed}
            self.lines = [each for each in self.lines if not each[1]]
            self.known = dict(self.lines)
            assert all(self.journal.was_removed(Item(index, 1, f"q{index}", {})) for index in failed)

    @rule(chance=CHANCE)
    def crash_while_removing(self, chance: float) -> None:
        content = self.out.read_bytes()
        (self.folder / "out.jsonl.new").write_bytes(content[: int(chance * len(content))])
        self._reopen()

    @rule(other=st.sampled_from([{"prompt": "{y}"}, {"id_column": "sku"}]))
    def another_run(self, other: dict[str, Any]) -> None:
        self._close()
        with pytest.raises(JournalError, match="changed since"), Journal(self.out, PRINT | other):
            pass
        self._open()

    @rule()
    def at_once(self) -> None:
        with pytest.raises(JournalError, match="another run"), Journal(self.out, PRINT):
            pass

    @invariant()
    def the_file_is_what_was_acknowledged(self) -> None:
        if hasattr(self, "journal"):
            assert self.out.read_bytes() == b"".join(line(*each) for each in self.lines)
            assert self.journal.done == len(self.lines)
            done = {index for index in range(TOTAL) if self.journal.is_done(Item(index, 1, f"q{index}", {}))}
            assert done == set(self.known), "lines of this session count once they were read"

    def teardown(self) -> None:
        if hasattr(self, "journal"):
            self._close()
        shutil.rmtree(self.folder)


@pytest.mark.hypothesis
def test_every_acknowledged_item_has_one_line_after_any_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(done_index, "FEWEST_LINES", 1)
    run_state_machine_as_test(JournalMachine, settings=settings(stateful_step_count=30, deadline=None))
