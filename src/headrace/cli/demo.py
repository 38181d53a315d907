"""`headrace demo`: a bulk run over bundled products, against a simulated endpoint with faults."""

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


@click.command(short_help="Watch a bulk run, without a key or a network.")
def demo() -> None:
    """Sort 240 German products into categories, with an endpoint that simulates a model.

    The endpoint runs on this machine while the demo runs. One attempt in twenty fails. No key is needed, and
    nothing leaves this machine.
    """
    import tempfile
    from importlib import resources
    from pathlib import Path

    from headrace.bulk.summary_text import describe
    from headrace.cli.run import exit_code
    from headrace.cli.terminal_run import run_async

    with tempfile.TemporaryDirectory(prefix="headrace-demo-") as folder:
        out = Path(folder) / "answers.jsonl"
        with resources.as_file(resources.files("headrace.cli") / "products.csv") as products:
            summary = run_async(lambda: _categorise(products, out))
            _show_some(products, out)
        click.echo(describe(summary))
    sys.exit(exit_code(summary))


async def _categorise(products: Path, out: Path) -> Summary:
    from headrace.bulk.run_preparation import prepare_run
    from headrace.cli.progress import ProgressDisplay
    from headrace.cli.terminal_run import accompany_with, perform
    from headrace.client import Client
    from headrace.testing.server import Behaviour, endpoint_process

    prepared = prepare_run(products, out, "deepseek-v3.2", prompt=PROMPT, choices=CHOICES)
    display = ProgressDisplay(bar=sys.stderr.isatty())
    async with endpoint_process(Behaviour(latency=0.4, jitter=0.2, errors=0.05, seed=7)) as endpoint:
        display.print_line(
            f"{prepared.check.total} products, {len(CHOICES)} categories; "
            f"the model is simulated at {endpoint.base_url}"
        )
        client = Client(
            base_url=endpoint.base_url,
            api_key="demo",
            max_in_flight=20,
            observers=[display],
            transport="native",
        )
        display.print_line(f"Policies: {', '.join(policy.name for policy in client.policies)}")
        with prepared.open_journal() as journal:
            bulk = prepared.begin(journal)
            executor = prepared.local_executor(client, journal)
            accompany = accompany_with(bulk, journal, client, display)
            return await perform(bulk, executor, client, display, accompany)


def _show_some(products: Path, out: Path) -> None:
    """Print the answers to the first items, as an example."""
    import itertools

    import msgspec

    from headrace.bulk import Source

    lines = (msgspec.json.decode(line) for line in out.read_bytes().splitlines())
    answers = {line["custom_id"]: line["headrace"].get("answer") for line in lines}
    for item in itertools.islice(Source(products).items(), _SAMPLE):
        click.echo(f"  {item.id}  {item.row['name']:<42} {answers.get(item.id) or '(failed)'}")
