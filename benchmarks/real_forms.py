"""Are 60,000 real texts answered the same from a DataFrame, from Parquet, from a JSON array and over https?

    python benchmarks/real_forms.py [--limit N] [--in-flight 100]

The texts are the packages of Debian. `headrace.run` sends each form of them to the embedded endpoint, whose
answer depends only on the prompt. So all forms must get the same answers, one for each package.
"""

from __future__ import annotations

import argparse
import functools
import http.server
import json
import os
import ssl
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import anyio

# A script has only its own folder on the path, but the imports below need the parent folder.
sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.debian_packages import COLUMNS, IndexUnavailableError, read_index
from benchmarks.debian_packages import rows as package_rows
from benchmarks.tables import table

import headrace
from headrace.bulk import Summary
from headrace.testing.server import endpoint_process, temporary_certificate

PROMPT = "Into which section of Debian does this package belong?\n\n{id}: {description}"


def packages(limit: int | None) -> list[dict[str, str]]:
    """All packages, or the first ones; raises `IndexUnavailableError`."""
    found = []
    for row in package_rows(read_index()):
        found.append(dict(zip(COLUMNS, row, strict=True)))
        if len(found) == limit:
            break
    if not found:
        raise IndexUnavailableError("apt-cache dumpavail lists no packages; run apt-get update first")
    return found


class Server(http.server.ThreadingHTTPServer):
    """Says nothing if a client closes a download early, as it does when it gets no range."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass


@contextmanager
def served_over_https(folder: Path) -> Iterator[str]:
    """The URL of a server of the files in a folder, whose certificate is trusted in the block."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    with ExitStack() as stack:
        certificate = stack.enter_context(temporary_certificate())
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate.chain)
        handler = functools.partial(Handler, directory=str(folder))
        server = stack.enter_context(Server(("127.0.0.1", 0), handler))
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        stack.callback(thread.join)
        stack.callback(server.shutdown)
        before = os.environ.get("SSL_CERT_FILE")
        os.environ["SSL_CERT_FILE"] = str(certificate.authority)
        try:
            yield f"https://127.0.0.1:{server.server_port}"
        finally:
            del os.environ["SSL_CERT_FILE"]
            if before is not None:
                os.environ["SSL_CERT_FILE"] = before


def write_forms(rows: list[dict[str, str]], folder: Path, url: str) -> Mapping[str, Any]:
    """The rows in each form, as `headrace.run` takes it; files are in the folder, which has a URL."""
    import pandas

    frame = pandas.DataFrame(rows)
    frame.to_parquet(folder / "packages.parquet")
    (folder / "packages.json").write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
    return {
        "DataFrame": frame,
        "Parquet": folder / "packages.parquet",
        "JSON array": folder / "packages.json",
        "https, Parquet": f"{url}/packages.parquet",
        "https, JSON array": f"{url}/packages.json",
    }


async def ask(
    rows: Any, out: Path, sections: list[str], base_url: str, in_flight: int
) -> tuple[Summary, dict[str, str]]:
    """Run over one form; returns the totals, and the answers by id."""
    client = headrace.Client(
        base_url=base_url, model="deepseek-v3.2", api_key="sk-benchmark", max_in_flight=in_flight
    )
    async with client:
        result = await headrace.run(client, rows, prompt=PROMPT, choices=sections, out=out)
    frame = result.to_pandas()
    return result, dict(zip(frame["id"], frame["answer"], strict=True))


async def compare(
    rows: list[dict[str, str]], base_url: str, in_flight: int, report: Callable[..., None]
) -> int:
    """Run over all forms and compare their answers; returns the number of forms.

    Raises:
        AssertionError: A form has other answers than the first one, or fewer.
    """
    ids, sections = [row["id"] for row in rows], sorted({row["section"] for row in rows})
    with (
        tempfile.TemporaryDirectory(prefix="headrace-forms-") as name,
        served_over_https(Path(name)) as url,
    ):
        forms, expected = write_forms(rows, Path(name), url), None
        for number, (form, given) in enumerate(forms.items()):
            began = time.perf_counter()
            result, answers = await ask(given, Path(name, f"{number}.jsonl"), sections, base_url, in_flight)
            if list(answers) != ids or result.failed or result.stopped_by is not None:
                raise AssertionError(f"{form}: {result.succeeded} succeeded; {result.stopped_by}")
            expected = expected or answers
            if answers != expected:
                raise AssertionError(f"{form}: other answers than from a DataFrame")
            report(form, result.succeeded, len(set(answers.values())), time.perf_counter() - began)
    return len(forms)


def main() -> None:
    """Run the script as a command."""
    parser = argparse.ArgumentParser(
        prog="benchmarks/real_forms.py", description="Process all packages of Debian, from each form."
    )
    parser.add_argument("--limit", type=int, help="only the first N packages")
    parser.add_argument("--in-flight", type=int, default=100, help="(%(default)s)")
    args = parser.parse_args()
    lines: list[list[Any]] = []

    def report(form: str, succeeded: int, sections: int, seconds: float) -> None:
        lines.append([form, f"{succeeded:,}", sections, f"{seconds:,.1f}"])

    async def perform() -> None:
        async with endpoint_process() as endpoint:
            await compare(packages(args.limit), endpoint.base_url, args.in_flight, report)

    try:
        anyio.run(perform)
    except IndexUnavailableError as error:
        sys.exit(f"benchmarks/real_forms.py: {error}")
    print(table(["form", "answered", "sections", "seconds"], lines))


if __name__ == "__main__":
    main()
