"""Writes Debian's package index as a CSV of real texts: about 60,000 packages with their sections.

    python benchmarks/debian_packages.py OUT.csv [LIMIT]

The index comes from `apt-cache dumpavail`; it is empty until `apt-get update` has run. A description has
several lines: the short description, the long one if it is in the index (most of Debian has those in
translation files), and the tags.
"""

from __future__ import annotations

import argparse
import csv
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator

COLUMNS = ("id", "section", "description")
COMMAND = ("apt-cache", "dumpavail")


class IndexUnavailableError(RuntimeError):
    """This machine has no package index; the message says what to do."""


def write_csv(path: str | os.PathLike[str], limit: int | None = None) -> int:
    """Write all packages, or the first ``limit``, to ``path`` and return their number.

    The columns are `COLUMNS`. The id is the name of the package, with its version if the name occurred
    before. The section is the last part of the section in the index (``net`` for ``non-free/net``).

    Raises `IndexUnavailableError` if apt-cache is missing, fails or lists nothing.
    """
    number = 0
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for number, row in enumerate(rows(read_index()), 1):
            writer.writerow(row)
            if number == limit:
                break
    if not number:
        raise IndexUnavailableError("apt-cache dumpavail lists no packages; run apt-get update first")
    return number


def rows(records: Iterable[dict[str, str]]) -> Iterator[tuple[str, str, str]]:
    """Id, section and description of each record that has all three; ids are unique."""
    seen: set[str] = set()
    for record in records:
        if not {"Package", "Section", "Description"} <= record.keys():
            continue
        id = record["Package"]
        if id in seen:
            id = f"{id}={record.get('Version', '')}"
        if id in seen:
            continue  # the same version from two archives is the same package
        seen.add(id)
        lines = filter(None, (record["Description"], record.get("Tag")))
        yield id, record["Section"].rpartition("/")[2], "\n".join(lines)


def parse(lines: Iterable[str]) -> Iterator[dict[str, str]]:
    """Parse records. An empty line ends a record; a line with a leading blank continues a field."""
    record: dict[str, str] = {}
    name = ""
    for line in lines:
        line = line.rstrip()
        if not line:
            if record:
                yield record
            record = {}
        elif line[0].isspace():
            text = line[1:]
            record[name] += "\n" if text == "." else f"\n{text}"
        else:
            name, _, value = line.partition(":")
            record[name] = value.strip()
    if record:
        yield record


def read_index() -> Iterator[dict[str, str]]:
    """The records of the index, from apt-cache, which is stopped when the iterator is closed."""
    try:
        process = subprocess.Popen(COMMAND, stdout=subprocess.PIPE, encoding="utf-8", errors="replace")
    except OSError as error:
        raise IndexUnavailableError(
            f"{COMMAND[0]} cannot be run ({error.strerror}); this needs Debian, or a system like it"
        ) from error
    with process:
        try:
            assert process.stdout is not None
            yield from parse(process.stdout)
            status = process.wait()
        finally:
            process.kill()
    if status:
        raise IndexUnavailableError(f"{' '.join(COMMAND)} ended with status {status}")


def main() -> None:
    """Run the script as a command."""
    parser = argparse.ArgumentParser(description="Write Debian's package index as CSV.")
    parser.add_argument("out", metavar="OUT.csv")
    parser.add_argument(
        "limit", metavar="LIMIT", type=int, nargs="?", help="number of packages; default: all"
    )
    args = parser.parse_args()
    try:
        number = write_csv(args.out, args.limit)
    except IndexUnavailableError as error:
        sys.exit(f"benchmarks/debian_packages.py: {error}")
    print(f"{number:,} packages written to {args.out}")


if __name__ == "__main__":
    main()
