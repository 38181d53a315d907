"""The vectors of a run as files: Parquet, and NumPy's format with the ids beside it."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy
import pandas
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.bulk.embedding.test_embedding_runs import embed
from tests.bulk.embedding.text_endpoint import TextEndpoint

from headrace import InputError
from headrace.bulk import Source, write_table
from headrace.bulk.tables.matrix import write_matrix
from headrace.bulk.tables.vector_column import vector_array, vector_type
from headrace.wire.embeddings import Vector


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    path = tmp_path / "texts.csv"
    path.write_text("id,text,n\na,x,1\nb,,2\nc,xxx,3\nd,bad,4\ne,xxxxx,5\n", encoding="utf-8")
    return path


@pytest.mark.anyio
async def test_parquet_has_the_columns_of_the_input_and_the_vectors(texts: Path) -> None:
    out = texts.with_name("v.parquet")
    await embed(texts, TextEndpoint(bad=lambda text: text == "bad"), out=out, batch_size=2)
    schema = pyarrow.parquet.read_schema(out)
    assert schema.names == ["id", "text", "n", "embedding", "error", "attempts", "elapsed", "cost"]
    assert str(schema.field("embedding").type).startswith("fixed_size_list<")
    frame = pandas.read_parquet(out)
    assert frame["id"].tolist() == ["a", "b", "c", "d", "e"]
    found = [None if each is None else each.tolist() for each in frame["embedding"]]
    assert found == [[1, 1], None, [3, 1], None, [5, 1]]
    kinds = frame["error"].str.split(":").str[0].fillna("")
    assert kinds.tolist() == ["", "input_error", "", "status_error", ""]
    assert out.with_name("v.parquet.jsonl").exists()


@pytest.mark.anyio
async def test_vectors_of_different_lengths_are_lists_and_no_matrix(texts: Path) -> None:
    endpoint = TextEndpoint(length=len)
    out = texts.with_name("v.parquet")
    result = await embed(texts, endpoint, out=out, batch_size=1)
    assert str(pyarrow.parquet.read_schema(out).field("embedding").type).startswith("list<")
    assert pandas.read_parquet(out)["embedding"][4].tolist() == [5, 1, 2, 3, 4]
    with pytest.raises(InputError, match=r"different lengths \(1, 3, 5\), so they are no matrix"):
        result.to_numpy()
    matrix = texts.with_name("v.npy")
    with pytest.raises(
        InputError, match=r"v\.npy: the vectors have .* finished items are in .*v\.npy\.jsonl"
    ):
        await embed(texts, endpoint, out=matrix, batch_size=1)
    assert not matrix.exists()


@pytest.mark.anyio
async def test_a_matrix_has_a_row_for_each_row_of_the_input(texts: Path) -> None:
    out, endpoint = texts.with_name("v.npy"), TextEndpoint()
    await embed(texts, endpoint, out=out, only=["c"])
    nan = float("nan")
    numpy.testing.assert_array_equal(numpy.load(out), [[nan] * 2, [nan] * 2, [3, 1], [nan] * 2, [nan] * 2])
    result = await embed(texts, endpoint, out=out)
    matrix = numpy.load(out, mmap_mode="r")
    assert matrix.dtype == numpy.float32
    numpy.testing.assert_array_equal(matrix, [[1, 1], [nan, nan], [3, 1], [3, 1], [5, 1]])
    numpy.testing.assert_array_equal(matrix, result.to_numpy())
    assert json.loads(out.with_name("v.npy.ids.json").read_bytes()) == ["a", "b", "c", "d", "e"]
    assert sorted(text for batch in endpoint.batches for text in batch) == ["bad", "x", "xxx", "xxxxx"]


@pytest.mark.anyio
async def test_a_table_can_be_written_later_also_as_csv(texts: Path) -> None:
    out = texts.with_name("o.jsonl")
    await embed(texts, TextEndpoint(), out=out)
    write_table(texts.with_name("t.csv"), Source(texts), out)
    assert pandas.read_csv(texts.with_name("t.csv"))["embedding"][2] == "[3.0,1.0]"


@pytest.mark.anyio
async def test_other_tables_are_refused(texts: Path) -> None:
    with pytest.raises(InputError, match=r"table=t\.csv: must end in \.parquet or \.npy"):
        await embed(texts, TextEndpoint(), out=texts.with_name("o.jsonl"), table="t.csv")
    result = await embed([{"id": "a", "text": ""}], TextEndpoint())
    with pytest.raises(InputError, match="the run has no vectors"):
        result.to_numpy()


rows = st.lists(st.one_of(st.none(), st.lists(st.floats(width=32, allow_nan=False), min_size=3, max_size=3)))


@given(rows)
def test_a_matrix_is_read_by_numpy_as_it_was_written(numbers: list[list[float] | None]) -> None:
    from array import array

    vectors: list[Vector | None] = [None if each is None else array("f", each) for each in numbers]
    file, ids = io.BytesIO(), [str(place) for place in range(len(vectors))]
    lengths = {3} if any(each is not None for each in vectors) else set()
    missing = write_matrix(file, lengths, zip(ids, vectors, strict=True))
    file.seek(0)
    matrix = numpy.load(file)
    width = 3 if lengths else 0
    expected = [[float("nan")] * width if each is None else each for each in numbers]
    numpy.testing.assert_array_equal(
        matrix, numpy.array(expected, numpy.float32).reshape(len(vectors), width)
    )
    without = [id for id, each in zip(ids, vectors, strict=True) if each is None]
    assert (missing.number, missing.ids) == (len(without), without[:3])


@given(st.lists(st.one_of(st.none(), st.lists(st.floats(width=32), max_size=4)), min_size=1), st.booleans())
def test_a_column_of_vectors_holds_them(numbers: list[list[float] | None], fixed: bool) -> None:
    from array import array

    if fixed:
        numbers = [None if each is None else [*each, 0.0, 0.0, 0.0, 0.0][:4] for each in numbers]
    vectors = [None if each is None else array("f", each) for each in numbers]
    found = vector_array(vectors, 4 if fixed else None)
    found.validate(full=True)
    assert found.type == vector_type(4 if fixed else None)
    for one, other in zip(found.to_pylist(), numbers, strict=True):
        numpy.testing.assert_array_equal(one, other)
