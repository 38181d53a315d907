"""URLs as input: each form over each kind of server, downloaded once, with errors of one line."""

from __future__ import annotations

import gzip
import io
import json
import os
import ssl
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import fsspec
import openpyxl
import pyarrow
import pyarrow.feather
import pyarrow.parquet
import pytest
import trustme
from tests.bulk.sources.file_server import FileServer, file_server

import headrace
from headrace.bulk import Source
from headrace.bulk.sources import files, remote_file, urls
from headrace.testing import FakeEndpoint

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

ROWS = [{"id": f"q{n}", "text": f"Größe {n} " + "x" * 200} for n in range(60)]
SECRET = "Zq7-canary"


def as_csv() -> bytes:
    return ("id,text\n" + "".join(f"{row['id']},{row['text']}\n" for row in ROWS)).encode()


def as_jsonl() -> bytes:
    return "".join(json.dumps(row) + "\n" for row in ROWS).encode()


def as_batch() -> bytes:
    body = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}
    lines = [{"custom_id": row["id"], "url": "/v1/chat/completions", "body": body} for row in ROWS]
    return "".join(json.dumps(line) + "\n" for line in lines).encode()


def written(write: Callable[[pyarrow.Table, io.BytesIO], object]) -> bytes:
    file = io.BytesIO()
    write(pyarrow.Table.from_pylist(ROWS), file)
    return file.getvalue()


def as_parquet() -> bytes:
    return written(
        lambda table, file: pyarrow.parquet.write_table(
            table, file, row_group_size=20, compression="none", use_dictionary=False
        )
    )


def as_stream(table: pyarrow.Table, file: io.BytesIO) -> None:
    with pyarrow.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table)


def as_excel() -> bytes:
    file, book = io.BytesIO(), openpyxl.Workbook()
    book.worksheets[0].append(list(ROWS[0]))
    for row in ROWS:
        book.worksheets[0].append(list(row.values()))
    book.save(file)
    return file.getvalue()


FORMS: dict[str, Callable[[], bytes]] = {
    "csv": as_csv,
    "jsonl": as_jsonl,
    "json": lambda: json.dumps(ROWS).encode(),
    "jsonl.gz": lambda: gzip.compress(as_jsonl()),
    "csv.zst": lambda: zstd.compress(as_csv()),
    "batch": as_batch,
    "parquet": as_parquet,
    "arrow": lambda: written(pyarrow.feather.write_feather),
    "arrows": lambda: written(as_stream),
    "xlsx": as_excel,
}


@pytest.fixture
def memory() -> Iterator[Any]:
    """The file system of ``memory://``, empty."""
    found = fsspec.filesystem("memory")
    found.store.clear()
    yield found
    found.store.clear()


@pytest.fixture
def server() -> Iterator[FileServer]:
    with file_server() as served:
        yield served


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> int:
    """Downloads of 3000 bytes, without pauses between two tries."""
    monkeypatch.setattr(remote_file, "_BLOCK", 3000)
    monkeypatch.setattr(remote_file, "_PAUSES", (0, 0))
    return 3000


async def ask(rows: Any, endpoint: FakeEndpoint | None = None, **arguments: Any) -> Any:
    async with (endpoint or FakeEndpoint(otherwise="ok")).client(max_in_flight=4) as client:
        return await headrace.run(client, rows, **{"prompt": "{text}", **arguments})


def prompts(endpoint: FakeEndpoint) -> list[str]:
    return [(attempt.body or {})["messages"][-1]["content"] for attempt in endpoint.attempts]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("s3://bucket/x.csv", True),
        ("hf://datasets/user/name/x.parquet", True),
        ("HTTPS://host/x", True),
        ("simplecache::s3://bucket/x", True),
        ("zip://x.csv::https://host/x.zip", True),
        ("github+x.y://z", True),
        ("x.csv", False),
        ("-", False),
        ("C:\\x.csv", False),
        ("folder/a://b", False),
        ("a::1.csv", False),
        (Path("x.csv"), False),
    ],
)
def test_urls_are_recognised(text: Any, expected: bool) -> None:
    assert urls.is_url(text) is expected


@pytest.mark.parametrize("form", FORMS)
def test_each_form_is_read_as_from_a_file(form: str, memory: Any, small_blocks: int, tmp_path: Path) -> None:
    path = tmp_path / "in"
    path.write_bytes(FORMS[form]())
    memory.pipe("/in", path.read_bytes())
    here, there = Source(path), Source("memory://in")
    assert (there.kind, there.columns, there.id_column) == (here.kind, here.columns, here.id_column)
    for _ in range(2):
        assert [(each.id, each.row) for each in there.items()] == [
            (each.id, each.row) for each in here.items()
        ]
    assert there.where(3) == here.where(3).replace(str(path), "memory://in")
    assert there.digest() == here.digest()


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("form", ["csv", "jsonl.gz", "parquet", "xlsx"])
def test_no_byte_is_downloaded_twice(server: FileServer, form: str, ranges: bool, small_blocks: int) -> None:
    server.files["/in"], server.ranges = FORMS[form](), ranges
    source = Source(f"{server.url}/in")
    for _ in range(3):
        assert [item.id for item in source.items()] == [row["id"] for row in ROWS]
    begins = [begin for begin, _ in server.downloads]
    # A server without ranges is known only by its answer to the second block.
    assert begins == ([0, 0, 0] if not ranges else [*dict.fromkeys(begins)]) or form == "jsonl.gz"
    assert server.downloaded <= len(server.files["/in"]) or not ranges


def test_parquet_is_read_by_ranges_and_only_as_far_as_rows_are_needed(
    server: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_HEAD_SIZE", 500)
    monkeypatch.setattr(remote_file, "_BLOCK", 50_000)
    table = pyarrow.table({"id": [f"q{n}" for n in range(1000)], "text": [os.urandom(500).hex()] * 1000})
    with pyarrow.BufferOutputStream() as file:
        pyarrow.parquet.write_table(table, file, row_group_size=50, compression="none", use_dictionary=False)
        server.files["/in"] = content = file.getvalue().to_pybytes()
    source = Source(f"{server.url}/in")
    assert {begin for begin, _ in server.downloads} == {0, 1_000_000, 1_050_000}  # its head and its footer
    assert next(source.items()).id == "q0"
    assert server.downloaded < len(content) / 3


def test_a_file_url_is_the_path_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a b.csv"
    path.write_bytes(as_csv())
    assert Source(path.as_uri()).name == str(path)
    assert Source(path.as_uri()).is_at(path)
    assert urls.local_path("s3://bucket/x") == "s3://bucket/x"


@pytest.mark.anyio
@pytest.mark.parametrize("form", ["csv", "parquet"])
async def test_a_run_over_https_writes_a_table_and_resumes_by_ids(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    out, table = tmp_path / "out.jsonl", tmp_path / "out.parquet"
    with file_server(context) as served:
        served.files["/in"] = FORMS[form]()
        url = f"{served.url}/in"
        result = await ask(url, out=out, table=table, limit=40)
        assert (result.succeeded, result.total, result.stopped_by) == (40, 40, None)
        assert result.to_pandas()["id"].to_list() == [row["id"] for row in ROWS[:40]]
        assert pyarrow.parquet.read_table(table)["text"].to_pylist() == [row["text"] for row in ROWS[:40]]
        endpoint = FakeEndpoint(otherwise="ok")
        result = await ask(url, endpoint, out=out)
        assert (result.done_before, result.succeeded) == (40, 20)
        assert sorted(prompts(endpoint)) == sorted(row["text"] for row in ROWS[40:])
        served.files["/in"] = FORMS["csv"]().replace(b"q3,", b"q3,other ")
        with pytest.raises(headrace.InputError, match="/in:5: the row of 'q3' has changed since it was done"):
            await ask(url, out=out)
        result = await ask(url, out=out, changed="resend")
        assert result.succeeded == 1


@pytest.mark.anyio
async def test_a_run_sends_before_the_download_ends_and_does_not_stop_the_event_loop(
    server: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second half is served only after an answer came, which needs the loop."""
    monkeypatch.setattr(remote_file, "_BLOCK", 20_000)
    answered = threading.Event()
    rows = [{"id": n, "text": "x" * 100} for n in range(2000)]
    server.files["/in"] = "".join(json.dumps(row) + "\n" for row in rows).encode()
    server.before = lambda begin: None if begin < 100_000 or answered.wait(20) else 500
    async with (
        FakeEndpoint(otherwise="ok").client(max_in_flight=4) as client,
        headrace.run(client, f"{server.url}/in", prompt="{text}") as run,
    ):
        async for _ in run:
            answered.set()
        result = await run.wait()
    assert (result.succeeded, result.stopped_by, result.counted) == (2000, None, True)


@pytest.mark.anyio
async def test_a_run_can_be_stopped_by_its_deadline_while_a_download_hangs(
    server: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_file, "_BLOCK", 100_000)
    over = threading.Event()
    server.files["/in"] = as_jsonl() * 1 + b"".join(
        b'{"id": "r%d", "text": "%s"}\n' % (n, b"x" * 100) for n in range(8000)
    )
    server.before = lambda begin: None if begin < 100_000 or over.wait(20) else 500
    with anyio.fail_after(10):
        result = await ask(f"{server.url}/in", deadline=0.3)
    over.set()
    assert isinstance(result.stopped_by, headrace.DeadlineExceeded)
    assert 0 < result.succeeded < 8000


@pytest.mark.anyio
async def test_a_change_during_the_download_ends_the_run_and_sends_no_changed_row(
    server: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_file, "_BLOCK", 20_000)
    rows = [{"id": n, "text": "x" * 100} for n in range(2000)]
    server.files["/in"] = "".join(json.dumps(row) + "\n" for row in rows).encode()

    def change(begin: int) -> None:
        if begin >= 100_000:
            server.files["/in"] = server.files["/in"].replace(b"x", b"y")

    server.before = change
    endpoint = FakeEndpoint(otherwise="ok")
    result = await ask(f"{server.url}/in", endpoint)
    assert str(result.stopped_by) == (
        f"{server.url}/in: was changed while it was read; finished items are kept, "
        "run again to continue with the new content"
    )
    assert 0 < result.succeeded < 2000
    assert set(prompts(endpoint)) == {"x" * 100}


def test_a_download_that_fails_is_tried_again(server: FileServer, small_blocks: int) -> None:
    server.files["/in"] = as_csv()
    failures = iter([500, 0] * 200)
    tried: set[int] = set()

    def fail_once(begin: int) -> int | None:
        if begin in tried:
            return None
        tried.add(begin)
        return next(failures)

    server.before = fail_once
    assert [item.id for item in Source(f"{server.url}/in").items()] == [row["id"] for row in ROWS]
    assert len(tried) == 5


def failing(**attributes: Any) -> Callable[[FileServer], None]:
    def set_up(server: FileServer) -> None:
        for name, value in attributes.items():
            setattr(server, name, value)

    return set_up


FAILURES: list[tuple[Callable[[FileServer], None], str]] = [
    (failing(files={}), "does not exist; correct the URL"),
    (failing(status=403), "access was refused (status 403); set the credentials that this store needs"),
    (failing(status=401), "access was refused (status 401); set the credentials that this store needs"),
    (failing(status=410), "does not exist; correct the URL"),
    (failing(status=500), "cannot be read (status 500): ClientResponseError: "),
    (failing(before=lambda begin: 503), "cannot be read (status 503): ClientResponseError: "),
    (failing(before=lambda begin: 0), "cannot be read: ClientPayloadError: "),
    (failing(before=lambda begin: 0, ranges=False), "cannot be read: ClientPayloadError: "),
]


@pytest.mark.parametrize("number", range(len(FAILURES)))
def test_failures_are_one_line_without_secrets(server: FileServer, number: int, small_blocks: int) -> None:
    set_up, message = FAILURES[number]
    server.files["/in"] = as_csv()
    set_up(server)
    url = server.url.replace("://", f"://me:{SECRET}@") + f"/in?X-Amz-Signature={SECRET}"
    shown = server.url.replace("://", "://***@") + "/in?***"
    with pytest.raises(headrace.InputError) as caught:
        list(Source(url).items())
    assert str(caught.value).startswith(f"{shown}: {message}")
    assert "\n" not in str(caught.value)
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_nobody_listens_at_the_address(small_blocks: int) -> None:
    with file_server() as server:
        url = server.url
    with pytest.raises(headrace.InputError, match=r"cannot be read: \w+: .*; try again"):
        Source(f"{url}/in")


def test_user_and_password_of_a_url_are_sent(server: FileServer) -> None:
    server.files["/in"] = as_csv()
    server.authorization = "Basic bWU6c2VjcmV0"
    source = Source(server.url.replace("://", "://me:secret@") + "/in")
    assert source.name == server.url.replace("://", "://***@") + "/in"
    assert len(list(source.items())) == len(ROWS)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("memory://none", "memory://none: does not exist; correct the URL"),
        ("memory://folder", "memory://folder: is a directory; name a file in it"),
        ("s3x://a/b?k=v", "s3x://a/b?***: fsspec knows no protocol 's3x'; did you mean 's3'?"),
        ("s3://bucket/x.csv", "s3://bucket/x.csv: pip install s3fs to read it"),
        ("gs://bucket/x.csv", "gs://bucket/x.csv: pip install gcsfs to read it"),
    ],
)
def test_mistakes_in_urls_are_one_line(
    url: str, message: str, memory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory.pipe("/folder/x", b"a")
    for package in ("s3fs", "gcsfs"):
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(headrace.InputError) as caught:
        Source(url)
    assert str(caught.value) == message


@pytest.mark.parametrize("package", ["fsspec", "aiohttp"])
def test_a_missing_package_is_named_with_the_extra(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    if package == "aiohttp":
        monkeypatch.delitem(sys.modules, "fsspec.implementations.http", raising=False)
        for protocol in ("http", "https"):
            monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, protocol, raising=False)
    with pytest.raises(headrace.InputError) as caught:
        Source("https://127.0.0.1:1/x")
    assert str(caught.value) == (
        f"https://127.0.0.1:1/x: pip install 'headrace[remote]' to read it; it needs {package}"
    )


def test_a_path_made_of_a_url_is_named(tmp_path: Path) -> None:
    with pytest.raises(headrace.InputError, match=r"s3://\*\*\*@b/x: a Path cannot hold a URL; pass it as a"):
        Source(Path(f"s3://me:{SECRET}@b/x"))


@pytest.mark.anyio
async def test_an_output_cannot_be_a_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tmp_path.joinpath("in.csv").write_bytes(as_csv())
    for name in ("out", "table"):
        endpoint = FakeEndpoint()
        arguments = {"out": "out.jsonl", name: f"s3://me:{SECRET}@b/o.csv"}
        with pytest.raises(
            headrace.HeadraceError, match=r"s3://\*\*\*@b/o.csv: is a URL; write to a local file, and copy it"
        ):
            await ask("in.csv", endpoint, **arguments)
        assert (endpoint.attempts, os.listdir(tmp_path)) == ([], ["in.csv"])
