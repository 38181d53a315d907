"""Runs of `headrace run --engine batch` that are killed at random moments and resumed, until done.

`python -m tests.crash.batch_campaign --kills 200` is the whole campaign; a small part of it is a test.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.request import ProxyHandler, Request, build_opener

import attrs
from tests.crash.checks import LostError, check_acknowledged, whole_lines
from tests.crash.inputs import MODEL
from tests.crash.serving import Served, environment

LISTING_DELAY, LISTING_WAIT = 1.0, 3.0
"""Seconds until a list has a batch, and seconds that the run waits for it: thirty would take hours here."""

COMMAND = (
    sys.executable,
    "-c",
    f"from headrace_batch import part_steps; part_steps.LISTING_WAIT = {LISTING_WAIT}; "
    "from headrace_command import main; main()",
)
SERVER = (
    *("--batch-time=1500ms", "--batch-failures=2%", "--batch-expire=1%"),
    f"--batch-listing-delay={LISTING_DELAY:g}s",
)
LATEST_KILL = 5.0
"""Seconds after the start of a session; a whole run takes about ten."""

MOST_RECORDED = 1_000
"""Bytes that a session may write to the ledger before it is killed; a run writes about five times as much."""

_open = build_opener(ProxyHandler({})).open


@attrs.define
class BatchFigures:
    """The results of a campaign.

    Attributes:
        after: How many kills came after which stage was noted last; see `headrace_batch.part`.
    """

    kills: int = 0
    runs: int = 0
    sessions: int = 0
    rows: int = 0
    batches: int = 0
    after: Counter[str] = attrs.field(factory=Counter)

    def __str__(self) -> str:
        return (
            f"{self.kills} kills in {self.sessions} sessions of {self.runs} runs, {self.rows:,} rows in "
            f"{self.batches} batches: each row in the output once and paid once, no part created twice; "
            f"kills after {', '.join(f'{stage} {number}' for stage, number in self.after.most_common())}"
        )


class BatchCampaign:
    """Kills runs until ``kills`` are reached; then the last run is finished.

    Raises `LostError` at the first failed check.
    """

    def __init__(
        self,
        folder: Path,
        *,
        kills: int,
        seed: int,
        rows: int = 2_000,
        parts: int = 8,
        tell: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._folder = folder
        self._most = kills
        self._rows = rows
        self._in_part = -(-rows // parts)
        self._chance = random.Random(seed)
        self._tell = tell
        self.figures = BatchFigures()

    def perform(self) -> BatchFigures:
        """Kill and resume runs."""
        while self.figures.kills < self._most or not self.figures.runs:
            with Served(*SERVER) as served:
                self._perform_run(served)
            self._tell(str(self.figures))
        return self.figures

    def _perform_run(self, served: Served) -> None:
        self.figures.runs += 1
        name = f"run{self.figures.runs}"
        source, out = self._folder / f"{name}.csv", self._folder / f"{name}.jsonl"
        ids = [f"{name}-{number}" for number in range(self._rows)]
        source.write_text("id,name\n" + "".join(f"{id},thing {id}\n" for id in ids))
        command = [
            *(*COMMAND, "run", str(source), "--out", str(out), "--model", MODEL),
            *("--prompt", "Sort {name}", "--engine", "batch", "--batch-poll", "0.3"),
            *("--batch-max-requests", str(self._in_part), "--quiet"),
        ]
        before = b""
        while True:
            self.figures.sessions += 1
            process = subprocess.Popen(
                command, env=environment(served.url), stderr=subprocess.PIPE, start_new_session=True
            )
            self._await_moment(process, out)
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
                self.figures.kills += 1
                self.figures.after[_last_stage(out)] += 1
                if self.figures.kills > self._most:
                    raise LostError("the run does not end")
            _, errors = process.communicate()
            now = whole_lines(out)
            check_acknowledged(before, now, retried=False)
            before = now
            if process.returncode == 0 or (process.returncode == 1 and not errors):
                break  # 1: a row has failed in three batches
            if process.returncode != -signal.SIGKILL:
                raise LostError(f"exit code {process.returncode}: {errors.decode()}")
        self._check(served, ids, before)

    def _await_moment(self, process: subprocess.Popen[bytes], out: Path) -> None:
        """Wait for the end of a session, or for the moment of its kill.

        Half of the moments are times, most of which are in the wait for a batch. The other half are records
        of the ledger, so that all stages are met.
        """
        if self.figures.kills >= self._most:
            limit, size = 120.0, sys.maxsize
        elif self._chance.random() < 0.5:
            limit, size = self._chance.uniform(0.3, LATEST_KILL), sys.maxsize
        else:
            limit, size = 120.0, len(_ledger(out)) + self._chance.randrange(1, MOST_RECORDED)
        end = time.monotonic() + limit
        while process.poll() is None and time.monotonic() < end and len(_ledger(out)) < size:
            time.sleep(0.002)
        if size < sys.maxsize:
            time.sleep(self._chance.uniform(0, 0.02))

    def _check(self, served: Served, ids: list[str], output: bytes) -> None:
        lines = [json.loads(line) for line in output.splitlines()]
        if sorted(line["custom_id"] for line in lines) != sorted(ids):
            raise LostError("some rows do not have exactly one line")
        failed = {line["custom_id"] for line in lines if line["error"]}
        if len(failed) > len(ids) / 100:
            raise LostError(f"{len(failed)} rows failed")
        for line in lines:
            if line["error"]:
                continue
            text = line["response"]["body"]["choices"][0]["message"]["content"]
            if line["custom_id"] not in text:
                raise LostError(f"{line['custom_id']} has the wrong answer {text!r}")
        requests = _get(served, "/headrace/batch-requests", root=True)
        paid = {id: counts["billed"] for id, counts in requests.items()}
        due = {id: int(id not in failed) for id in ids}
        if paid != due:
            twice = {id: number for id, number in paid.items() if number != due.get(id)}
            raise LostError(f"{len(twice)} rows were not paid once: {dict(list(twice.items())[:5])}")
        batches = _batches(served)
        parts = Counter(
            (each["metadata"]["headrace_part"], each["metadata"]["headrace_digest"])
            for each in batches
            if each["status"] not in ("failed", "cancelled")
        )
        if set(parts.values()) != {1}:
            raise LostError(f"parts were created twice: {parts}")
        self.figures.rows += len(lines)
        self.figures.batches += len(batches)


def _ledger(out: Path) -> bytes:
    return b"".join(path.read_bytes() for path in out.parent.glob(f"{out.name}.batch-*/ledger.jsonl"))


def _last_stage(out: Path) -> str:
    """The stage that the ledger of a run noted last."""
    for line in reversed(_ledger(out).split(b"\n")[:-1]):
        record = json.loads(line)
        if "part" in record:
            return str(record.get("stage", "planned"))
    return "nothing"


def _get(served: Served, path: str, *, root: bool = False) -> Any:
    url = (served.url.removesuffix("/v1") if root else served.url) + path
    request = Request(url, headers={"Authorization": "Bearer sk-canary-7f3a"})
    with _open(request, timeout=30) as answer:
        return json.load(answer)


def _batches(served: Served) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    time.sleep(LISTING_DELAY)
    while True:
        after = f"&after={found[-1]['id']}" if found else ""
        page = _get(served, f"/batches?limit=100{after}")
        found += page["data"]
        if not page["has_more"]:
            return found


def main() -> None:
    """Run as a command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=200, help="(%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="(%(default)s)")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="headrace-batch-crash-"))
    campaign = BatchCampaign(
        folder, kills=options.kills, seed=options.seed, tell=lambda text: print(text, flush=True)
    )
    try:
        print(campaign.perform())
    except LostError as error:
        sys.exit(f"{error}\nits files are in {folder}")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
