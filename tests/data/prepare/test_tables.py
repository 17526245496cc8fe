"""Rows of parquet files, whatever their length and however many are read at once."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from megatron_lrps.data.prepare import tables as module
from megatron_lrps.data.prepare.find import SourceFile
from megatron_lrps.data.prepare.tables import row_groups, rows

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
