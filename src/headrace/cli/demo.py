"""`headrace demo`: the main job on bundled products, against a simulated endpoint with faults."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from pathlib import Path

    from headrace.bulk import Summary

CHOICES = ("Elektronik", "Haushalt", "Kleidung", "Bücher", "Spielzeug", "Sport", "Garten", "Lebensmittel")
PROMPT = """\
Ordne das Produkt einer Kategorie zu.
Produkt: {name}
Beschreibung: {description}
Preis: {price} EUR"""
_SAMPLE = 6


@click.command(short_help="See a bulk run, without a key or a network.")
def demo() -> None:
    """Categorise 240 products, in German, against an endpoint that simulates a model.

    The endpoint runs as a process of its own for the time of the demo and answers one attempt in twenty
    with a fault. Nothing is sent to anybody, and no key is needed.
    """
    import tempfile
    from importlib import resources
    from pathlib import Path

    from headrace.bulk.summary_text import describe
    from headrace.cli.run import exit_code
    from headrace.cli.session import on_event_loop

    with tempfile.TemporaryDirectory(prefix="headrace-demo-") as folder:
        out = Path(folder) / "answers.jsonl"
        with resources.as_file(resources.files("headrace.cli") / "products.csv") as products:
            summary = on_event_loop(lambda: _categorise(products, out))
            _show_some(products, out)
        click.echo(describe(summary))
    sys.exit(exit_code(summary))


async def _categorise(products: Path, out: Path) -> Summary:
    from headrace.bulk import BulkRun, Journal, Source, Task
    from headrace.bulk.template import Template
    from headrace.cli.progress import Watcher
    from headrace.cli.session import perform
    from headrace.client import Client
    from headrace.testing.server import Behaviour, endpoint_process

    task = Task(Source(products), Template(PROMPT), "deepseek-v3.2", CHOICES)
    total = task.check()
    watcher = Watcher(bar=sys.stderr.isatty())
    async with endpoint_process(Behaviour(latency=0.4, jitter=0.2, errors=0.05, seed=7)) as endpoint:
        watcher.say(
            f"{total} products, {len(CHOICES)} categories; the model is simulated at {endpoint.base_url}"
        )
        client = Client(
            base_url=endpoint.base_url,
            api_key="demo",
            max_in_flight=20,
            observers=[watcher],
            transport="native",
        )
        watcher.say(f"Policies: {', '.join(policy.name for policy in client.policies)}")
        with Journal(out, task.fingerprint(), total) as journal:
            return await perform(client, BulkRun(task, journal, total), task.choices, watcher)


def _show_some(products: Path, out: Path) -> None:
    """Print the answers to the first items, so that one sees what it was all about."""
    import itertools

    import msgspec

    from headrace.bulk import Source

    lines = (msgspec.json.decode(line) for line in out.read_bytes().splitlines())
    answers = {line["custom_id"]: line["headrace"].get("answer") for line in lines}
    for item in itertools.islice(Source(products).items(), _SAMPLE):
        click.echo(f"  {item.id}  {item.row['name']:<42} {answers.get(item.id) or '(failed)'}")
