"""Rows of parquet files, whatever their length and however many are read at once."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from megatron_lrps.data.prepare import tables as module
from megatron_lrps.data.prepare.find import SourceFile
from megatron_lrps.data.prepare.tables import row_groups, rows
from megatron_lrps.errors import RefusedError

TEXTS = [str(number) * 100 for number in range(20)]


@pytest.fixture
def file(tmp_path: Path) -> SourceFile:
    """Row groups of 7, 7 and 6 rows."""
    path = tmp_path / "a.parquet"
    parquet.write_table(pa.table({"id": range(20), "text": TEXTS}), path, row_group_size=7)
    facts = path.stat()
    return SourceFile(path=path, kind="parquet", packing="", bytes=facts.st_size, mtime_ns=facts.st_mtime_ns)


@pytest.mark.parametrize("at_once", [1, 400, 2**23])
def test_rows_have_their_number_in_the_file(at_once: int, file: SourceFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BYTES", at_once)
    whole = [(row, text.encode()) for row, text in enumerate(TEXTS)]
    assert list(rows(file, "text", 0, None)) == whole
    assert list(rows(file, "text", 1, 2)) == whole[7:14]
    assert len(row_groups(file)) == 3


def test_long_rows_are_read_a_few_at_a_time(tmp_path: Path) -> None:
    """64 rows of 1 MiB in one row group: 8 MiB, and not all 64, are in memory at once."""
    path = tmp_path / "a.parquet"
    table = pa.table({"text": [f"{row:07d}" + "x" * 2**20 for row in range(64)]})
    parquet.write_table(table, path, use_dictionary=False, write_batch_size=4)  # pages of 4 MiB
    before = pa.total_allocated_bytes()
    facts = path.stat()
    file = SourceFile(path=path, kind="parquet", packing="", bytes=facts.st_size, mtime_ns=facts.st_mtime_ns)
    read = rows(file, "text", 0, None)
    next(read)
    assert pa.total_allocated_bytes() - before < 30 * 2**20
    assert [row for row, _ in read] == list(range(1, 64))


def found(folder: Path, column: pa.Array, kind: str) -> list[object]:
    """What is read of a column, from a file of that kind."""
    path = folder / f"a.{kind}"
    table = pa.table({"text": column})
    if kind == "parquet":
        parquet.write_table(table, path)
    else:
        with pa.ipc.new_file(path, table.schema) as writer:
            writer.write_table(table)
    file = SourceFile(
        path=path,
        kind=kind,  # type: ignore[arg-type]
        packing="",
        bytes=path.stat().st_size,
        mtime_ns=path.stat().st_mtime_ns,
    )
    return [value for _, value in rows(file, "text", 0, None)]


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
@pytest.mark.parametrize(
    "of",
    [
        pa.string(),
        pa.large_string(),
        pa.string_view(),  # what Polars writes
        pa.binary(),
        pa.large_binary(),
        pa.binary_view(),
        pa.binary(5),
        pa.dictionary(pa.int32(), pa.string()),
        pa.dictionary(pa.int8(), pa.large_string()),
        pa.json_(),
    ],
    ids=str,
)
def test_text_of_every_layout(of: pa.DataType, kind: str, tmp_path: Path) -> None:
    texts = ["héll", None, "abcde"]
    binary = "binary" in str(of)
    column = pa.array(
        [text.encode() if binary and text else text for text in texts], type=getattr(of, "storage_type", of)
    )
    if isinstance(of, pa.BaseExtensionType):
        column = pa.ExtensionArray.from_storage(of, column)
    assert found(tmp_path, column, kind) == ["héll".encode(), None, b"abcde"]


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_a_column_without_a_value_is_rows_without_text(kind: str, tmp_path: Path) -> None:
    assert found(tmp_path, pa.nulls(3), kind) == [None] * 3


@pytest.mark.parametrize(
    ("column", "words"),
    [
        (pa.array([["a"], ["b"]]), "list<"),
        (pa.array([{"a": "b"}]), "struct<a: string>"),
        (pa.array([1, 2]), "int64"),
        (pa.array([True]), "bool"),
    ],
)
@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_a_column_of_another_type_is_refused_by_name(column: pa.Array, words: str, kind: str, tmp_path: Path) -> None:
    with pytest.raises(RefusedError) as refused:
        found(tmp_path, column, kind)
    assert f"a.{kind}: the column 'text' is of type {words}" in refused.value.what
